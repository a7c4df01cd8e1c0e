package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	kv "github.com/libkv/libkv/bindings/go"
)

// everyCall makes one call of each kind, with memory that nothing else refers to.
func everyCall(db *kv.Db, n int) error {
	key := func() []byte { return fmt.Appendf(nil, "key %d", n%50) }
	value := bytes.Repeat([]byte{byte(n)}, n%1000)
	batch := new(kv.Batch)
	batch.Set(key(), value)
	batch.Delete(key())
	_, loaded := db.GetOrLoad(ctx, key(), kv.ExpireDefault, func(_ context.Context, key []byte) ([]byte, error) {
		return append([]byte("loaded "), key...), nil
	})
	scanned := error(nil)
	for _, err := range db.Scan(kv.ScanOptions{Prefix: key()}) {
		scanned = err
	}
	return errors.Join(
		db.Set(key(), value), second(db.Get(key())), second(db.GetAppend(nil, key())), second(db.GetOwned(key())),
		db.SetMany([]kv.Pair{{Key: key(), Value: value}, {Key: key(), Value: key()}}),
		second(db.GetMany([][]byte{key(), key()})), second(db.DeleteMany([][]byte{key(), key()})), db.Apply(batch),
		second(db.SetWith(key(), value, kv.SetOptions{})), second(db.Add(key(), value)), second(db.Take(key())),
		second(db.Contains(key())), second(db.Version(key())), second(db.TTL(key())), second(db.Len()), second(db.Touch(key())),
		second(db.Figure("entries")), second(db.StatsJSON()), db.Pinned(func(pin *kv.Pin) error { return second(pin.Get(key())) }),
		db.Sync(ctx), second(db.ExportTo(ctx, new(bytes.Buffer), kv.FormatNDJSON, kv.ScanOptions{Prefix: key()})),
		loaded, scanned)
}

// without takes statuses out of what everyCall gives.
func without(err error, expected ...error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return err
	}
	for _, one := range joined.Unwrap() {
		isExpected := false
		for _, status := range expected {
			isExpected = isExpected || errors.Is(one, status)
		}
		if !isExpected {
			return one
		}
	}
	return nil
}

func TestCloseWhileGoroutinesCallGivesThemClosed(t *testing.T) {
	for round := range 30 {
		var db *kv.Db
		var err error
		options := []kv.Option{kv.WithListener(func(kv.Event) {}), kv.WithSync(kv.SyncNever)}
		if round%2 == 0 {
			db, err = kv.OpenInMemory(options...)
		} else {
			db, err = kv.Open(t.TempDir(), options...)
		}
		ok(t, err)
		var running, done sync.WaitGroup
		for client := range 8 {
			running.Add(1)
			done.Go(func() {
				var once sync.Once
				for n := client; ; n++ {
					err := everyCall(db, n)
					once.Do(running.Done)
					if err := without(err, kv.ErrNotFound, kv.ErrNotMet, kv.ErrClosed); err != nil {
						t.Error(err)
						return
					}
					if errors.Is(err, kv.ErrClosed) {
						return
					}
				}
			})
		}
		running.Wait()
		for range 3 {
			done.Go(func() { ok(t, db.Close()) })
		}
		done.Wait()
		ok(t, db.Close())
		for _, err := range []error{
			db.Set(nil, nil), second(db.Get(nil)), second(db.GetMany(nil)), db.Sync(ctx), second(db.Now()), second(db.Len()),
			db.Pinned(func(*kv.Pin) error { return nil }), second(db.GetOrLoad(ctx, nil, kv.ExpireDefault, loadsNothing)),
		} {
			fails(t, err, kv.ErrClosed)
		}
	}
}

func loadsNothing(context.Context, []byte) ([]byte, error) { return nil, kv.ErrNotFound }

func TestCloseInPinnedLeavesWhatIsReadInPlace(t *testing.T) {
	db, err := kv.OpenInMemory()
	ok(t, err)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ok(t, db.Pinned(func(pin *kv.Pin) error {
		value, err := pin.Get([]byte("k"))
		ok(t, err)
		ok(t, db.Close())
		same(t, string(value), "v")
		value, err = pin.Get([]byte("k"))
		same(t, string(value), "v")
		return err
	}))
}

