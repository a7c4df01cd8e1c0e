package kv_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
	"github.com/libkv/libkv/bindings/go/protobuf"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const degrees = kv.TagUserMin + 1

// views of one store, by the tags of their codecs.
func views(db *kv.Db) map[kv.Tag]func(key []byte) error {
	read := func(get func(key []byte) error) func(key []byte) error { return get }
	of := func(err error) error { return err }
	return map[kv.Tag]func(key []byte) error{
		kv.TagJSON: read(func(k []byte) error { _, err := kv.NewStore(db, kv.JSON[user]()).Get(k); return of(err) }),
		kv.TagGob:  read(func(k []byte) error { _, err := kv.NewStore(db, kv.Gob[user]()).Get(k); return of(err) }),
		kv.TagText: read(func(k []byte) error { _, err := kv.NewStore(db, kv.Text[string]()).Get(k); return of(err) }),
		kv.TagProtobuf: read(func(k []byte) error {
			_, err := kv.NewStore(db, protobuf.Codec[*wrapperspb.StringValue]()).Get(k)
			return of(err)
		}),
		degrees: read(func(k []byte) error {
			_, err := kv.NewStore(db, kv.Marshaled[float64](degrees, json.Marshal, json.Unmarshal)).Get(k)
			return of(err)
		}),
	}
}

func TestAValueIsReadByTheCodecThatWroteItAndByNoOther(t *testing.T) {
	db := inMemory(t)
	ok(t, kv.NewStore(db, kv.JSON[user]()).Set([]byte("json"), user{"Alice", 30}))
	ok(t, kv.NewStore(db, kv.Gob[user]()).Set([]byte("gob"), user{"Alice", 30}))
	ok(t, kv.NewStore(db, kv.Text[string]()).Set([]byte("text"), "Alice"))
	ok(t, kv.NewStore(db, protobuf.Codec[*wrapperspb.StringValue]()).Set([]byte("protobuf"), wrapperspb.String("Alice")))
	ok(t, kv.NewStore(db, kv.Marshaled[float64](degrees, json.Marshal, json.Unmarshal)).Set([]byte("own"), 21.5))
	ok(t, db.Set([]byte("raw"), []byte("{}")))
	tags := map[string]kv.Tag{
		"json": kv.TagJSON, "gob": kv.TagGob, "text": kv.TagText, "protobuf": kv.TagProtobuf, "own": degrees, "raw": kv.TagRaw,
	}
	for key, tag := range tags {
		found, err := db.Codec([]byte(key))
		ok(t, err)
		same(t, found, tag)
		for of, get := range views(db) {
			if of == tag {
				ok(t, get([]byte(key)))
			} else {
				fails(t, get([]byte(key)), kv.ErrWrongCodec)
			}
		}
		_, err = kv.NewStore(db, kv.Raw[[]byte]()).Get([]byte(key))
		ok(t, err)
	}
	_, err := db.Codec([]byte("none"))
	fails(t, err, kv.ErrNotFound)
	texts := kv.NewStore(db, kv.Text[string]())
	_, err = db.SetWith([]byte("forged"), []byte("\xff"), kv.SetOptions{Codec: kv.TagText})
	ok(t, err)
	_, unread := texts.Get([]byte("forged"))
	for _, err := range []error{texts.Set([]byte("k"), "\xff"), unread} {
		if err == nil || !strings.Contains(err.Error(), "not UTF-8") {
			t.Fatal(err)
		}
	}
}

