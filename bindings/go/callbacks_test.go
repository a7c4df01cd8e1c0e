package kv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func TestAListenerHearsWhatWentAndMayCallTheStore(t *testing.T) {
	clock := clockAt(1_000_000)
	events := make(chan kv.Event, 10)
	var db *kv.Db
	opened := make(chan struct{})
	db = inMemory(t, kv.WithClock(clock), kv.WithBackground(false), kv.WithListener(func(event kv.Event) {
		<-opened
		if err := db.Close(); !errors.Is(err, kv.ErrInCallback) {
			t.Errorf("close in a listener: %v", err)
		}
		if _, err := db.Increment([]byte("events"), 1); err != nil {
			t.Error(err)
		}
		if err := db.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		events <- event
	}))
	close(opened)
	ok(t, db.Set([]byte("deleted"), []byte("1")))
	_, err := db.Delete([]byte("deleted"))
	ok(t, err)
	_, err = db.SetWith([]byte("expired"), nil, kv.SetOptions{Expiry: kv.ExpireAfter(time.Second)})
	ok(t, err)
	event := <-events
	same(t, string(event.Key)+"="+string(event.Value)+" "+event.Cause.String(), "deleted=1 deleted")
	ok(t, clock.Advance(time.Minute))
	ok(t, db.Sweep(ctx))
	event = <-events
	same(t, string(event.Key)+" "+event.Cause.String(), "expired expired")
	if event.Version == 0 || event.Value == nil {
		t.Fatalf("%+v", event)
	}
	holdsValue(t, db, "events", "2")
}

func TestALoggerMustNotCallAStore(t *testing.T) {
	dir := t.TempDir()
	db, err := kv.Open(dir)
	ok(t, err)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ok(t, db.Close())
	damage(t, dir)
	other := inMemory(t)
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := 0
	db, err = kv.Open(dir, kv.WithRecover(kv.RecoverSalvage), kv.WithLogger(func(string) {
		heard++
		_, err := other.Get([]byte("k"))
		fails(t, err, kv.ErrInCallback)
		fails(t, other.Sync(ending), kv.ErrInCallback)
		_, err = kv.OpenInMemory()
		fails(t, err, kv.ErrInCallback)
	}))
	ok(t, err)
	ok(t, db.Close())
	if heard == 0 {
		t.Fatal("the logger heard nothing")
	}
}

func TestOneLoaderRunsForAKeyHoweverManyAsk(t *testing.T) {
	db := inMemory(t)
	var loads atomic.Int64
	release := make(chan struct{})
	load := func(context.Context, []byte) ([]byte, error) {
		loads.Add(1)
		<-release
		return []byte("loaded"), nil
	}
	var asked, answered sync.WaitGroup
	for range 200 {
		asked.Add(1)
		answered.Go(func() {
			asked.Done()
			value, err := db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, load)
			if err != nil || string(value) != "loaded" {
				t.Errorf("%q, %v", value, err)
			}
		})
	}
	asked.Wait()
	close(release)
	answered.Wait()
	same(t, loads.Load(), 1)
	holdsValue(t, db, "k", "loaded")
	misses, err := db.Figure("misses")
	ok(t, err)
	if misses > 10 {
		t.Fatalf("one load counts as %d misses", misses)
	}
}

