// Package kv is the Go host of libkv, an embeddable key-value engine: a concurrent map with per-entry expiry whose records
// live in a memory-mapped log.
//
//	db, err := kv.Open("users", kv.WithSync(kv.SyncEvery(100*time.Millisecond)))
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	err = db.Set([]byte("name"), []byte("Alice"))
//
// Operations have the names and the meaning of kv.h. Every method of [Db] may be called by any goroutine. Failures are
// [*Error], which [errors.Is] compares with the Err constants. That a key has no value is [ErrNotFound] where a value is
// asked for, and false where a question is.
//
// # What waits
//
// Methods that wait for the disk or for other threads take a context. When it ends first they return its error at once; what
// they began goes on in the background and is finished safely. Inside a callback or [Db.Pinned] they run where they are
// called, since the store tells by the thread what would wait for itself: there the context is asked only before they begin.
//
// # Memory
//
// Keys and values that are given are copied. What is returned belongs to the caller, but for [Pin.Get].
//
// docs/go.md in libkv's tree says how the library is linked.
package kv
