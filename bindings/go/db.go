package kv

// #include "kvgo.h"
// #cgo noescape kvgo_close
// #cgo noescape kvgo_db_free
// #cgo noescape kvgo_is_in_callback
// #cgo nocallback kvgo_is_in_callback
import "C"

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Db is an open store. Every method may be called by any goroutine. A store that is forgotten is closed by the garbage
// collector; what that would report nobody hears.
type Db struct {
	// The kv_db; 0 once it is closed. The library takes 0 for no handle, and failure calls that closed.
	native  atomic.Uintptr
	handles *handles
	loads   loads
	locks   keyLocks
	cleanup runtime.Cleanup

	// The handle is freed once the store is closed and no call runs. Calls are counted, in lines of their own so that
	// goroutines on different processors do not slow each other down.
	handle  C.uintptr_t
	isFreed atomic.Bool
	calls   [callStripes]callStripe
}

var _ io.Closer = (*Db)(nil)

const callStripes = 16

type callStripe struct {
	running atomic.Int64
	_       [56]byte
}

// Open opens the store in a directory, or makes one. Everything that was acknowledged before is there; the time it takes grows
// with the bytes of the log.
func Open(path string, options ...Option) (*Db, error) {
	cPath, err := cText(path)
	if err != nil {
		return nil, err
	}
	return open(options, func(o *C.kv_options) C.kvgo_answer { return C.kvgo_open(cPath, o) })
}

// OpenInMemory makes a store in memory: the same engine without files.
func OpenInMemory(options ...Option) (*Db, error) {
	return open(options, func(o *C.kv_options) C.kvgo_answer { return C.kvgo_open_in_memory(o) })
}

type forgotten struct {
	handle  C.uintptr_t
	handles *handles
}

func open(all []Option, call func(*C.kv_options) C.kvgo_answer) (*Db, error) {
	db := new(Db)
	handles, err := withOptions(all, func(o *C.kv_options) error {
		answer := call(o)
		db.handle = C.uintptr_t(uintptr(answer.data))
		return check(answer)
	})
	if err != nil {
		return nil, err
	}
	db.handles = handles
	db.native.Store(uintptr(db.handle))
	// A close may wait for the disk, which the goroutine of the cleanups should not.
	db.cleanup = runtime.AddCleanup(db, func(f forgotten) { go f.free() }, forgotten{db.handle, handles})
	return db, nil
}

func (f forgotten) free() {
	C.kvgo_db_free(f.handle)
	f.handles.free()
}

// Close ends the store: it waits for writes that run and for loaders that threads of the store run, makes all durable and releases the
// directory. Calls that come later, or
// run in other goroutines, give [ErrClosed]; what [Db.Pinned] runs goes on. A second Close does nothing. From a callback it
// gives [ErrInCallback]. [ErrSyncFailed]: what was written could not be made durable; the store is closed all the same; so it is with
// [ErrIO] and [ErrDiskFull] of a JSON mirror that could not be written.
func (db *Db) Close() error {
	call, native := db.enter()
	defer db.leave(call)
	if native == 0 {
		return nil
	}
	if C.kvgo_is_in_callback() == 0 {
		// First of all: what the library waits for may wait for a session.
		db.locks.shut()
	}
	err := check(C.kvgo_close(native))
	// Whatever else it reports, the store has ended.
	if !errors.Is(err, ErrInCallback) && !errors.Is(err, ErrForked) {
		db.locks.shut()
		db.native.Store(0)
	}
	return err
}

// enter counts a call, so that the handle is not freed under it, until leave.
func (db *Db) enter() (*callStripe, C.uintptr_t) {
	// Goroutines have stacks of their own, of at least 2 KiB: the address spreads them over the stripes.
	var here byte
	call := &db.calls[uintptr(unsafe.Pointer(&here))>>11%callStripes]
	call.running.Add(1)
	return call, C.uintptr_t(db.native.Load())
}

func (db *Db) leave(call *callStripe) {
	call.running.Add(-1)
	if db.native.Load() == 0 {
		db.freeIfUnused()
	}
}

// freeIfUnused is called by whoever leaves a closed store. Calls that enter then get no handle, so a stripe that is found empty
// has nobody left who uses it; who leaves last finds all of them empty.
func (db *Db) freeIfUnused() {
	for at := range db.calls {
		if db.calls[at].running.Load() != 0 {
			return
		}
	}
	if db.handle == 0 || !db.isFreed.CompareAndSwap(false, true) {
		return
	}
	db.cleanup.Stop()
	// kv_close has waited for the threads that call them.
	db.handles.free()
	handle := db.handle
	if C.kvgo_db_free(handle) == C.KV_IN_CALLBACK {
		// This is a callback of another store, on a thread of its own.
		go C.kvgo_db_free(handle)
	}
}
