// Being told what changes, and going on later where one stood.
package main

import (
	"context"
	"fmt"
	"log"

	kv "github.com/libkv/libkv/bindings/go"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func tell(watch *kv.Watch) {
	for {
		change, isThere, err := watch.TryNext()
		check(err)
		if !isThere {
			return
		}
		switch change.Kind {
		case kv.ChangePut:
			fmt.Printf("%s is %s\n", change.Key, change.Value)
		case kv.ChangeRemoved:
			fmt.Printf("%s is gone\n", change.Key)
		default:
			fmt.Println("all are gone")
		}
	}
}

func main() {
	db, err := kv.OpenInMemory()
	check(err)
	defer db.Close()
	watch, err := db.Watch(kv.WatchOptions{Prefix: []byte("user:")})
	check(err)
	check(db.Set([]byte("user:7"), []byte("Alice")))
	check(db.Set([]byte("order:1"), []byte("tea")))
	_, err = db.Delete([]byte("user:7"))
	check(err)
	tell(watch)

	// To be kept with what was made of the changes: in a store in a directory it counts after a restart too.
	position := watch.Position()
	check(watch.Close())
	check(db.Set([]byte("user:8"), []byte("Bob")))
	later, err := db.Watch(kv.WatchOptions{Prefix: []byte("user:"), After: position})
	check(err)
	defer later.Close()
	fmt.Println("later:")
	tell(later)
	check(db.Clear(context.Background()))
	tell(later)
}
