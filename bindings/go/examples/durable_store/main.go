// A store on disk: each write is durable before its call returns, and is found again.
package main

import (
	"fmt"
	"log"
	"os"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatalf("usage: %s DIRECTORY", os.Args[0])
	}
	db, err := kv.Open(os.Args[1], kv.WithSync(kv.SyncAlways))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Increment([]byte("visits"), 1); err != nil {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}

	db, err = kv.Open(os.Args[1], kv.WithSync(kv.SyncAlways))
	if err != nil {
		log.Fatal(err)
	}
	visits, err := db.Get([]byte("visits"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("visits: %s\n", visits)
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
}
