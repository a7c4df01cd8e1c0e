package kv

// #include "kvgo.h"
// #cgo noescape kvgo_sink_write
// #cgo nocallback kvgo_sink_write
// #cgo noescape kvgo_sink_fail
// #cgo nocallback kvgo_sink_fail
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"sync"
)

// Loader brings the value of a key; [ErrNotFound]: there is none. It runs without any lock and may call the store, but for
// [Db.Close]. Its context has the values of the context of [Db.GetOrLoad], but not its end, since others may wait for the same
// value. A panic makes it fail; it must not end its goroutine in another way (runtime.Goexit, testing.T.FailNow).
type Loader func(ctx context.Context, key []byte) ([]byte, error)

// loads are the loads that callers of Go wait for. One goroutine a key is in the library, so that those who wait take no
// threads.
type loads struct {
	mu      sync.Mutex
	flights map[string]*flight
}

type flight struct {
	landed chan struct{}
	value  []byte
	err    error
}

// GetOrLoad gives the value of a key; where it has none, what a loader brings, which is then set with an expiry. One loader runs
// for a key at a time; others that ask wait for its outcome. A value that was loaded while the key was changed is returned but
// not set. [ErrNotFound]: the loader found nothing. [ErrLoaderFailed]: it failed, for all who wait, or asked for its own key; the
// loader's own error is wrapped. When ctx ends first, the load goes on for those who come later.
func (db *Db) GetOrLoad(ctx context.Context, key []byte, expiry Expiry, load Loader) ([]byte, error) {
	return db.getOrLoad(ctx, key, expiry, TagRaw, load)
}

func (db *Db) getOrLoad(ctx context.Context, key []byte, expiry Expiry, codec Tag, load Loader) ([]byte, error) {
	if load == nil {
		return nil, newError(ErrInvalidArgument, "the loader is nil")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Asked with Contains, which does not count as a miss: the library counts the one of the load.
	if has, err := db.Contains(key); err != nil {
		return nil, err
	} else if has {
		if value, err := db.GetAs(key, codec); !errors.Is(err, ErrNotFound) {
			return value, err
		}
	}
	return db.fly(ctx, key, codec, func(ctx context.Context, key []byte) ([]byte, error) {
		return db.load(ctx, key, expiry, codec, load)
	})
}

// fly lets one goroutine a key load; others that come meanwhile wait for its outcome.
func (db *Db) fly(ctx context.Context, key []byte, codec Tag, load Loader) ([]byte, error) {
	loadCtx := context.WithoutCancel(ctx)
	if isInside() {
		// The library knows by the thread who asks for a key that waits for himself.
		return load(loadCtx, key)
	}
	// Those of another codec are told so by the library.
	flying := append([]byte{byte(codec)}, key...)
	f, isNew := db.loads.join(flying)
	if isNew {
		key := append([]byte{}, key...)
		go func() {
			defer db.loads.land(flying, f)
			f.value, f.err = load(loadCtx, key)
		}()
	}
	select {
	case <-f.landed:
		if f.err != nil {
			return nil, f.err
		}
		return append([]byte{}, f.value...), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Of a flight whose loader has ended its goroutine.
var errLoaderGone = newError(ErrLoaderFailed, "the loader did not return")

func (l *loads) join(key []byte) (f *flight, isNew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, found := l.flights[string(key)]
	if !found {
		if l.flights == nil {
			l.flights = make(map[string]*flight)
		}
		f = &flight{landed: make(chan struct{}), err: errLoaderGone}
		l.flights[string(key)] = f
	}
	return f, !found
}

func (l *loads) land(key []byte, f *flight) {
	l.mu.Lock()
	delete(l.flights, string(key))
	l.mu.Unlock()
	close(f.landed)
}

// loading is one call of a loader.
type loading struct {
	bring func() ([]byte, error)
	err   error
}

func (db *Db) load(ctx context.Context, key []byte, expiry Expiry, codec Tag, load Loader) ([]byte, error) {
	call, native := db.enter()
	defer db.leave(call)
	l := &loading{bring: func() ([]byte, error) { return load(ctx, key) }}
	handle := cgo.NewHandle(l)
	defer handle.Delete()
	value, err := owned(C.kvgo_get_or_load(native, data(key), size(key), expiry.kind, expiry.ms, C.uint32_t(codec),
		C.uintptr_t(handle)))
	if l.err != nil {
		return nil, l.failure()
	}
	return value, err
}

func (l *loading) failure() error {
	return &Error{ErrLoaderFailed, fmt.Sprintf("the loader failed: %v", l.err), l.err}
}

// run is called by the library.
func (l *loading) run(sink *C.kv_sink) C.kv_status {
	l.err = guarded(func() error {
		value, err := l.bring()
		if err != nil {
			return err
		}
		return write(sink, value)
	})
	if errors.Is(l.err, ErrNotFound) {
		l.err = nil
		return C.KV_NOT_FOUND
	}
	if l.err != nil {
		fail(sink, l.err)
		return C.KV_LOADER_FAILED
	}
	return C.KV_OK
}

func write(sink *C.kv_sink, bytes []byte) error {
	return checkStatus(C.kvgo_sink_write(sink, data(bytes), size(bytes)))
}

// fail tells the library why a callback fails. Without a reason it fails too.
func fail(sink *C.kv_sink, err error) {
	reason := []byte(err.Error())
	C.kvgo_sink_fail(sink, data(reason), size(reason))
}
