package kv_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

var freshForTen = kv.LoadOptions{TTL: 100 * time.Second, FreshFor: 10 * time.Second}

// brings is a loader that counts its calls.
func brings(calls *atomic.Int64, value string) kv.Loader {
	return func(context.Context, []byte) ([]byte, error) {
		calls.Add(1)
		return []byte(value), nil
	}
}

func loads(t *testing.T, db *kv.Db, options kv.LoadOptions, loader kv.Loader, expected string) {
	t.Helper()
	value, err := db.GetOrLoadWith(ctx, []byte("k"), options, loader)
	ok(t, err)
	same(t, string(value), expected)
}

func TestAStaleValueIsServedWhileAThreadOfTheStoreLoadsItAnew(t *testing.T) {
	clock := clockAt(1_700_000_000_000)
	db := inMemory(t, kv.WithClock(clock))
	var calls atomic.Int64
	loads(t, db, freshForTen, brings(&calls, "1"), "1")
	ok(t, clock.Advance(9999*time.Millisecond))
	loads(t, db, freshForTen, brings(&calls, "unwanted"), "1")
	same(t, calls.Load(), 1)
	ok(t, clock.Advance(time.Millisecond))
	running, goes := make(chan string), make(chan struct{})
	type place struct{}
	held := func(ctx context.Context, key []byte) ([]byte, error) {
		running <- ctx.Value(place{}).(string) + string(key)
		<-goes
		return []byte("2"), db.Close()
	}
	ended, end := context.WithCancel(context.WithValue(ctx, place{}, "of "))
	key := []byte("k")
	value, err := db.GetOrLoadWith(ended, key, freshForTen, held)
	ok(t, err)
	same(t, string(value), "1")
	// Neither the end of the call's context nor what its memory becomes is the loader's.
	end()
	key[0] = 'x'
	same(t, <-running, "of k")
	loads(t, db, freshForTen, brings(&calls, "unwanted"), "1")
	close(goes)
	// The loader must not close its store, so it has failed, and another one comes to its turn a second later.
	eventually(t, "it is loaded anew", func() bool {
		ok(t, clock.Advance(time.Second))
		value, err := db.GetOrLoadWith(ctx, []byte("k"), freshForTen, brings(&calls, "3"))
		ok(t, err)
		return string(value) == "3"
	})
}

func TestLoadOptionsThatCannotWorkAreRefusedAndAbsenceIsRemembered(t *testing.T) {
	clock := clockAt(1_700_000_000_000)
	db := inMemory(t, kv.WithClock(clock))
	var calls atomic.Int64
	for _, options := range []kv.LoadOptions{
		{FreshFor: time.Second}, {TTL: time.Second, FreshFor: time.Second}, {Early: -1}, {TTL: -1}, {Lease: -time.Second},
	} {
		_, err := db.GetOrLoadWith(ctx, []byte("k"), options, brings(&calls, "unwanted"))
		fails(t, err, kv.ErrInvalidOption)
	}
	_, err := db.GetOrLoadWith(ctx, []byte("k"), kv.LoadOptions{}, nil)
	fails(t, err, kv.ErrInvalidArgument)
	for range 3 {
		_, err := db.GetOrLoadWith(ctx, []byte("k"), kv.LoadOptions{AbsentFor: time.Minute},
			func(context.Context, []byte) ([]byte, error) {
				calls.Add(1)
				return nil, kv.ErrNotFound
			})
		fails(t, err, kv.ErrNotFound)
	}
	same(t, calls.Load(), 1)
	ok(t, clock.Advance(time.Minute))
	loads(t, db, kv.LoadOptions{AbsentFor: time.Minute}, brings(&calls, "v"), "v")
}

func TestErrorsAndPanicsOfALoaderReachAllWhoWaitAndTheLogger(t *testing.T) {
	clock := clockAt(1_700_000_000_000)
	var mu sync.Mutex
	var lines []string
	db := inMemory(t, kv.WithClock(clock), kv.WithLogger(func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}))
	told := func(part string) bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(strings.Join(lines, "\n"), part)
	}
	noNetwork := errors.New("no network")
	goes := make(chan struct{})
	var calls atomic.Int64
	failing := func(context.Context, []byte) ([]byte, error) {
		calls.Add(1)
		<-goes
		return nil, noNetwork
	}
	var waiting sync.WaitGroup
	for range 10 {
		waiting.Go(func() {
			_, err := db.GetOrLoadWith(ctx, []byte("k"), freshForTen, failing)
			if !errors.Is(err, noNetwork) || !errors.Is(err, kv.ErrLoaderFailed) {
				t.Error(err)
			}
		})
	}
	close(goes)
	waiting.Wait()
	loads(t, db, freshForTen, brings(&calls, "1"), "1")
	ok(t, clock.Advance(10*time.Second))
	loads(t, db, freshForTen, failing, "1")
	eventually(t, "the error is told", func() bool { return told("no network") })
	eventually(t, "the panic is told", func() bool {
		ok(t, clock.Advance(time.Second))
		loads(t, db, freshForTen, func(context.Context, []byte) ([]byte, error) { panic("as the test wants it") }, "1")
		return told("as the test wants it")
	})
}

