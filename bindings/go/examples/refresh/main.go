// A value that is dear to make: served while a thread of the store makes it anew. The clock is the example's own.
package main

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	clock := kv.NewClock(time.UnixMilli(1_700_000_000_000))
	db, err := kv.OpenInMemory(kv.WithClock(clock))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	var loads atomic.Int64
	// Served for a minute, and loaded anew after ten seconds of it.
	options := kv.LoadOptions{TTL: time.Minute, FreshFor: 10 * time.Second}
	price := func() string {
		value, err := db.GetOrLoadWith(context.Background(), []byte("gold"), options,
			func(context.Context, []byte) ([]byte, error) {
				return fmt.Appendf(nil, "price %d", loads.Add(1)), nil
			})
		if err != nil {
			log.Fatal(err)
		}
		return string(value)
	}
	fmt.Println("loaded:", price())
	if err := clock.Advance(10 * time.Second); err != nil {
		log.Fatal(err)
	}
	fmt.Println("served while it is loaded anew:", price())
	for price() == "price 1" {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("loaded anew:", price())
	fmt.Println("loads:", loads.Load())
}
