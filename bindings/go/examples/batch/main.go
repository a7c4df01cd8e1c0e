// Many keys in one call: set, read, scanned, deleted.
package main

import (
	"fmt"
	"log"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	db, err := kv.OpenInMemory()
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	err = db.SetMany([]kv.Pair{
		{Key: []byte("city:1"), Value: []byte("Oslo")},
		{Key: []byte("city:2"), Value: []byte("Lima")},
		{Key: []byte("city:3"), Value: []byte("Kyoto")},
	})
	if err != nil {
		log.Fatal(err)
	}

	keys := [][]byte{[]byte("city:2"), []byte("city:9")}
	values, err := db.GetMany(keys)
	if err != nil {
		log.Fatal(err)
	}
	for at, value := range values {
		fmt.Printf("%s: %s\n", keys[at], value)
	}

	// Sets and deletes together: after a crash all of it is there or nothing.
	var batch kv.Batch
	batch.Delete([]byte("city:1"))
	batch.SetExpiring([]byte("city:4"), []byte("Quito"), kv.ExpireAfter(time.Minute))
	if err := db.Apply(&batch); err != nil {
		log.Fatal(err)
	}

	for entry, err := range db.Scan(kv.ScanOptions{Prefix: []byte("city:"), Ordered: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s = %s\n", entry.Key, entry.Value)
	}
}
