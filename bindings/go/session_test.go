package kv_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func locked(t testing.TB, db *kv.Db, key string) *kv.Session {
	t.Helper()
	session, err := db.TryGetAndLock([]byte(key))
	ok(t, err)
	return session
}

func TestEditsAreSeenWhenTheyAreCommitted(t *testing.T) {
	db := inMemory(t)
	_, err := db.GetAndLock(ctx, []byte("k"))
	fails(t, err, kv.ErrNotFound)
	session, err := db.CreateAndLock(ctx, []byte("k"), kv.CreateOptions{Initial: []byte("first")})
	ok(t, err)
	same(t, string(session.Value)+string(session.Key()), "firstk")
	same(t, session.Version(), 0)
	session.Value = append(session.Value, '!')
	session.Metadata["by"] = []byte("Alice")
	_, err = db.Get([]byte("k"))
	fails(t, err, kv.ErrNotFound)
	version, err := session.CommitWith(kv.CommitOptions{Keep: true})
	ok(t, err)
	holdsValue(t, db, "k", "first!")
	_, err = db.TryGetAndLock([]byte("k"))
	fails(t, err, kv.ErrKeyLocked)
	session.SetExpiry(kv.ExpireAfter(time.Minute))
	session.Metadata["empty"] = nil
	second, err := session.Commit()
	ok(t, err)
	if second <= version {
		t.Fatalf("version %d follows %d", second, version)
	}
	value, metadata, err := db.GetWithMetadata([]byte("k"))
	ok(t, err)
	same(t, string(value), "first!")
	same(t, len(metadata), 2)
	same(t, string(metadata["by"]), "Alice")
	ttl, err := db.TTL([]byte("k"))
	ok(t, err)
	if ttl <= 0 || ttl > time.Minute {
		t.Fatalf("expires after %v", ttl)
	}
	_, err = db.CreateAndLock(ctx, []byte("k"), kv.CreateOptions{})
	fails(t, err, kv.ErrNotMet)
	session, err = db.CreateAndLock(ctx, []byte("k"), kv.CreateOptions{AllowExisting: true})
	ok(t, err)
	same(t, string(session.Value), "first!")
	same(t, len(session.Metadata), 2)
	version, err = session.CommitWith(kv.CommitOptions{Delete: true})
	ok(t, err)
	same(t, version, 0)
	_, _, err = db.GetWithMetadata([]byte("k"))
	fails(t, err, kv.ErrNotFound)
}

func TestASessionThatHasEndedIsRefused(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ends := []func(*kv.Session) error{
		func(s *kv.Session) error { _, err := s.Commit(); return err },
		func(s *kv.Session) error { return s.Close() },
		func(s *kv.Session) error {
			ok(t, db.Set([]byte("k"), []byte("theirs")))
			_, err := s.Commit()
			fails(t, err, kv.ErrConflict)
			return nil
		},
	}
	for _, end := range ends {
		session := locked(t, db, "k")
		ok(t, end(session))
		_, err := session.Commit()
		fails(t, err, kv.ErrSessionEnded)
		fails(t, session.Reload(), kv.ErrSessionEnded)
		ok(t, session.Close())
		ok(t, locked(t, db, "k").Close())
	}
}

func TestAConflictChangesNothingAndMayLeaveTheSession(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	session := locked(t, db, "k")
	session.Value = []byte("mine")
	ok(t, db.Set([]byte("k"), []byte("theirs")))
	_, err := session.CommitWith(kv.CommitOptions{KeepOnFailure: true})
	fails(t, err, kv.ErrConflict)
	holdsValue(t, db, "k", "theirs")
	same(t, string(session.Value), "mine")
	_, err = db.TryGetAndLock([]byte("k"))
	fails(t, err, kv.ErrKeyLocked)
	ok(t, session.Reload())
	same(t, string(session.Value), "theirs")
	session.Value = []byte("mine")
	_, err = session.CommitWith(kv.CommitOptions{KeepOnFailure: true})
	ok(t, err)
	holdsValue(t, db, "k", "mine")
}

