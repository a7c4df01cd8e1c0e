// Keys in order: from one to another, the last first, and all as of one moment.
package main

import (
	"fmt"
	"iter"
	"log"

	kv "github.com/libkv/libkv/bindings/go"
)

func show(what string, entries iter.Seq2[kv.Entry, error]) {
	fmt.Print(what, ":")
	for entry, err := range entries {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf(" %s=%s", entry.Key, entry.Value)
	}
	fmt.Println()
}

func main() {
	// Worth its memory where scans are frequent; without it they give the same.
	db, err := kv.OpenInMemory(kv.WithOption("ordered_index", "true"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	err = db.SetMany([]kv.Pair{
		{Key: []byte("05-02"), Value: []byte("rain")},
		{Key: []byte("05-04"), Value: []byte("sun")},
		{Key: []byte("05-03"), Value: []byte("fog")},
		{Key: []byte("06-01"), Value: []byte("sun")},
	})
	if err != nil {
		log.Fatal(err)
	}

	show("from 05-03 on", db.Scan(kv.ScanOptions{Start: []byte("05-03")}))
	show("before 06", db.Scan(kv.ScanOptions{End: []byte("06")}))
	show("the last in May", db.Scan(kv.ScanOptions{Prefix: []byte("05-"), Reverse: true, Limit: 1}))

	// A scan begins, and a snapshot is taken, when the loop over it does.
	fmt.Print("as it was:")
	isChanged := false
	for entry, err := range db.Scan(kv.ScanOptions{Ordered: true, Snapshot: true}) {
		if err == nil && !isChanged {
			isChanged = true
			if err = db.Set([]byte("05-02"), []byte("snow")); err == nil {
				_, err = db.Delete([]byte("06-01"))
			}
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf(" %s=%s", entry.Key, entry.Value)
	}
	fmt.Println()
	show("as it is", db.Scan(kv.ScanOptions{Ordered: true}))
}
