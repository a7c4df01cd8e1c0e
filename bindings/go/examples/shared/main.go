// Two processes that share their entries through Redis: go run ./examples/shared redis://127.0.0.1:6379
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("which Redis? redis://HOST[:PORT]")
	}
	url := os.Args[1]
	// Changes are sent behind; what others change is dropped here as soon as Redis tells of it.
	db, err := kv.OpenInMemory(kv.WithTierURL(url), kv.WithTierPrefix("example:"), kv.WithTierFresh(kv.FreshDrop),
		kv.WithTierTimeout(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if len(os.Args) == 2 {
		err = first(db, url)
	} else {
		err = second(db)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func first(db *kv.Db, url string) error {
	ctx := context.Background()
	if err := db.Set([]byte("greeting"), []byte("hello")); err != nil {
		return err
	}
	if err := db.Flush(ctx, 30*time.Second); err != nil {
		return err
	}
	fmt.Println("first: set the greeting")

	other := exec.Command(os.Args[0], url, "second")
	other.Stdout, other.Stderr = os.Stdout, os.Stderr
	if err := other.Run(); err != nil {
		return err
	}

	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := db.Get([]byte("greeting"))
		if errors.Is(err, kv.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the greeting is still here")
		}
	}
	fmt.Println("first: the greeting is gone")
	stats, err := db.TierStats()
	if err != nil {
		return err
	}
	fmt.Println("first: unsent keys:", stats.UnsentKeys)
	return nil
}

func second(db *kv.Db) error {
	greeting, err := db.Get([]byte("greeting"))
	if err != nil {
		return err
	}
	fmt.Printf("second: found %s\n", greeting)
	if _, err := db.Delete([]byte("greeting")); err != nil {
		return err
	}
	if err := db.Flush(context.Background(), 30*time.Second); err != nil {
		return err
	}
	fmt.Println("second: deleted it")
	return nil
}
