package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

// What a weigher says counts, in place of bytes; also after a reopen, and where it panics.
func TestAWeigherSaysWhatEntriesWeigh(t *testing.T) {
	lines := func(key, value []byte) uint32 {
		if bytes.Equal(key, []byte("bad")) {
			panic("cannot be weighed")
		}
		return uint32(bytes.Count(value, []byte("\n")))
	}
	dir := t.TempDir()
	open := func() *kv.Db {
		db, err := kv.Open(dir, kv.WithMaxBytes(100), kv.WithWeigher(lines), kv.WithCompression(3, 16))
		ok(t, err)
		return db
	}
	weight := func(db *kv.Db) uint64 {
		weight, err := db.Figure("weight")
		ok(t, err)
		return weight
	}
	db := open()
	for n := range 50 {
		ok(t, db.Set(fmt.Append(nil, n), bytes.Repeat([]byte("a line of text\n"), 3)))
	}
	entries, err := db.Len()
	ok(t, err)
	same(t, entries, 33)
	same(t, weight(db), 99)
	ok(t, db.Set([]byte("bad"), []byte("5")))
	// Its bytes: a page went for them.
	same(t, weight(db), 100)
	_, err = db.Increment([]byte("bad"), 1)
	ok(t, err)
	same(t, weight(db), 100)
	ok(t, db.Close())
	db = open()
	same(t, weight(db), 100)
	var writers sync.WaitGroup
	for writer := range 8 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for n := range 200 {
				_ = db.Set(fmt.Appendf(nil, "%d %d", writer, n), []byte("\n\n"))
			}
		}()
	}
	writers.Wait()
	if weight(db) > 100 {
		t.Fatal(weight(db))
	}
	ok(t, db.Close())
}

// Whatever a weigher calls is refused and comes back: also what waits in Go, for a session whose commit waits for the weigher.
func TestAWeigherThatCallsAStoreIsToldSo(t *testing.T) {
	other := inMemory(t)
	var db *kv.Db
	key, value := []byte("k"), []byte("v")
	asked := 0
	db = inMemory(t, kv.WithMaxBytes(100), kv.WithWeigher(func([]byte, []byte) uint32 {
		asked++
		calls := map[string]func() error{
			"Get":       func() error { _, err := db.Get(key); return err },
			"GetAppend": func() error { _, err := db.GetAppend(nil, key); return err },
			"GetMany":   func() error { _, err := db.GetMany([][]byte{key}); return err },
			"Set":       func() error { return db.Set(key, value) },
			"Delete":    func() error { _, err := db.Delete(key); return err },
			"SetMany":   func() error { return db.SetMany([]kv.Pair{{Key: key, Value: value}}) },
			"Scan": func() (err error) {
				for _, err = range db.Scan(kv.ScanOptions{}) {
				}
				return err
			},
			"Pinned": func() error { return db.Pinned(func(*kv.Pin) error { return nil }) },
			"GetOrLoad": func() error {
				_, err := db.GetOrLoad(ctx, key, kv.ExpireDefault, func(context.Context, []byte) ([]byte, error) { return value, nil })
				return err
			},
			"GetAndLock":    func() error { _, err := db.GetAndLock(ctx, key); return err },
			"CreateAndLock": func() error { _, err := db.CreateAndLock(ctx, []byte("new"), kv.CreateOptions{}); return err },
			"Watch":         func() error { _, err := db.Watch(kv.WatchOptions{}); return err },
			"Compact":       func() error { return db.Compact(ctx) },
			"Clear":         func() error { return db.Clear(ctx) },
			"Sync":          func() error { return db.Sync(ctx) },
			"Stats":         func() error { _, err := db.Stats(); return err },
			"Close":         func() error { return db.Close() },
			"OpenInMemory":  func() error { _, err := kv.OpenInMemory(); return err },
			"another's Set": func() error { return other.Set(key, value) },
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, kv.ErrInCallback) {
				t.Errorf("%s: %v", name, err)
			}
		}
		return 1
	}))
	soon(t, func() {
		ok(t, db.Set(key, value))
		session, err := db.GetAndLock(ctx, key)
		ok(t, err)
		session.Value = []byte("w")
		_, err = session.Commit()
		ok(t, err)
		weight, err := db.Figure("weight")
		ok(t, err)
		same(t, weight, 1)
		same(t, asked, 2)
		ok(t, db.Close())
	})
}

// soon runs what could hang.
func soon(t *testing.T, run func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		run()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		panic("it hangs: " + t.Name())
	}
}
