package kv

// #include "kvgo.h"
// #cgo noescape kvgo_increment_shared
// #cgo nocallback kvgo_increment_shared
// #cgo noescape kvgo_add_shared
// #cgo nocallback kvgo_add_shared
// #cgo noescape kvgo_compare_and_swap_shared
// #cgo nocallback kvgo_compare_and_swap_shared
import "C"

import (
	"bytes"
	"context"
)

// IncrementShared adds to the decimal number that a key holds in Redis (0 when it has no value), keeps its expiry, and gives the
// sum: of all processes that share the key each addition counts, exactly once. What this store has changed before is sent first;
// the sum stays here as a copy. It costs two round trips, which callers that come at once share.
//
// [ErrTier] with a message that begins with "tier: not applied": nothing was changed. Any other [ErrTier]: no answer came in the
// time of [WithTierTimeout], and it was applied once or not at all; so it is when ctx ends first, since the call goes on.
func (db *Db) IncrementShared(ctx context.Context, key []byte, delta int64) (sum int64, err error) {
	key = bytes.Clone(key)
	return waitFor(ctx, func() (int64, error) {
		call, native := db.enter()
		defer db.leave(call)
		answer := C.kvgo_increment_shared(native, data(key), size(key), C.int64_t(delta))
		return int64(answer.number), check(answer)
	})
}

// AddShared sets a key if it has no value in Redis, and reports whether it did: of all processes that share the key one does.
// [ExpireKeep] counts as [ExpireDefault]. It waits and fails as [Db.IncrementShared].
func (db *Db) AddShared(ctx context.Context, key, value []byte, expiry Expiry) (bool, error) {
	key, value = bytes.Clone(key), bytes.Clone(value)
	return waitFor(ctx, func() (bool, error) {
		call, native := db.enter()
		defer db.leave(call)
		return holds(C.kvgo_add_shared(native, data(key), size(key), data(value), size(value), expiry.kind, expiry.ms))
	})
}

// CompareAndSwapShared sets a key, keeping its expiry, if it holds expected in Redis, and reports whether it did. A nil expected
// says that it has no value; an empty one that its value is empty. It compares values, since versions are each store's own. It
// waits and fails as [Db.IncrementShared].
func (db *Db) CompareAndSwapShared(ctx context.Context, key, expected, value []byte) (bool, error) {
	key, expected, value = bytes.Clone(key), bytes.Clone(expected), bytes.Clone(value)
	return waitFor(ctx, func() (bool, error) {
		call, native := db.enter()
		defer db.leave(call)
		return holds(C.kvgo_compare_and_swap_shared(native, data(key), size(key), number(expected != nil),
			data(expected), size(expected), data(value), size(value)))
	})
}
