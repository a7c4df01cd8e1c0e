package kv

// #include "kvgo.h"
// #cgo noescape kvgo_is_inside
// #cgo nocallback kvgo_is_inside
import "C"

import "context"

// waitFor runs a call that may wait for the disk or for other threads. When ctx ends first it returns at once, and the call goes
// on in the background.
func waitFor[T any](ctx context.Context, call func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if ctx.Done() == nil || isInside() {
		return call()
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := call()
		done <- outcome{value, err}
	}()
	select {
	case outcome := <-done:
		return outcome.value, outcome.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// wait is waitFor, for a call of a store that gives nothing but an answer.
func (db *Db) wait(ctx context.Context, call func(native C.uintptr_t) C.kvgo_answer) error {
	_, err := waitFor(ctx, func() (struct{}, error) {
		entered, native := db.enter()
		defer db.leave(entered)
		return struct{}{}, check(call(native))
	})
	return err
}

// isInside reports whether this goroutine is in a callback or in Pinned. Both bind it to its thread.
func isInside() bool { return C.kvgo_is_inside() != 0 }