func TestALoaderThatFailsFailsAllAndIsNotRemembered(t *testing.T) {
	db := inMemory(t)
	own := errors.New("no such user")
	_, err := db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, func(context.Context, []byte) ([]byte, error) { return nil, own })
	fails(t, err, kv.ErrLoaderFailed)
	fails(t, err, own)
	_, err = db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, func(context.Context, []byte) ([]byte, error) { panic(own) })
	fails(t, err, kv.ErrLoaderFailed)
	fails(t, err, own)
	var panicked *kv.PanicError
	if !errors.As(err, &panicked) || len(panicked.Stack) == 0 {
		t.Fatalf("%v", err)
	}
	_, err = db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, func(context.Context, []byte) ([]byte, error) {
		return nil, kv.ErrNotFound
	})
	fails(t, err, kv.ErrNotFound)
	_, err = db.GetOrLoad(ctx, []byte("k"), kv.ExpireDefault, nil)
	fails(t, err, kv.ErrInvalidArgument)
	value, err := db.GetOrLoad(ctx, []byte("k"), kv.ExpireAfter(time.Hour), func(context.Context, []byte) ([]byte, error) {
		return []byte{}, nil
	})
	ok(t, err)
	if value == nil {
		t.Fatal("an empty value is none")
	}
	ttl, err := db.TTL([]byte("k"))
	ok(t, err)
	same(t, ttl > 0 && ttl <= time.Hour, true)
}

func TestALoaderThatAsksForItsOwnKeyFails(t *testing.T) {
	db := inMemory(t)
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	// Through another key and its loader, too.
	own := func(context.Context, []byte) ([]byte, error) { return nil, errors.New("not reached") }
	other := func(inner context.Context, key []byte) ([]byte, error) {
		return db.GetOrLoad(inner, []byte("a"), kv.ExpireDefault, own)
	}
	_, err := db.GetOrLoad(ending, []byte("a"), kv.ExpireDefault, func(inner context.Context, key []byte) ([]byte, error) {
		if err := db.Close(); !errors.Is(err, kv.ErrInCallback) {
			t.Errorf("close in a loader: %v", err)
		}
		return db.GetOrLoad(inner, []byte("b"), kv.ExpireDefault, other)
	})
	fails(t, err, kv.ErrLoaderFailed)
}

func TestEntriesGoThroughWritersAndReaders(t *testing.T) {
	from, to := inMemory(t), inMemory(t)
	for at := range 2000 {
		ok(t, from.Set([]byte{byte(at), byte(at >> 8), 0xff}, bytes.Repeat([]byte{byte(at)}, 50)))
	}
	var text bytes.Buffer
	done, err := from.ExportTo(ctx, &text, kv.FormatNDJSON, kv.ScanOptions{})
	ok(t, err)
	same(t, done.Entries, 2000)
	done, err = to.ImportFrom(ctx, iotest.DataErrReader(iotest.HalfReader(&text)), kv.FormatNDJSON)
	ok(t, err)
	same(t, [3]uint64{done.Entries, done.Bytes, done.Expired}, [3]uint64{2000, 2000 * 53, 0})

	path := t.TempDir() + "/entries"
	_, err = from.Export(ctx, path, kv.FormatNDJSON, kv.ScanOptions{Prefix: []byte{7}})
	ok(t, err)
	done, err = inMemory(t).Import(ctx, path, kv.FormatNDJSON)
	ok(t, err)
	same(t, done.Entries, 8)
	_, err = from.Export(ctx, path+"/below", kv.FormatNDJSON, kv.ScanOptions{})
	fails(t, err, kv.ErrIO)
	_, err = to.ImportFrom(ctx, strings.NewReader("no json\n"), kv.FormatNDJSON)
	fails(t, err, kv.ErrBadImport)
}

