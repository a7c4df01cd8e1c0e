package kv_test

import (
	"context"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

// A typed store reads what another process has written as its codec where the option says that it is; where that was forgotten it is told
// that nothing marks the value, and never reads nonsense.
func TestATypedStoreOverATierReadsWhatTheOptionSaysItIs(t *testing.T) {
	server := startRedis(t)
	users := func(options ...kv.Option) *kv.Store[user] {
		return kv.NewStore(inMemory(t, shared(server, options...)...), kv.JSON[user]())
	}
	here, there := users(kv.WithTierCodec(kv.TagJSON)), users(kv.WithTierCodec(kv.TagJSON))
	forgotten, other := users(), users(kv.WithTierCodec(kv.TagMessagePack))
	key, alice := []byte("k"), user{"Alice", 30}
	ok(t, here.Set(key, alice))
	ok(t, here.Db().Flush(ctx, patience))
	found, err := there.Get(key)
	ok(t, err)
	same(t, found, alice)
	codec, err := there.Db().Codec(key)
	ok(t, err)
	same(t, codec, kv.TagJSON)
	many, err := there.GetMany([][]byte{key, []byte("none")})
	ok(t, err)
	same(t, many[0], kv.Maybe[user]{Value: alice, Found: true})
	same(t, many[1].Found, false)
	loaded, err := there.GetOrLoad(ctx, key, kv.ExpireAfter(time.Minute), func(context.Context, []byte) (user, error) {
		return user{}, kv.ErrNotFound
	})
	ok(t, err)
	same(t, loaded, alice)
	for _, wrong := range []*kv.Store[user]{forgotten, other} {
		_, err = wrong.Get(key)
		fails(t, err, kv.ErrWrongCodec)
		_, err = wrong.Take(key)
		fails(t, err, kv.ErrWrongCodec)
		holdsValue(t, wrong.Db(), "k", `{"Name":"Alice","Age":30}`)
		// What it writes itself it reads, as long as that stands here.
		ok(t, wrong.Set([]byte("own"), alice))
		found, err = wrong.Get([]byte("own"))
		ok(t, err)
		same(t, found, alice)
		ok(t, wrong.Db().Flush(ctx, patience))
	}
	isSet, err := here.Db().AddShared(ctx, []byte("new"), []byte(`{"Name":"Bob","Age":1}`), kv.ExpireNever)
	ok(t, err)
	same(t, isSet, true)
	for _, store := range []*kv.Store[user]{here, there} {
		found, err = store.Get([]byte("new"))
		ok(t, err)
		same(t, found, user{"Bob", 1})
	}
}
