package kv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func watched(t testing.TB, db *kv.Db, options kv.WatchOptions) *kv.Watch {
	t.Helper()
	watch, err := db.Watch(options)
	ok(t, err)
	t.Cleanup(func() { ok(t, watch.Close()) })
	return watch
}

func deleted(t testing.TB, db *kv.Db, key string) {
	t.Helper()
	_, err := db.Delete([]byte(key))
	ok(t, err)
}

// told is all that there is by now, each change in a word.
func told(t testing.TB, watch *kv.Watch) []string {
	t.Helper()
	var words []string
	for {
		change, isThere, err := watch.TryNext()
		ok(t, err)
		if !isThere {
			return words
		}
		words = append(words, word(change))
	}
}

func word(change kv.Change) string {
	switch change.Kind {
	case kv.ChangePut:
		return fmt.Sprintf("%s=%s", change.Key, change.Value)
	case kv.ChangeRemoved:
		return fmt.Sprintf("%s %v", change.Key, change.Cause)
	default:
		return "cleared"
	}
}

func TestAWatchTellsChangesInTheirOrder(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("user:0"), []byte("before")))
	watch := watched(t, db, kv.WatchOptions{Prefix: []byte("user:")})
	ok(t, db.Set([]byte("user:1"), []byte("Alice")))
	ok(t, db.Set([]byte("order:1"), []byte("tea")))
	session, err := db.TryCreateAndLock([]byte("user:2"), kv.CreateOptions{Initial: []byte("Bob")})
	ok(t, err)
	session.Metadata["by"] = []byte("Alice")
	session.SetExpiry(kv.ExpireAfter(time.Hour))
	version, err := session.Commit()
	ok(t, err)
	deleted(t, db, "user:1")
	ok(t, db.Clear(ctx))
	first, err := watch.Next(ctx)
	ok(t, err)
	same(t, word(first), "user:1=Alice")
	second, err := watch.Next(ctx)
	ok(t, err)
	same(t, word(second)+string(second.Metadata["by"]), "user:2=BobAlice")
	same(t, second.Version, version)
	if time.Until(second.ExpiresAt) < time.Minute {
		t.Fatalf("expires at %v", second.ExpiresAt)
	}
	rest := told(t, watch)
	if !slices.Equal(rest, []string{"user:1 deleted", "cleared"}) {
		t.Fatal(rest)
	}
	if watch.Position() <= version {
		t.Fatal("it has come no further")
	}
}

func TestAWatchGoesOnAfterAReopen(t *testing.T) {
	path := t.TempDir()
	db, err := kv.Open(path)
	ok(t, err)
	watch := watched(t, db, kv.WatchOptions{All: true})
	ok(t, db.Set([]byte("a"), []byte("1")))
	ok(t, db.Set([]byte("b"), []byte("2")))
	_, err = watch.Next(ctx)
	ok(t, err)
	position := watch.Position()
	deleted(t, db, "a")
	ok(t, db.Close())
	_, err = watch.Next(ctx)
	fails(t, err, kv.ErrClosed)
	db, err = kv.Open(path)
	ok(t, err)
	defer db.Close()
	rest := told(t, watched(t, db, kv.WatchOptions{After: position}))
	if !slices.Equal(rest, []string{"b=2", "a deleted"}) {
		t.Fatal(rest)
	}
	_, err = db.Watch(kv.WatchOptions{After: 1 << 50})
	fails(t, err, kv.ErrInvalidOption)
}

func TestAWaitForAChangeEndsWithItsContextAndWithTheWatch(t *testing.T) {
	db := inMemory(t)
	watch := watched(t, db, kv.WatchOptions{})
	for range 50 {
		brief, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Millisecond, cancel)
		_, err := watch.Next(brief)
		fails(t, err, context.Canceled)
	}
	// None of those who have gone has left a wake-up that counts.
	time.AfterFunc(5*time.Millisecond, func() { _ = db.Set([]byte("k"), []byte("v")) })
	change, err := watch.Next(ctx)
	ok(t, err)
	same(t, word(change), "k=v")
	time.AfterFunc(5*time.Millisecond, func() { _ = watch.Close() })
	_, err = watch.Next(ctx)
	fails(t, err, kv.ErrClosed)
	same(t, watch.Position(), 0)
	for range watch.Changes(ctx) {
		t.Fatal("it is closed")
	}
}

func TestARangeOverChangesSaysOnceThatItComesTooLate(t *testing.T) {
	db := inMemory(t, kv.WithSegmentBytes(65536))
	ok(t, db.Set([]byte("a"), nil))
	ok(t, db.Set([]byte("b"), nil))
	watch := watched(t, db, kv.WatchOptions{})
	deleted(t, db, "a")
	deadline := time.Now().Add(time.Minute)
	for isLate := false; !isLate; {
		if time.Now().After(deadline) {
			t.Fatal("the delete stays")
		}
		for range 200 {
			ok(t, db.Set([]byte("churn"), make([]byte, 1000)))
		}
		ok(t, db.Compact(ctx))
		late := watched(t, db, kv.WatchOptions{After: watch.Position()})
		_, _, err := late.TryNext()
		isLate = errors.Is(err, kv.ErrLagged)
	}
	ranged, cancel := context.WithCancel(ctx)
	defer cancel()
	var words []string
	lags := 0
	for change, err := range watch.Changes(ranged) {
		if errors.Is(err, kv.ErrLagged) {
			lags++
			continue
		}
		ok(t, err)
		words = append(words, string(change.Key))
		if string(change.Key) == "churn" {
			cancel()
		}
	}
	same(t, lags, 1)
	if !slices.Equal(words, []string{"b", "churn"}) {
		t.Fatal(words)
	}
}
