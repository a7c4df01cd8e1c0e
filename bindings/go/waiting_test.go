package kv_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

// Each call that takes a context.
func waitingCalls(t *testing.T, db *kv.Db) map[string]func(context.Context) error {
	dir := t.TempDir()
	return map[string]func(context.Context) error{
		"Clear":   db.Clear,
		"Sync":    db.Sync,
		"Compact": db.Compact,
		"Sweep":   db.Sweep,
		"Backup":  func(ctx context.Context) error { return db.Backup(ctx, filepath.Join(dir, "backup")) },
		"Export": func(ctx context.Context) error {
			_, err := db.Export(ctx, filepath.Join(dir, "export"), kv.FormatNDJSON, kv.ScanOptions{})
			return err
		},
		"Import": func(ctx context.Context) error {
			_, err := db.Import(ctx, filepath.Join(dir, "export"), kv.FormatNDJSON)
			return err
		},
		"GetOrLoad": func(ctx context.Context) error {
			_, err := db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, func(context.Context, []byte) ([]byte, error) {
				return nil, kv.ErrNotFound
			})
			return err
		},
		"Flush": func(ctx context.Context) error { return db.Flush(ctx, time.Second) },
		"IncrementShared": func(ctx context.Context) error {
			_, err := db.IncrementShared(ctx, []byte("k"), 1)
			return err
		},
		"AddShared": func(ctx context.Context) error {
			_, err := db.AddShared(ctx, []byte("k"), []byte("w"), kv.ExpireDefault)
			return err
		},
		"CompareAndSwapShared": func(ctx context.Context) error {
			_, err := db.CompareAndSwapShared(ctx, []byte("k"), []byte("v"), []byte("w"))
			return err
		},
		"Preload": func(ctx context.Context) error {
			_, err := db.Preload(ctx, []byte("*"), 0, nil)
			return err
		},
		"Verify": func(ctx context.Context) error {
			_, err := kv.Verify(ctx, dir)
			return err
		},
		"Salvage": func(ctx context.Context) error {
			_, err := kv.Salvage(ctx, dir, filepath.Join(dir, "salvaged"))
			return err
		},
	}
}

func TestAContextThatHasEndedBeginsNothing(t *testing.T) {
	db := onDisk(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for name, call := range waitingCalls(t, db) {
		if err := call(ended); err != context.Canceled {
			t.Errorf("%s: %v", name, err)
		}
	}
	holdsValue(t, db, "k", "v")
}

// cutOnceBegun is a context that ends when a call waits for it: asked for Done before it begins, and again once it has.
type cutOnceBegun struct {
	context.Context
	cancel context.CancelFunc
	asked  atomic.Int64
}

func (c *cutOnceBegun) Done() <-chan struct{} {
	if c.asked.Add(1) == 2 {
		c.cancel()
	}
	return c.Context.Done()
}

func TestAWaitThatIsCutGoesOnInTheBackground(t *testing.T) {
	events := make(chan kv.Event, 1)
	db := inMemory(t, kv.WithListener(func(event kv.Event) { events <- event }))
	ok(t, db.Set([]byte("k"), []byte("v")))
	pinned, release, released := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		released <- db.Pinned(func(*kv.Pin) error {
			close(pinned)
			<-release
			return nil
		})
	}()
	<-pinned
	// Clear waits for the pin, so it is cut.
	ending, cancel := context.WithCancel(ctx)
	cut := &cutOnceBegun{Context: ending, cancel: cancel}
	same(t, db.Clear(cut), context.Canceled)
	close(release)
	ok(t, <-released)
	same(t, string((<-events).Key), "k")
}

type nameKey struct{}

func TestALoadThatIsCutGoesOnForOthers(t *testing.T) {
	db := inMemory(t)
	loading, release := make(chan struct{}), make(chan struct{})
	ending, cancel := context.WithCancel(context.WithValue(ctx, nameKey{}, "value"))
	type answer struct {
		value []byte
		err   error
	}
	answers := make(chan answer)
	ask := func(ctx context.Context) {
		value, err := db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, func(ctx context.Context, key []byte) ([]byte, error) {
			close(loading)
			<-release
			if ctx.Err() != nil || ctx.Value(nameKey{}) != "value" || string(key) != "k" {
				t.Errorf("the loader's context: %v", ctx)
			}
			return []byte("loaded"), nil
		})
		answers <- answer{value, err}
	}
	go ask(ending)
	<-loading
	cancel()
	same(t, (<-answers).err, context.Canceled)
	go ask(ctx)
	close(release)
	got := <-answers
	ok(t, got.err)
	same(t, string(got.value), "loaded")
}

func TestWhatWouldWaitForItsOwnPinIsRefused(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	var kept *kv.Pin
	ok(t, db.Pinned(func(pin *kv.Pin) error {
		for _, call := range []func(context.Context) error{db.Clear, db.Compact, db.Sweep} {
			fails(t, call(ctx), kv.ErrPinned)
			fails(t, call(ending), kv.ErrPinned)
		}
		other := make(chan error)
		go func() {
			_, err := pin.Get([]byte("k"))
			other <- err
		}()
		fails(t, <-other, kv.ErrWrongThread)
		// What is removed stays in place, also within a second pin.
		value, err := pin.Get([]byte("k"))
		ok(t, err)
		ok(t, db.Set([]byte("k"), []byte("w")))
		ok(t, db.Pinned(func(inner *kv.Pin) error {
			now, err := inner.Get([]byte("k"))
			same(t, string(now), "w")
			return err
		}))
		fails(t, db.Compact(ending), kv.ErrPinned)
		same(t, string(value), "v")
		kept = pin
		return nil
	}))
	_, err := kept.Get([]byte("k"))
	fails(t, err, kv.ErrClosed)
	ok(t, db.Compact(ending))
}

func TestAPanicInPinnedReleasesThePin(t *testing.T) {
	db := inMemory(t)
	func() {
		defer func() { same(t, recover(), any("on purpose")) }()
		_ = db.Pinned(func(*kv.Pin) error { panic("on purpose") })
	}()
	ok(t, db.Compact(ctx))
}
