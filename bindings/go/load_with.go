package kv

// #include "kvgo.h"
// #cgo noescape kvgo_get_loaded
// #cgo nocallback kvgo_get_loaded
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"time"
)

// LoadOptions say how long what a loader brings is kept and when it is loaded anew. The zero value: for the store's default time to
// live, and nothing is loaded anew.
type LoadOptions struct {
	// TTL is how long a loaded value lives; 0: the store's default. After that it is gone: what expired is never served.
	TTL time.Duration
	// FreshFor is for how long of its life a value counts as fresh; 0: always. From then on until its end it is served as it is, while
	// one thread of the store loads it anew; if that fails it is served on, and tried again a second later at the earliest. Needs a
	// time to live that is longer.
	FreshFor time.Duration
	// Early lets a value be loaded anew before it is stale (without FreshFor: before its end), at a moment drawn anew by each read:
	// earlier by what loads of this store take lately, times this, times -ln of an even draw. 1 is a good value; 0: off.
	Early float64
	// AbsentFor is for how long it is remembered that a loader found nothing; 0: not at all. A change of the key, or one elsewhere
	// that is heard, ends it. In memory only, of 65,536 keys and 8 MiB of them at most.
	AbsentFor time.Duration
	// Lease lets one process of all that share a tier load a key at a time: for how long it holds a lease in Redis; 0: none is taken.
	// The others wait for the value, for twice this time at most; then they load it too, as they do when Redis cannot be asked.
	// Without a tier it has no effect.
	Lease time.Duration
	// Codec writes what the loader brings. What stands there must be of the same, else [ErrWrongCodec]; [TagRaw] takes any.
	Codec Tag
}

func (o LoadOptions) native() (n C.kv_load_options, err error) {
	if min(o.TTL, o.FreshFor, o.AbsentFor, o.Lease) < 0 {
		return n, newError(ErrInvalidOption, "option load: a time of less than zero")
	}
	return C.kv_load_options{
		ttl_ms:        milliseconds(o.TTL),
		fresh_for_ms:  milliseconds(o.FreshFor),
		early:         C.double(o.Early),
		absent_for_ms: milliseconds(o.AbsentFor),
		lease_ms:      milliseconds(o.Lease),
		codec:         C.uint32_t(o.Codec),
	}, nil
}

// GetOrLoadWith is [Db.GetOrLoad], and what stands there is loaded anew before it ends, in a thread of the store, as options say. So
// the loader may be called after this call has returned; [Db.Close] waits for those that run. At most four run so at once, one a key.
// What one fails or panics with is told the logger and leaves what stands there; one that finds nothing then removes the entry. A
// store that is forgotten is not closed before the loaders that refer to it have run.
func (db *Db) GetOrLoadWith(ctx context.Context, key []byte, options LoadOptions, load Loader) ([]byte, error) {
	if load == nil {
		return nil, newError(ErrInvalidArgument, "the loader is nil")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	native, err := options.native()
	if err != nil {
		return nil, err
	}
	value, isDue, err := db.loaded(key, native)
	if errors.Is(err, ErrNotMet) {
		return db.fly(ctx, key, options.Codec, func(ctx context.Context, key []byte) ([]byte, error) {
			return db.loadWith(ctx, key, native, load)
		})
	}
	if isDue {
		// What it may fail with is that the store was closed meanwhile: the value is good all the same.
		_ = db.loadBehind(context.WithoutCancel(ctx), append([]byte{}, key...), native, load)
	}
	return value, err
}

// loaded is what needs no loader; [ErrNotMet]: one is needed. Nothing is made for it that the library would have to give back.
func (db *Db) loaded(key []byte, options C.kv_load_options) (value []byte, isDue bool, err error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_get_loaded(native, data(key), size(key), options)
	value, err = owned(answer)
	return value, answer.number != 0, err
}

func (db *Db) loadWith(ctx context.Context, key []byte, options C.kv_load_options, load Loader) ([]byte, error) {
	call, native := db.enter()
	defer db.leave(call)
	l := &loading{bring: func() ([]byte, error) { return load(ctx, key) }}
	// Deleted by kvgoRelease.
	handle := C.uintptr_t(cgo.NewHandle(l))
	value, err := owned(C.kvgo_get_or_load_with(native, data(key), size(key), options, handle))
	// Unless it says so, a thread of the store may be running the loader.
	if errors.Is(err, ErrLoaderFailed) && l.err != nil {
		return nil, l.failure()
	}
	return value, err
}

func (db *Db) loadBehind(ctx context.Context, key []byte, options C.kv_load_options, load Loader) error {
	call, native := db.enter()
	defer db.leave(call)
	l := &loading{bring: func() ([]byte, error) { return load(ctx, key) }}
	// Deleted by kvgoRelease.
	handle := C.uintptr_t(cgo.NewHandle(l))
	return check(C.kvgo_load_behind(native, data(key), size(key), options, handle))
}