func TestTheZeroStoreIsClosed(t *testing.T) {
	var db kv.Db
	fails(t, db.Set(nil, nil), kv.ErrClosed)
	ok(t, db.Close())
}

func TestCallsAreSafeWhileTheGarbageCollectorRuns(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	var stop atomic.Bool
	var collector sync.WaitGroup
	collector.Go(func() {
		for !stop.Load() {
			runtime.GC()
		}
	})
	events := make(chan kv.Event, 1000)
	db := inMemory(t, kv.WithListener(func(event kv.Event) {
		select {
		case events <- event:
		default:
		}
	}))
	var callers sync.WaitGroup
	for client := range 4 {
		callers.Go(func() {
			for n := range scale(t, "KV_CALLS", 100) {
				if err := without(everyCall(db, client+4*n), kv.ErrNotFound, kv.ErrNotMet); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// A call may be the last use of its store.
	callers.Go(func() {
		for range 50 {
			forgotten, err := kv.OpenInMemory()
			if err == nil {
				err = without(everyCall(forgotten, 1), kv.ErrNotFound, kv.ErrNotMet)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	callers.Wait()
	stop.Store(true)
	collector.Wait()
	for len(events) > 0 {
		if event := <-events; !strings.HasPrefix(string(event.Key), "key ") {
			t.Fatalf("%q", event.Key)
		}
	}
}

func TestAForgottenStoreIsClosed(t *testing.T) {
	dir := t.TempDir()
	func() {
		db, err := kv.Open(dir, kv.WithListener(func(kv.Event) {}))
		ok(t, err)
		ok(t, db.Set([]byte("k"), []byte("v")))
	}()
	for {
		runtime.GC()
		db, err := kv.Open(dir)
		if errors.Is(err, kv.ErrLocked) {
			runtime.Gosched()
			continue
		}
		ok(t, err)
		holdsValue(t, db, "k", "v")
		ok(t, db.Close())
		return
	}
}

// held is what the process holds.
type held struct {
	descriptors, threads, bytes int
}

func holding(t *testing.T) (h held) {
	runtime.GC()
	entries := func(dir string) int {
		names, err := filepath.Glob(dir + "/*")
		ok(t, err)
		return len(names)
	}
	text, err := os.ReadFile("/proc/self/statm")
	ok(t, err)
	var pages int
	_, err = fmt.Sscan(strings.Fields(string(text))[1], &pages)
	ok(t, err)
	return held{entries("/proc/self/fd"), entries("/proc/self/task"), pages * os.Getpagesize()}
}

func TestOpensAndClosesLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	once := func(n int) {
		listener := kv.WithListener(func(kv.Event) {})
		open := func() (*kv.Db, error) { return kv.OpenInMemory(listener) }
		if n%20 == 0 {
			// A store of its own each time: what an open holds grows with the segments that it finds.
			path := filepath.Join(dir, "store")
			ok(t, os.RemoveAll(path))
			open = func() (*kv.Db, error) { return kv.Open(path, listener, kv.WithSync(kv.SyncNever)) }
		}
		db, err := open()
		ok(t, err)
		ok(t, db.Set([]byte("k"), []byte("v")))
		_, err = db.Delete([]byte("k"))
		ok(t, err)
		ok(t, db.Close())
	}
	// A leak grows in every round; what the allocators keep does not.
	const rounds = 10
	times := scale(t, "KV_OPENS", 10_000) / rounds
	for n := range times / rounds {
		once(n)
	}
	first := holding(t)
	growth, last := math.MaxInt, first
	for range rounds {
		for n := range times {
			once(n)
		}
		now := holding(t)
		growth, last = min(growth, now.bytes-last.bytes), now
	}
	t.Logf("at first %+v, after %d opens %+v, least growth in a round %d bytes", first, rounds*times, last, growth)
	if last.descriptors > first.descriptors || last.threads > first.threads+4 || growth > 128<<10 {
		t.Fatal("something is left behind")
	}
}