func TestCloseWaitsForTheLoaderThatRunsAndDropsThoseThatWait(t *testing.T) {
	clock := clockAt(1_700_000_000_000)
	db := inMemory(t, kv.WithClock(clock))
	var calls atomic.Int64
	keys := make([][]byte, 50)
	for at := range keys {
		keys[at] = []byte{byte(at)}
		_, err := db.GetOrLoadWith(ctx, keys[at], freshForTen, brings(&calls, "1"))
		ok(t, err)
	}
	ok(t, clock.Advance(10*time.Second))
	running, goes := make(chan struct{}, len(keys)), make(chan struct{})
	var over atomic.Bool
	var unreturned, dropped atomic.Int64
	for _, key := range keys {
		held := &[64]byte{}
		runtime.AddCleanup(held, func(int) { dropped.Add(1) }, 0)
		_, err := db.GetOrLoadWith(ctx, key, freshForTen, func(context.Context, []byte) ([]byte, error) {
			if over.Load() {
				t.Error("called after the store was closed")
			}
			unreturned.Add(1)
			defer unreturned.Add(-1)
			defer runtime.KeepAlive(held)
			running <- struct{}{}
			<-goes
			return []byte("2"), nil
		})
		ok(t, err)
	}
	<-running
	closed := make(chan error)
	go func() {
		err := db.Close()
		over.Store(true)
		closed <- err
	}()
	eventually(t, "those that wait are dropped", func() bool {
		runtime.GC()
		return dropped.Load() >= 46
	})
	close(goes)
	ok(t, <-closed)
	same(t, unreturned.Load(), 0)
	_, err := db.GetOrLoadWith(ctx, keys[0], freshForTen, brings(&calls, "unwanted"))
	fails(t, err, kv.ErrClosed)
}

func TestATypedStoreLoadsAnew(t *testing.T) {
	clock := clockAt(1_700_000_000_000)
	store := kv.NewStore(inMemory(t, kv.WithClock(clock)), kv.JSON[int]())
	load := func(n int) (int, error) {
		return store.GetOrLoadWith(ctx, []byte("k"), freshForTen, func(context.Context, []byte) (int, error) { return n, nil })
	}
	found, err := load(1)
	ok(t, err)
	same(t, found, 1)
	ok(t, clock.Advance(10*time.Second))
	eventually(t, "it is loaded anew", func() bool {
		found, err := load(2)
		ok(t, err)
		return found == 2
	})
}

func TestOfStoresThatShareATierOneLoadsAKeyUnderALease(t *testing.T) {
	server := startRedis(t)
	options := kv.LoadOptions{TTL: 100 * time.Second, Lease: patience}
	var calls atomic.Int64
	var loading sync.WaitGroup
	for range 3 {
		db := inMemory(t, shared(server)...)
		for range 3 {
			loading.Go(func() {
				value, err := db.GetOrLoadWith(ctx, []byte("k"), options, brings(&calls, "v"))
				if err != nil || string(value) != "v" {
					t.Errorf("%q, %v", value, err)
				}
			})
		}
	}
	loading.Wait()
	same(t, calls.Load(), 1)
}

func TestRedisHoldsWhatAnEncoderOfGoMakesOfAValue(t *testing.T) {
	server := startRedis(t)
	var here *kv.Db
	var inner atomic.Value
	capitals := kv.Encoder{
		Encode: func(key, value []byte) ([]byte, error) {
			if string(key) == "panics" {
				panic("as the test wants it")
			}
			inner.Store(here.Set(key, value))
			return []byte(strings.ToUpper(string(value))), nil
		},
		Decode: func(key, data []byte) ([]byte, error) {
			if string(data) == "#" {
				return nil, errors.New("it has no form")
			}
			return []byte(strings.ToLower(string(data))), nil
		},
	}
	fails(t, func() error {
		_, err := kv.OpenInMemory(kv.WithTierEncoder(kv.Encoder{}))
		return err
	}(), kv.ErrInvalidArgument)
	open := func() *kv.Db {
		return inMemory(t, shared(server, kv.WithTierEncoder(capitals))...)
	}
	plain := inMemory(t, shared(server)...)
	here = open()
	there := open()
	for key, value := range map[string]string{"k": "text", "panics": "x", "empty": ""} {
		ok(t, here.Set([]byte(key), []byte(value)))
	}
	ok(t, here.Flush(ctx, patience))
	fails(t, inner.Load().(error), kv.ErrInCallback)
	holdsValue(t, plain, "k", "TEXT")
	holdsValue(t, there, "k", "text")
	holdsValue(t, there, "empty", "")
	_, err := plain.Get([]byte("panics"))
	fails(t, err, kv.ErrNotFound)
	ok(t, plain.Set([]byte("bad"), []byte("#")))
	ok(t, plain.Flush(ctx, patience))
	_, err = there.Get([]byte("bad"))
	fails(t, err, kv.ErrTier)
	if !strings.Contains(err.Error(), "it has no form") {
		t.Fatal(err)
	}
}