func TestNoEditOfManyGoroutinesIsLost(t *testing.T) {
	const goroutines, edits = 50, 40
	db := inMemory(t)
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range edits {
				options := kv.CreateOptions{AllowExisting: true, Initial: make([]byte, 8)}
				session, err := db.CreateAndLock(ctx, []byte("k"), options)
				if err != nil {
					t.Error(err)
					return
				}
				binary.LittleEndian.PutUint64(session.Value, binary.LittleEndian.Uint64(session.Value)+1)
				if _, err := session.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	value, err := db.Get([]byte("k"))
	ok(t, err)
	same(t, binary.LittleEndian.Uint64(value), goroutines*edits)
}

func TestWhoWaitsMayBeCalledOffAndTakesNoThread(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	session := locked(t, db, "k")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := db.GetAndLock(ended, []byte("free"))
	fails(t, err, context.Canceled)
	late, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = db.GetAndLock(late, []byte("k"))
	fails(t, err, context.DeadlineExceeded)

	const waiting = 500
	called, cancel := context.WithCancel(ctx)
	results := make(chan error, 2*waiting)
	wait := func(ctx context.Context) {
		session, err := db.GetAndLock(ctx, []byte("k"))
		if err == nil {
			err = session.Close()
		}
		results <- err
	}
	for range waiting {
		go wait(ctx)
		go wait(called)
	}
	cancel()
	for range waiting {
		fails(t, <-results, context.Canceled)
	}
	if threads, _ := runtime.ThreadCreateProfile(nil); threads > 100 {
		t.Fatalf("%d threads", threads)
	}
	ok(t, session.Close())
	for range waiting {
		ok(t, <-results)
	}
	ok(t, locked(t, db, "k").Close())
}

func TestACloseEndsWaiting(t *testing.T) {
	db, err := kv.OpenInMemory()
	ok(t, err)
	ok(t, db.Set([]byte("k"), []byte("v")))
	session := locked(t, db, "k")
	results := make(chan error)
	for range 5 {
		go func() {
			_, err := db.GetAndLock(ctx, []byte("k"))
			results <- err
		}()
	}
	ok(t, db.Close())
	for range 5 {
		fails(t, <-results, kv.ErrClosed)
	}
	_, err = session.Commit()
	fails(t, err, kv.ErrClosed)
	_, err = db.TryGetAndLock([]byte("k"))
	fails(t, err, kv.ErrClosed)
}

func TestACloseInPinnedEndsALoaderThatWaitsForASession(t *testing.T) {
	clock := clockAt(1_700_000_000_000)
	db, err := kv.OpenInMemory(kv.WithClock(clock))
	ok(t, err)
	var calls atomic.Int64
	_, err = db.GetOrLoadWith(ctx, []byte("l"), freshForTen, brings(&calls, "1"))
	ok(t, err)
	ok(t, clock.Advance(10*time.Second))
	ok(t, db.Set([]byte("k"), []byte("v")))
	locked(t, db, "k")
	runs, ended := make(chan struct{}), make(chan error, 1)
	_, err = db.GetOrLoadWith(ctx, []byte("l"), freshForTen, func(ctx context.Context, _ []byte) ([]byte, error) {
		close(runs)
		_, err := db.GetAndLock(ctx, []byte("k"))
		ended <- err
		return nil, err
	})
	ok(t, err)
	<-runs
	ok(t, db.Pinned(func(*kv.Pin) error { return db.Close() }))
	fails(t, <-ended, kv.ErrClosed)
}

func TestASessionThatIsForgottenIsGivenUp(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	func() { locked(t, db, "k").Value = nil }()
	waits, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	}()
	session, err := db.GetAndLock(waits, []byte("k"))
	close(done)
	ok(t, err)
	same(t, string(session.Value), "v")
	ok(t, session.Close())
}

func TestNobodyWaitsForAKeyInPinned(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	session := locked(t, db, "k")
	ok(t, db.Pinned(func(*kv.Pin) error {
		_, err := db.GetAndLock(ctx, []byte("k"))
		fails(t, err, kv.ErrPinned)
		_, err = db.TryGetAndLock([]byte("k"))
		fails(t, err, kv.ErrKeyLocked)
		return nil
	}))
	ok(t, session.Close())
}

func TestGeneratedKeysGrow(t *testing.T) {
	db := inMemory(t)
	options := kv.KeyOptions{Prefix: []byte("job:"), Base: 36, Width: 7}
	var last []byte
	for range 100 {
		key, err := db.GenerateKey(options)
		ok(t, err)
		if bytes.Compare(key, last) <= 0 || len(key) != 11 || !bytes.HasPrefix(key, []byte("job:")) {
			t.Fatalf("%q follows %q", key, last)
		}
		last = key
	}
	session, err := db.CreateGeneratedAndLock(options, []byte("v"))
	ok(t, err)
	if bytes.Compare(session.Key(), last) <= 0 {
		t.Fatalf("%q follows %q", session.Key(), last)
	}
	_, err = session.Commit()
	ok(t, err)
	holdsValue(t, db, string(session.Key()), "v")
	_, err = db.GenerateKey(kv.KeyOptions{Base: 63})
	fails(t, err, kv.ErrInvalidOption)
	_, err = db.CreateGeneratedAndLock(kv.KeyOptions{Width: 2}, nil)
	fails(t, err, kv.ErrInvalidOption)
	_, err = db.TryCreateAndLock(make([]byte, kv.KeyBytesMax+1), kv.CreateOptions{})
	fails(t, err, kv.ErrKeyTooLong)
	var failed *kv.Error
	_, err = db.TryCreateAndLock(session.Key(), kv.CreateOptions{})
	if errors.As(err, &failed) {
		t.Fatal("that the key has a value is an answer")
	}
}
