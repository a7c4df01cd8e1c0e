package kv_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"testing"

	kv "github.com/libkv/libkv/bindings/go"
	"github.com/libkv/libkv/bindings/go/protobuf"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type user struct {
	Name string
	Age  int
}

// throughStore takes two values through every method of a typed store.
func throughStore[T any](t *testing.T, codec kv.Codec[T], one, two T, equal func(a, b T) bool) {
	t.Helper()
	s := kv.NewStore(inMemory(t), codec)
	is := func(got T, err error, expected T) {
		t.Helper()
		ok(t, err)
		if !equal(got, expected) {
			t.Fatalf("got %v, expected %v", got, expected)
		}
	}
	k := []byte("k")
	_, err := s.Get(k)
	fails(t, err, kv.ErrNotFound)
	ok(t, s.Set(k, one))
	value, err := s.Get(k)
	is(value, err, one)
	done, err := s.Add(k, two)
	ok(t, err)
	same(t, done, false)
	done, err = s.Replace(k, two)
	ok(t, err)
	same(t, done, true)
	version, err := s.Db().Version(k)
	ok(t, err)
	version, err = s.CompareAndSwap(k, version, one)
	ok(t, err)
	_, err = s.SetWith(k, two, kv.SetOptions{Condition: kv.IfVersion(version + 1)})
	fails(t, err, kv.ErrNotMet)
	value, err = s.Take(k)
	is(value, err, one)
	value, err = s.GetOrLoad(ctx, k, kv.ExpireDefault, func(context.Context, []byte) (T, error) { return two, nil })
	is(value, err, two)
	keys := [][]byte{[]byte("a"), []byte("none"), k}
	ok(t, s.SetMany(func(yield func([]byte, T) bool) { _ = yield(keys[0], one) && yield([]byte("b"), two) }))
	values, err := s.GetMany(keys)
	ok(t, err)
	same(t, values[0].Found && !values[1].Found && values[2].Found, true)
	is(values[0].Value, nil, one)
	found := map[string]T{}
	for entry, err := range s.Scan(kv.ScanOptions{}) {
		ok(t, err)
		found[string(entry.Key)] = entry.Value
	}
	if !maps.EqualFunc(found, map[string]T{"a": one, "b": two, "k": two}, equal) {
		t.Fatalf("%v", found)
	}
	done, err = s.Delete(k)
	ok(t, err)
	same(t, done, true)
}

func TestTypedStoresKeepValuesInEveryCodec(t *testing.T) {
	plain := func(a, b user) bool { return a == b }
	throughStore(t, kv.JSON[user](), user{"Alice", 30}, user{}, plain)
	throughStore(t, kv.Gob[user](), user{"Alice", 30}, user{"Bob", 1}, plain)
	throughStore(t, kv.Raw[string](), "one", "", func(a, b string) bool { return a == b })
	throughStore(t, kv.Raw[json.RawMessage](), json.RawMessage("1"), json.RawMessage("2"),
		func(a, b json.RawMessage) bool { return string(a) == string(b) })
	one, err := structpb.NewStruct(map[string]any{"name": "Alice", "age": 30})
	ok(t, err)
	throughStore(t, protobuf.Codec[*structpb.Struct](), one, &structpb.Struct{},
		func(a, b *structpb.Struct) bool { return proto.Equal(a, b) })
}

func TestWhatACodecCannotTakeIsAnErrorWithTheKey(t *testing.T) {
	db := inMemory(t)
	set := func(key string, codec kv.Tag) []byte {
		_, err := db.SetWith([]byte(key), []byte("\xff no value"), kv.SetOptions{Codec: codec})
		ok(t, err)
		return []byte(key)
	}
	set("k", kv.TagJSON)
	for _, err := range []error{
		second(kv.NewStore(db, kv.JSON[user]()).Get([]byte("k"))),
		second(kv.NewStore(db, kv.Gob[user]()).Get(set("gob", kv.TagGob))),
		second(kv.NewStore(db, protobuf.Codec[*wrapperspb.StringValue]()).Get(set("pb", kv.TagProtobuf))),
		second(kv.NewStore(db, kv.JSON[user]()).GetMany([][]byte{[]byte("k")})),
		kv.NewStore(db, kv.JSON[chan int]()).Set([]byte("k"), nil),
	} {
		if err == nil || errors.As(err, new(*kv.Error)) {
			t.Fatalf("%v", err)
		}
		if text := err.Error(); len(text) < 20 || text[:4] != "kv: " {
			t.Fatal(text)
		}
	}
	for entry, err := range kv.NewStore(db, kv.JSON[user]()).Scan(kv.ScanOptions{Prefix: []byte("k")}) {
		if err == nil || string(entry.Key) != "k" {
			t.Fatalf("%v, %v", entry, err)
		}
	}
	holdsValue(t, db, "k", "\xff no value")
}

func second[T any](_ T, err error) error { return err }
