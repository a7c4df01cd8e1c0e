// Reads in place: no copy, however large the value is.
package main

import (
	"bytes"
	"fmt"
	"log"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	db, err := kv.OpenInMemory()
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	const valueBytes = 8 << 20
	if err := db.Set([]byte("image"), bytes.Repeat([]byte("i"), valueBytes)); err != nil {
		log.Fatal(err)
	}

	err = db.Pinned(func(pin *kv.Pin) error {
		image, err := pin.Get([]byte("image"))
		if err != nil {
			return err
		}
		// An overwrite does not disturb what is pinned.
		if err := db.Set([]byte("image"), []byte("new")); err != nil {
			return err
		}
		fmt.Printf("%d of %d bytes read in place\n", bytes.Count(image, []byte("i")), valueBytes)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}
