package kv

// #include "kvgo.h"
// #cgo noescape kvgo_set
// #cgo nocallback kvgo_set
// #cgo noescape kvgo_set_with
// #cgo nocallback kvgo_set_with
// #cgo noescape kvgo_add
// #cgo nocallback kvgo_add
// #cgo noescape kvgo_replace
// #cgo nocallback kvgo_replace
// #cgo noescape kvgo_compare_and_swap
// #cgo nocallback kvgo_compare_and_swap
// #cgo noescape kvgo_increment
// #cgo nocallback kvgo_increment
// #cgo noescape kvgo_delete
// #cgo nocallback kvgo_delete
// #cgo noescape kvgo_take
// #cgo nocallback kvgo_take
import "C"

// Condition says when a write is done.
type Condition struct {
	kind    C.uint32_t
	version C.uint64_t
}

var (
	// Always: whatever stands there.
	Always = Condition{kind: C.KV_ALWAYS}
	// IfAbsent: the key has no value.
	IfAbsent = Condition{kind: C.KV_IF_ABSENT}
	// IfPresent: the key has a value.
	IfPresent = Condition{kind: C.KV_IF_PRESENT}
)

// IfVersion says that the key's value has this version; 0: that it has none.
func IfVersion(version uint64) Condition {
	return Condition{C.KV_IF_VERSION, C.uint64_t(version)}
}

// SetOptions says how a value is set. The zero value means: always, with the store's default expiry.
type SetOptions struct {
	Condition Condition
	Expiry    Expiry
	// Codec is the one that wrote the value.
	Codec Tag
}

// Set sets a key to a value, with the store's default expiry. It is visible to every goroutine when it returns, and as durable
// as the store's [Sync] says.
func (db *Db) Set(key, value []byte) error {
	call, native := db.enter()
	answer := C.kvgo_set(native, data(key), size(key), data(value), size(value))
	db.leave(call)
	return check(answer)
}

// SetWith sets a key to a value under a condition and with an expiry of its own, and gives the new version; [ErrNotMet] when the
// condition does not hold.
func (db *Db) SetWith(key, value []byte, options SetOptions) (version uint64, err error) {
	call, native := db.enter()
	defer db.leave(call)
	condition, expiry := options.Condition, options.Expiry
	answer := C.kvgo_set_with(native, data(key), size(key), data(value), size(value),
		condition.kind, condition.version, expiry.kind, expiry.ms, C.uint32_t(options.Codec))
	return uint64(answer.number), check(answer)
}

// Add sets a key if it has no value, and reports whether it did.
func (db *Db) Add(key, value []byte) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_add(native, data(key), size(key), data(value), size(value)))
}

// Replace sets a key if it has a value, and reports whether it did.
func (db *Db) Replace(key, value []byte) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_replace(native, data(key), size(key), data(value), size(value)))
}

// CompareAndSwap sets a key if its value still has a version, keeps its expiry, and gives the new version; [ErrNotMet] when the
// value is another. Version 0: if the key has no value.
func (db *Db) CompareAndSwap(key []byte, version uint64, value []byte) (newVersion uint64, err error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_compare_and_swap(native, data(key), size(key), C.uint64_t(version), data(value), size(value))
	return uint64(answer.number), check(answer)
}

// Increment adds to the decimal number that a key holds (0 when it has no value), keeps its expiry, and gives the sum.
func (db *Db) Increment(key []byte, delta int64) (sum int64, err error) {
	return db.IncrementAs(key, delta, TagRaw)
}

// IncrementAs is [Db.Increment] of a number that a codec wrote, or writes where there is none: [TagJSON] and [TagText] have whole numbers
// in decimal too. [ErrWrongCodec] when another wrote it; [TagRaw] takes any, and leaves it its codec.
func (db *Db) IncrementAs(key []byte, delta int64, codec Tag) (sum int64, err error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_increment(native, data(key), size(key), C.int64_t(delta), C.uint32_t(codec))
	return int64(answer.number), check(answer)
}

// Delete removes a key, and reports whether it had a value. It works on a full disk.
func (db *Db) Delete(key []byte) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_delete(native, data(key), size(key)))
}

// Take removes a key and gives its value; [ErrNotFound] when it had none. It works on a full disk.
func (db *Db) Take(key []byte) ([]byte, error) { return db.TakeAs(key, TagRaw) }

// TakeAs is [Db.Take] of what a codec wrote, as [Db.GetAs]: any other value stays.
func (db *Db) TakeAs(key []byte, codec Tag) ([]byte, error) {
	call, native := db.enter()
	defer db.leave(call)
	return owned(C.kvgo_take(native, data(key), size(key), C.uint32_t(codec)))
}