func TestTablesAndRedisCommandsComeInAndGoOutWithProgress(t *testing.T) {
	db := inMemory(t)
	table := "id,name\r\n7,Alice\r\n8,\"Bob, B\"\r\n"
	var told []kv.Transferred
	done, err := db.ImportWith(ctx, strings.NewReader(table), kv.TransferOptions{
		Format: kv.FormatCSV, KeyColumn: "id", ValueColumn: "name", TotalBytes: uint64(len(table)),
		Progress: func(so kv.Transferred) bool { told = append(told, so); return true },
	})
	ok(t, err)
	same(t, told[len(told)-1].Entries, 2)
	same(t, [3]uint64{done.Entries, done.TextBytes, done.TotalBytes}, [3]uint64{2, uint64(len(table)), uint64(len(table))})
	var text bytes.Buffer
	_, err = db.ExportTo(ctx, &text, kv.FormatCSV, kv.ScanOptions{Ordered: true})
	ok(t, err)
	same(t, text.String(), "key,value,expires_at_ms,base64\r\n7,Alice,,\r\n8,\"Bob, B\",,\r\n")

	commands := "SET a 1\nHSET h f v\nINCR a\nDEL 7\nSELECT 2\nSET a 9\n"
	_, err = db.ImportFrom(ctx, strings.NewReader(commands), kv.FormatRESP)
	fails(t, err, kv.ErrBadImport)
	skipping := kv.TransferOptions{Format: kv.FormatRESP, SkipUnknown: true}
	done, err = db.ImportWith(ctx, strings.NewReader(commands), skipping)
	ok(t, err)
	same(t, done.Deleted, 1)
	same(t, fmt.Sprint(done.Skipped), "map[HSET:1 database 2:1]")
	value, err := db.Get([]byte("a"))
	ok(t, err)
	same(t, string(value), "2")

	skipping.Progress = func(kv.Transferred) bool { return false }
	_, err = db.ImportWith(ctx, strings.NewReader(commands), skipping)
	fails(t, err, kv.ErrCancelled)
	ended, cancel := context.WithCancel(ctx)
	skipping.Progress = func(kv.Transferred) bool { cancel(); return true }
	_, err = db.ExportWith(ended, &text, skipping, kv.ScanOptions{})
	fails(t, err, context.Canceled)
}

func TestAStoreIsLoadedFromItsMirrorAndWrittenThere(t *testing.T) {
	path := t.TempDir() + "/people.json"
	ok(t, os.WriteFile(path, []byte(`{"name": "Alice", "age": 30}`), 0o600))
	db, err := kv.OpenInMemory(kv.WithOption("json_mirror", path))
	ok(t, err)
	_, err = db.Increment([]byte("age"), 1)
	ok(t, err)
	ok(t, db.Close())
	text, err := os.ReadFile(path)
	ok(t, err)
	same(t, string(text), "{\n  \"age\": 31,\n  \"name\": \"Alice\"\n}\n")
}

type writes func([]byte) (int, error)

func (w writes) Write(bytes []byte) (int, error) { return w(bytes) }

type reads func([]byte) (int, error)

func (r reads) Read(bytes []byte) (int, error) { return r(bytes) }

func TestAReaderOrWriterThatFailsIsTold(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("v")))
	own := errors.New("the pipe is broken")
	ending, cancel := context.WithCancel(ctx)
	export := func(ctx context.Context, w writes) error {
		_, err := db.ExportTo(ctx, w, kv.FormatNDJSON, kv.ScanOptions{})
		return err
	}
	load := func(ctx context.Context, r reads) error {
		_, err := db.ImportFrom(ctx, r, kv.FormatNDJSON)
		return err
	}
	for _, err := range []error{
		export(ctx, func([]byte) (int, error) { return 0, own }),
		export(ctx, func([]byte) (int, error) { panic(own) }),
		load(ctx, func([]byte) (int, error) { return 0, own }),
		load(ctx, func([]byte) (int, error) { panic(own) }),
		load(ctx, func(to []byte) (int, error) { return copy(to, "\n"), own }),
	} {
		fails(t, err, kv.ErrIO)
		fails(t, err, own)
	}
	fails(t, export(ctx, func([]byte) (int, error) { return 0, nil }), io.ErrShortWrite)
	fails(t, load(ctx, func([]byte) (int, error) { return 0, nil }), io.ErrNoProgress)
	fails(t, load(ctx, func(to []byte) (int, error) { return len(to) + 1, nil }), kv.ErrIO)
	cancel()
	same(t, export(ending, func(bytes []byte) (int, error) { return len(bytes), nil }), context.Canceled)
	same(t, load(ending, func([]byte) (int, error) { return 0, io.EOF }), context.Canceled)
	holdsValue(t, db, "k", "v")
}
