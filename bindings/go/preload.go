package kv

// #include "kvgo.h"
import "C"

import (
	"context"
	"runtime/cgo"
)

// Preloaded is how far a preload has come.
type Preloaded struct {
	// Cursor: where to go on, for a later [Db.Preload]. It is good as long as Redis runs.
	Cursor uint64
	// IsComplete: nothing is left to do.
	IsComplete bool
	// Keys looked at in Redis, some perhaps twice.
	Keys uint64
	// Copied: copies that were made, or replaced because Redis holds something else.
	Copied uint64
	// Removed: entries that went because Redis does not hold them.
	Removed uint64
}

// Preload copies what Redis holds under the keys of a pattern (as Redis' own: *, ?, [a-c], a backslash before what is meant
// literally; without the prefix of [WithTierPrefix]), with the time that is left, and then removes what stands here under such
// keys and Redis does not hold any more. It begins at a cursor: 0, or where an earlier call came to. Changes of this store, sent
// or not, are not overwritten, and no read waits.
//
// progress, unless it is nil, hears after each portion how far it came, and breaks it off with false. When ctx ends, the preload
// ends with the context's error after the portion that it is at. [ErrTier]: Redis fails, no copies are kept because changes by
// others are not heard, or the store has no tier. With an error too Preload gives how far it came. Of several shards those that fail
// are left out: the others are gone through to the end, the error says which failed, and the cursor leads to these alone.
func (db *Db) Preload(ctx context.Context, pattern []byte, cursor uint64, progress func(Preloaded) bool) (Preloaded, error) {
	begin := Preloaded{Cursor: cursor}
	if err := ctx.Err(); err != nil {
		return begin, err
	}
	call, native := db.enter()
	defer db.leave(call)
	p := &preloading{ctx: ctx, progress: progress, last: begin}
	handle := cgo.NewHandle(p)
	defer handle.Delete()
	filled := C.kvgo_preload(native, data(pattern), size(pattern), C.uint64_t(cursor), C.uintptr_t(handle))
	if filled.status != C.KV_OK {
		return p.last, failure(filled.status, filled.error)
	}
	return preloaded(filled.done), p.err
}

// preloading is one call of Preload.
type preloading struct {
	ctx      context.Context
	progress func(Preloaded) bool
	last     Preloaded
	err      error
}

func preloaded(done C.kv_preloaded) Preloaded {
	return Preloaded{
		Cursor:     uint64(done.cursor),
		IsComplete: done.is_complete != 0,
		Keys:       uint64(done.keys),
		Copied:     uint64(done.copied),
		Removed:    uint64(done.removed),
	}
}

// tell is called by the library; 0 breaks the preload off.
func (p *preloading) tell(done Preloaded) C.int32_t {
	p.last = done
	goesOn := true
	p.err = guarded(func() error {
		if p.progress != nil {
			goesOn = p.progress(done)
		}
		if done.IsComplete {
			return nil
		}
		return p.ctx.Err()
	})
	if p.err != nil {
		goesOn = false
	}
	return C.int32_t(number(goesOn))
}
