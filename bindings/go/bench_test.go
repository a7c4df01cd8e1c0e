package kv_test

import (
	"fmt"
	"testing"

	kv "github.com/libkv/libkv/bindings/go"
)

func filled(b *testing.B) (*kv.Db, [][]byte) {
	db, err := kv.OpenInMemory()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	keys := make([][]byte, 1000)
	for at := range keys {
		keys[at] = fmt.Appendf(nil, "key:%012d", at)
		if err := db.Set(keys[at], make([]byte, 100)); err != nil {
			b.Fatal(err)
		}
	}
	return db, keys
}

func BenchmarkGetAppend(b *testing.B) {
	db, keys := filled(b)
	buffer := make([]byte, 0, 100)
	b.ReportAllocs()
	for at := 0; b.Loop(); at++ {
		if _, err := db.GetAppend(buffer, keys[at%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	db, keys := filled(b)
	b.ReportAllocs()
	for at := 0; b.Loop(); at++ {
		if _, err := db.Get(keys[at%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetMany(b *testing.B) {
	db, keys := filled(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := db.GetMany(keys[:100]); err != nil {
			b.Fatal(err)
		}
	}
}
