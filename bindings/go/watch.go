package kv

// #include "kvgo.h"
// #cgo noescape kvgo_watch_open
// #cgo nocallback kvgo_watch_open
// #cgo noescape kvgo_watch_next
// #cgo nocallback kvgo_watch_next
// #cgo noescape kvgo_watch_position
// #cgo nocallback kvgo_watch_position
// #cgo noescape kv_watch_wake
// #cgo nocallback kv_watch_wake
// #cgo noescape kv_watch_free
// #cgo nocallback kv_watch_free
import "C"

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// WatchOptions says which changes a watch tells. The zero value means: of every key, from now on.
type WatchOptions struct {
	// Prefix: only of keys that begin with this. A clear is told to all.
	Prefix []byte
	// After: those behind this version: what [Watch.Position] gave, or a change's version, also in an earlier run; 0: from now on.
	After uint64
	// All: all that stands, as puts, and what follows.
	All bool
}

// ChangeKind says what a change does.
type ChangeKind uint32

// What a change does.
const (
	// ChangePut: the key has this value now.
	ChangePut ChangeKind = C.KV_WATCH_PUT
	// ChangeRemoved: the key has no value any more.
	ChangeRemoved ChangeKind = C.KV_WATCH_REMOVED
	// ChangeCleared: no key has a value any more that was set below this version.
	ChangeCleared ChangeKind = C.KV_WATCH_CLEARED
)

// Change is what a [Watch] tells.
type Change struct {
	Kind       ChangeKind
	Key, Value []byte
	// Version of the change; of an entry that has expired its own. A watch after it goes on with the next change.
	Version uint64
	// ExpiresAt is the zero time for an entry that does not expire. When it passes nothing more is told.
	ExpiresAt time.Time
	// Codec wrote the value of a put.
	Codec Tag
	// Metadata stands beside the value; nil without.
	Metadata Metadata
	// Cause of a removal. [CauseEvicted] is said also of a copy of what the tier holds that this store has dropped.
	Cause Cause
}

// Watch tells what changes. It serves one goroutine at a time; [Watch.Close] may come from another. It holds nothing back: the log is what it
// reads from. One that is forgotten is closed by the garbage collector some time.
type Watch struct {
	db       *Db
	mu       sync.Mutex
	native   *C.kv_watch
	isClosed atomic.Bool
	close    sync.Once
	cleanup  runtime.Cleanup
}

var _ io.Closer = (*Watch)(nil)

// Watch begins to tell what changes, in the order of versions, which is that of the writes. For each key the newest change behind the options'
// After is told, and older ones as far as they are still in the log; each once. No writer waits, and nothing is lost for want of room; but a watch
// that comes too late for removals that compaction has dropped gives [ErrLagged] once, and then all that stands. See docs/watching.md.
//
// [ErrInvalidOption] for a version that the store has not reached.
func (db *Db) Watch(options WatchOptions) (*Watch, error) {
	after := C.uint64_t(options.After)
	if options.All {
		after = 0
	} else if after == 0 {
		after = C.KV_WATCH_FROM_NOW
	}
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_watch_open(native, data(options.Prefix), size(options.Prefix), after)
	if err := check(answer); err != nil {
		return nil, err
	}
	w := &Watch{db: db, native: (*C.kv_watch)(answer.data)}
	w.cleanup = runtime.AddCleanup(w, func(native *C.kv_watch) { C.kv_watch_free(native) }, w.native)
	return w, nil
}

// Next waits for the next change. It gives the error of ctx when that ends first; [ErrLagged]: forget what was told so far, since what follows is
// all that stands, and what changes then; [ErrCorrupt] for a damaged value: the next call goes on behind it; [ErrClosed] when the watch or the
// store is closed.
func (w *Watch) Next(ctx context.Context) (Change, error) {
	if err := ctx.Err(); err != nil {
		return Change{}, err
	}
	if err := refuseBarred(); err != nil {
		return Change{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if native := w.native; ctx.Done() != nil && native != nil {
		woken := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			C.kv_watch_wake(native)
			close(woken)
		})
		defer func() {
			// The lock is still held, so that the watch is not freed under who wakes it.
			if !stop() {
				<-woken
			}
		}()
	}
	for {
		change, isThere, err := w.next(C.KV_WAIT_FOREVER)
		if isThere || err != nil {
			return change, err
		}
		if err := ctx.Err(); err != nil {
			return Change{}, err
		}
	}
}

// TryNext is [Watch.Next] for who does not wait: false when there is no change by now.
func (w *Watch) TryNext() (Change, bool, error) {
	if err := refuseBarred(); err != nil {
		return Change{}, false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next(0)
}

// next is the next change; the caller has the lock.
func (w *Watch) next(waitMs C.uint64_t) (Change, bool, error) {
	if w.native == nil || w.isClosed.Load() {
		return Change{}, false, errClosed
	}
	answer := C.kvgo_watch_next(w.native, waitMs)
	if answer.status == C.KV_NOT_FOUND {
		return Change{}, false, nil
	}
	if err := check(C.kvgo_answer{status: answer.status, error: answer.error}); err != nil {
		return Change{}, false, err
	}
	told := answer.change
	change := Change{
		Kind:    ChangeKind(told.kind),
		Key:     bytes.Clone(view[byte](told.key.data, told.key.len)),
		Value:   bytes.Clone(view[byte](told.value.data, told.value.len)),
		Version: uint64(told.version),
		Codec:   Tag(told.codec),
		Cause:   Cause(told.cause),
	}
	if told.expires_at_ms > 0 {
		change.ExpiresAt = unixTime(told.expires_at_ms)
	}
	if told.metadata_count > 0 {
		change.Metadata = make(Metadata)
		for _, pair := range unsafe.Slice(told.metadata, int(told.metadata_count)) {
			name := string(view[byte](pair.key.data, pair.key.len))
			change.Metadata[name] = bytes.Clone(view[byte](pair.value.data, pair.value.len))
		}
	}
	return change, true, nil
}

// Changes ranges over the changes as they come, until ctx ends or the watch or the store is closed. Other errors come with an empty change, and
// the range goes on behind them: [ErrLagged] is one.
func (w *Watch) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			change, err := w.Next(ctx)
			isOver := err != nil && ctx.Err() != nil || errors.Is(err, ErrClosed)
			if isOver || !yield(change, err) {
				return
			}
		}
	}
}

// Position is the version up to which all was told: what a later watch goes on after. 0 once the watch is closed, and in a weigher.
func (w *Watch) Position() uint64 {
	if refuseBarred() != nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.native == nil || w.isClosed.Load() {
		return 0
	}
	return uint64(C.kvgo_watch_position(w.native).number)
}

// Close ends the watch, and a [Watch.Next] that waits. It may be called more than once.
func (w *Watch) Close() error {
	w.close.Do(func() {
		w.isClosed.Store(true)
		C.kv_watch_wake(w.native)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cleanup.Stop()
		C.kv_watch_free(w.native)
		w.native = nil
	})
	return nil
}
