// Users, as values of a type, which programs in other languages read.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	kv "github.com/libkv/libkv/bindings/go"
)

type user struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

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
	users := kv.NewStore(db, kv.JSON[user]())
	key := []byte("user:1")
	if err := users.Set(key, user{"Alice", 30}); err != nil {
		return err
	}

	// The value itself is edited, locked for whoever does.
	session, err := users.GetAndLock(ctx, key)
	if err != nil {
		return err
	}
	defer session.Close()
	session.Value.Age++
	if _, err := session.Commit(); err != nil {
		return err
	}
	alice, err := users.Get(key)
	if err != nil {
		return err
	}
	fmt.Println(alice.Name, "is", alice.Age)

	// What stands there is JSON, and is marked so. Whoever expects another codec is told.
	bytes, err := db.Get(key)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", bytes)
	codec, err := db.Codec(key)
	if err != nil {
		return err
	}
	fmt.Println("codec:", codec)
	_, err = kv.NewStore(db, kv.Text[string]()).Get(key)
	fmt.Println("as text:", outcome(err))

	// A plain write marks nothing, so that is no user.
	if err := db.Set([]byte("user:2"), []byte("{}")); err != nil {
		return err
	}
	_, err = users.Get([]byte("user:2"))
	fmt.Println("raw bytes as JSON:", outcome(err))
	return nil
}

func outcome(err error) string {
	switch {
	case errors.Is(err, kv.ErrWrongCodec):
		return "of another codec"
	case err != nil:
		return "failed"
	}
	return "read"
}
