package kv

// #include "kvgo.h"
// #cgo noescape kvgo_clear
// #cgo nocallback kvgo_clear
// #cgo noescape kvgo_sync
// #cgo nocallback kvgo_sync
// #cgo noescape kvgo_compact
// #cgo nocallback kvgo_compact
// #cgo noescape kvgo_sweep
// #cgo nocallback kvgo_sweep
// #cgo noescape kvgo_pause
// #cgo nocallback kvgo_pause
// #cgo noescape kvgo_resume
// #cgo nocallback kvgo_resume
// #cgo noescape kvgo_backup
// #cgo nocallback kvgo_backup
// #cgo noescape kvgo_now
// #cgo nocallback kvgo_now
import "C"

import (
	"context"
	"time"
)

// Clear removes every entry. Entries written while it runs may go or stay. It waits for every pin that is held.
func (db *Db) Clear(ctx context.Context) error {
	return db.wait(ctx, func(native C.uintptr_t) C.kvgo_answer { return C.kvgo_clear(native) })
}

// Sync waits until every write that was acknowledged before this call is on disk. In memory: nothing to do.
func (db *Db) Sync(ctx context.Context) error {
	return db.wait(ctx, func(native C.uintptr_t) C.kvgo_answer { return C.kvgo_sync(native) })
}

// Compact rewrites the log so that it holds little but what lives, and waits for it and for every pin that is held. Compaction
// also runs by itself.
func (db *Db) Compact(ctx context.Context) error {
	return db.wait(ctx, func(native C.uintptr_t) C.kvgo_answer { return C.kvgo_compact(native) })
}

// Sweep removes everything that has expired by now, without waiting for the background to get to it. It waits for every pin
// that is held, if the background does.
func (db *Db) Sweep(ctx context.Context) error {
	return db.wait(ctx, func(native C.uintptr_t) C.kvgo_answer { return C.kvgo_sweep(native) })
}

// Backup writes a copy of the store, as of one moment, into a directory, which must be empty or not exist. Writers go on. It
// returns when the copy is on disk.
func (db *Db) Backup(ctx context.Context, to string) error {
	path, err := cText(to)
	if err != nil {
		return err
	}
	return db.wait(ctx, func(native C.uintptr_t) C.kvgo_answer { return C.kvgo_backup(native, path) })
}

// Pause stops expiry and compaction until [Db.Resume]. Expired entries stay invisible.
func (db *Db) Pause() error {
	call, native := db.enter()
	defer db.leave(call)
	return check(C.kvgo_pause(native))
}

// Resume lets expiry and compaction run again.
func (db *Db) Resume() error {
	call, native := db.enter()
	defer db.leave(call)
	return check(C.kvgo_resume(native))
}

// Now gives the store's time: it never runs backwards.
func (db *Db) Now() (time.Time, error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_now(native)
	return unixTime(answer.number), check(answer)
}
