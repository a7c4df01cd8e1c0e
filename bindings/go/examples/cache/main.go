// A cache in memory: values that expire, one loader per key however many ask, and a limit on what is held.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	db, err := kv.OpenInMemory(kv.WithDefaultTTL(5 * time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	queries := 0
	// Stands for a slow query.
	loadUser := func(_ context.Context, key []byte) ([]byte, error) {
		queries++
		return append([]byte("name of "), key...), nil
	}
	for range 3 {
		name, err := db.GetOrLoad(context.Background(), []byte("user:7"), kv.ExpireDefault, loadUser)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", name)
	}
	fmt.Println("queries:", queries)

	ttl, err := db.TTL([]byte("user:7"))
	if err != nil {
		log.Fatal(err)
	}
	if ttl <= 5*time.Minute {
		fmt.Println("expires within five minutes: yes")
	}

	// Holds a hundred entries, or a thousand lines; what nobody asks for goes.
	lines := func(_, value []byte) uint32 { return uint32(bytes.Count(value, []byte("\n")) + 1) }
	pages, err := kv.OpenInMemory(kv.WithMaxEntries(100), kv.WithMaxBytes(1000), kv.WithWeigher(lines))
	if err != nil {
		log.Fatal(err)
	}
	defer pages.Close()
	for n := range 500 {
		if err := pages.Set(fmt.Appendf(nil, "page %d", n), []byte("one\ntwo\nthree")); err != nil {
			log.Fatal(err)
		}
	}
	stats, err := pages.Stats()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("pages: %d, lines: %d, evicted: %d\n", stats["entries"], stats["weight"], stats["evicted"])
}
