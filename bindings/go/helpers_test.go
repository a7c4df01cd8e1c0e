package kv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

var ctx = context.Background()

func inMemory(t testing.TB, options ...kv.Option) *kv.Db {
	t.Helper()
	db, err := kv.OpenInMemory(options...)
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	return db
}

func onDisk(t testing.TB, options ...kv.Option) *kv.Db {
	t.Helper()
	db, err := kv.Open(t.TempDir(), options...)
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	return db
}

func clockAt(unixMs int64) *kv.Clock { return kv.NewClock(time.UnixMilli(unixMs)) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t testing.TB, err, with error) {
	t.Helper()
	if !errors.Is(err, with) {
		t.Fatalf("got %v, expected %v", err, with)
	}
}

func same[T comparable](t testing.TB, got, expected T) {
	t.Helper()
	if got != expected {
		t.Fatalf("got %v, expected %v", got, expected)
	}
}

func holdsValue(t testing.TB, db *kv.Db, key, expected string) {
	t.Helper()
	value, err := db.Get([]byte(key))
	ok(t, err)
	same(t, string(value), expected)
}
