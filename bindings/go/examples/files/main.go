// A store that people read and edit as a JSON file, and entries that come in as a table and go out as lines.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	kv "github.com/libkv/libkv/bindings/go"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
	if len(os.Args) < 2 {
		log.Fatal("a path, please")
	}
	file := os.Args[1]
	check(os.WriteFile(file, []byte(`{"name": "Alice", "age": 30}`), 0o600))

	// The file is taken into the store, and written anew when that has changed: at the latest as it closes.
	people, err := kv.OpenInMemory(kv.WithOption("json_mirror", file))
	check(err)
	_, err = people.Increment([]byte("age"), 1)
	check(err)
	check(people.Set([]byte("city"), []byte("Bern")))
	check(people.Close())
	text, err := os.ReadFile(file)
	check(err)
	fmt.Print(string(text))

	db, err := kv.OpenInMemory()
	check(err)
	defer db.Close()
	table := "id,name,mail\n7,Alice,a@example.org\n8,Bob,b@example.org\n"
	columns := kv.TransferOptions{Format: kv.FormatCSV, KeyColumn: "id", ValueColumn: "name"}
	done, err := db.ImportWith(ctx, strings.NewReader(table), columns)
	check(err)
	fmt.Println(done.Entries, "entries")
	_, err = db.ExportTo(ctx, os.Stdout, kv.FormatNDJSON, kv.ScanOptions{Ordered: true})
	check(err)
}
