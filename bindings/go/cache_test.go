package kv_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

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

// A weigher that calls its store does not wait for itself.
func TestAWeigherThatCallsItsStoreComesBack(t *testing.T) {
	var db *kv.Db
	db = inMemory(t, kv.WithMaxBytes(100), kv.WithWeigher(func(key, _ []byte) uint32 {
		if db != nil && string(key) == "k" {
			_ = db.Set([]byte("inside"), []byte("12345"))
		}
		return 1
	}))
	ok(t, db.Set([]byte("k"), []byte("v")))
	weight, err := db.Figure("weight")
	ok(t, err)
	same(t, weight, 1+11)
}