func TestEveryTypedReadRefusesAnotherCodecAndChangesNothing(t *testing.T) {
	db := inMemory(t)
	k := []byte("k")
	ok(t, kv.NewStore(db, kv.Text[string]()).Set(k, "text"))
	s := kv.NewStore(db, kv.JSON[string]())
	load := func(context.Context, []byte) (string, error) { return "", errors.New("there is a value") }
	calls := map[string]func() error{
		"get":      func() error { _, err := s.Get(k); return err },
		"get many": func() error { _, err := s.GetMany([][]byte{k}); return err },
		"take":     func() error { _, err := s.Take(k); return err },
		"load":     func() error { _, err := s.GetOrLoad(ctx, k, kv.ExpireDefault, load); return err },
		"load with": func() error {
			_, err := s.GetOrLoadWith(ctx, k, kv.LoadOptions{TTL: time.Hour}, load)
			return err
		},
		"lock": func() error { _, err := s.GetAndLock(ctx, k); return err },
		"scan": func() error {
			for _, err := range s.Scan(kv.ScanOptions{}) {
				return err
			}
			return nil
		},
		"as":            func() error { _, err := db.GetAs(k, kv.TagJSON); return err },
		"append":        func() error { _, err := db.GetAppendAs(nil, k, kv.TagJSON); return err },
		"with metadata": func() error { _, _, err := db.GetWithMetadataAs(k, kv.TagJSON); return err },
		"increment":     func() error { _, err := db.IncrementAs(k, 1, kv.TagJSON); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, kv.ErrWrongCodec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	holdsValue(t, db, "k", "text")
	_, err := db.SetWith(k, nil, kv.SetOptions{Codec: 8})
	fails(t, err, kv.ErrInvalidArgument)
	ok(t, s.Set(k, "json"))
	holdsValue(t, db, "k", `"json"`)
}

func TestEveryTypedWriteMarksItsValue(t *testing.T) {
	db := inMemory(t)
	s := kv.NewStore(db, kv.JSON[int]())
	_, err := s.Add([]byte("add"), 1)
	ok(t, err)
	version, err := db.Version([]byte("add"))
	ok(t, err)
	_, err = s.CompareAndSwap([]byte("add"), version, 2)
	ok(t, err)
	ok(t, s.SetMany(func(yield func([]byte, int) bool) { yield([]byte("many"), 1) }))
	_, err = db.IncrementAs([]byte("n"), 3, kv.TagJSON)
	ok(t, err)
	one := func(context.Context, []byte) (int, error) { return 1, nil }
	_, err = s.GetOrLoad(ctx, []byte("load"), kv.ExpireDefault, one)
	ok(t, err)
	_, err = s.GetOrLoadWith(ctx, []byte("load with"), kv.LoadOptions{TTL: time.Hour, FreshFor: time.Minute}, one)
	ok(t, err)
	session, err := s.CreateAndLock(ctx, []byte("session"), 1, false)
	ok(t, err)
	session.Value++
	_, err = session.CommitWith(kv.CommitOptions{Keep: true})
	ok(t, err)
	session.Value++
	_, err = session.Commit()
	ok(t, err)
	value, err := s.Get([]byte("session"))
	ok(t, err)
	same(t, value, 3)
	_, err = session.Commit()
	fails(t, err, kv.ErrSessionEnded)
	count := 0
	for entry, err := range db.Scan(kv.ScanOptions{}) {
		ok(t, err)
		same(t, entry.Codec, kv.TagJSON)
		count++
	}
	same(t, count, 6)
	// A plain session edits bytes, and leaves them their codec.
	plain, err := db.GetAndLock(ctx, []byte("session"))
	ok(t, err)
	plain.Value = []byte("7")
	_, err = plain.Commit()
	ok(t, err)
	value, err = s.Get([]byte("session"))
	ok(t, err)
	same(t, value, 7)
}

func TestWhoeverIsToldOfAValueIsToldItsCodec(t *testing.T) {
	events := make(chan kv.Event, 1)
	db := inMemory(t, kv.WithListener(func(event kv.Event) { events <- event }))
	watch, err := db.Watch(kv.WatchOptions{})
	ok(t, err)
	defer func() { ok(t, watch.Close()) }()
	ok(t, kv.NewStore(db, kv.JSON[int]()).Set([]byte("k"), 1))
	change, isThere, err := watch.TryNext()
	ok(t, err)
	same(t, isThere, true)
	same(t, change.Codec, kv.TagJSON)
	_, err = db.Delete([]byte("k"))
	ok(t, err)
	same(t, (<-events).Codec, kv.TagJSON)
	change, _, err = watch.TryNext()
	ok(t, err)
	same(t, change.Codec, kv.TagRaw)
}

func TestAKeyIsLockedWithoutWaitingAndUnderAGeneratedName(t *testing.T) {
	db := inMemory(t)
	s := kv.NewStore(db, kv.JSON[user]())
	made, err := s.CreateGeneratedAndLock(kv.KeyOptions{Prefix: []byte("user:")}, user{"Alice", 30})
	ok(t, err)
	made.Value.Age++
	key := made.Key()
	_, err = s.TryGetAndLock(key)
	fails(t, err, kv.ErrKeyLocked)
	_, err = made.Commit()
	ok(t, err)
	session, err := s.TryGetAndLock(key)
	ok(t, err)
	same(t, session.Value, user{"Alice", 31})
	ok(t, session.Close())
	_, err = kv.NewStore(db, kv.Text[string]()).TryGetAndLock(key)
	fails(t, err, kv.ErrWrongCodec)
	if want := "was written as json, not as text"; !strings.Contains(err.Error(), want) {
		t.Fatalf("%v: no %q", err, want)
	}
	// Of its key nobody has the lock now.
	again, err := s.TryGetAndLock(key)
	ok(t, err)
	ok(t, again.Close())
	same(t, kv.Tag(200).String(), "200")
}

func TestWhoWaitsForALoadOfAnotherCodecIsToldSo(t *testing.T) {
	db := inMemory(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := kv.NewStore(db, kv.JSON[int]()).GetOrLoad(ctx, []byte("k"), kv.ExpireDefault,
			func(context.Context, []byte) (int, error) {
				close(begun)
				<-goOn
				return 1, nil
			})
		done <- err
	}()
	<-begun
	other := make(chan error)
	go func() {
		_, err := kv.NewStore(db, kv.Text[string]()).GetOrLoad(ctx, []byte("k"), kv.ExpireDefault,
			func(context.Context, []byte) (string, error) { return "text", nil })
		other <- err
	}()
	close(goOn)
	ok(t, <-done)
	fails(t, <-other, kv.ErrWrongCodec)
}
