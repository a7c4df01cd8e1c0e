// A cache in memory: values that expire, and one loader per key however many ask.
package main

import (
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
}
