// Orders, each edited by one worker at a time and seen by all others as it was committed last.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	kv "github.com/libkv/libkv/bindings/go"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	db, err := kv.OpenInMemory()
	if err != nil {
		return err
	}
	defer db.Close()

	// A key that was never given before; the entry is there with the commit.
	order, err := db.CreateGeneratedAndLock(kv.KeyOptions{Prefix: []byte("order:"), Base: 36, Width: 8}, []byte("apples"))
	if err != nil {
		return err
	}
	order.Metadata["by"] = []byte("Alice")
	key := order.Key()
	has, err := db.Contains(key)
	if err != nil {
		return err
	}
	fmt.Println("there before the commit:", yes(has))
	if _, err := order.Commit(); err != nil {
		return err
	}

	// Readers see what was committed last, and another worker is told that the order is taken.
	order, err = db.GetAndLock(ctx, key)
	if err != nil {
		return err
	}
	defer order.Close()
	order.Value = append(order.Value, ", pears"...)
	seen, err := db.Get(key)
	if err != nil {
		return err
	}
	fmt.Printf("seen meanwhile: %s\n", seen)
	_, err = db.TryGetAndLock(key)
	fmt.Println("taken:", yes(errors.Is(err, kv.ErrKeyLocked)))

	// A plain write is not held up. The commit says so, and the edit is made anew on what stands there now.
	if err := db.Set(key, []byte("plums")); err != nil {
		return err
	}
	_, err = order.CommitWith(kv.CommitOptions{KeepOnFailure: true})
	fmt.Println("conflict:", yes(errors.Is(err, kv.ErrConflict)))
	if err := order.Reload(); err != nil {
		return err
	}
	order.Value = append(order.Value, ", pears"...)
	order.Metadata["by"] = []byte("Bob")
	if _, err := order.Commit(); err != nil {
		return err
	}
	value, metadata, err := db.GetWithMetadata(key)
	if err != nil {
		return err
	}
	fmt.Printf("%s, by %s\n", value, metadata["by"])

	// One that sees to it that nothing stays.
	order, err = db.CreateAndLock(ctx, key, kv.CreateOptions{AllowExisting: true})
	if err != nil {
		return err
	}
	if _, err := order.CommitWith(kv.CommitOptions{Delete: true}); err != nil {
		return err
	}
	left, err := db.Len()
	if err != nil {
		return err
	}
	fmt.Println("left:", left)
	return nil
}

func yes(isSo bool) string {
	if isSo {
		return "yes"
	}
	return "no"
}
