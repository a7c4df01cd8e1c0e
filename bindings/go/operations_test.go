package kv_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

// What each operation answers stands in the conformance script; here is what it cannot say.

func TestAFailureSaysWhatItIsAndWithWhichFacts(t *testing.T) {
	db := inMemory(t)
	_, err := db.Get(make([]byte, kv.KeyBytesMax+1))
	fails(t, err, kv.ErrKeyTooLong)
	var failed *kv.Error
	if !errors.As(err, &failed) || failed.Status != kv.ErrKeyTooLong {
		t.Fatalf("%#v", err)
	}
	same(t, failed.Error(), "kv: key of 65536 bytes: the limit is 65535")
	if errors.Is(err, kv.ErrClosed) {
		t.Fatal("an error is two statuses")
	}
	same(t, kv.ErrNotFound.Error(), "kv: the key has no value")
}

func TestAValueOfAnyLengthIsRead(t *testing.T) {
	db := inMemory(t)
	for _, n := range []int{0, 1, 511, 512, 513, 100_000} {
		value := bytes.Repeat([]byte{'v'}, n)
		ok(t, db.Set([]byte("k"), value))
		read := map[string]func() ([]byte, error){
			"Get":               func() ([]byte, error) { return db.Get([]byte("k")) },
			"GetOwned":          func() ([]byte, error) { return db.GetOwned([]byte("k")) },
			"GetAppend to none": func() ([]byte, error) { return db.GetAppend(nil, []byte("k")) },
			"GetAppend to some": func() ([]byte, error) { return db.GetAppend(make([]byte, 0, 700), []byte("k")) },
			"GetMany": func() ([]byte, error) {
				values, err := db.GetMany([][]byte{[]byte("none"), []byte("k")})
				return values[1], err
			},
			"Pinned": func() (value []byte, err error) {
				err = db.Pinned(func(pin *kv.Pin) error {
					in, err := pin.Get([]byte("k"))
					value = bytes.Clone(in)
					return err
				})
				return value, err
			},
			"Take": func() ([]byte, error) {
				defer func() { ok(t, db.Set([]byte("k"), value)) }()
				return db.Take([]byte("k"))
			},
		}
		for name, read := range read {
			got, err := read()
			if err != nil || !bytes.Equal(got, value) {
				t.Fatalf("%s of %d bytes: %d bytes, %v", name, n, len(got), err)
			}
		}
		got, err := db.Get([]byte("k"))
		if err != nil || got == nil {
			t.Fatalf("an empty value is %v, %v", got, err)
		}
	}
}

func TestGetAppendKeepsWhatIsThereAndAllocatesNothing(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), []byte("value")))
	got, err := db.GetAppend([]byte("the "), []byte("k"))
	ok(t, err)
	same(t, string(got), "the value")
	got, err = db.GetAppend([]byte("the "), []byte("none"))
	fails(t, err, kv.ErrNotFound)
	same(t, string(got), "the ")

	room := make([]byte, 0, 5)
	allocations := testing.AllocsPerRun(1000, func() {
		if _, err := db.GetAppend(room, []byte("k")); err != nil {
			t.Error(err)
		}
	})
	same(t, allocations, 0)
	allocations = testing.AllocsPerRun(1000, func() {
		if err := db.Set([]byte("k"), []byte("value")); err != nil {
			t.Error(err)
		}
	})
	same(t, allocations, 0)
}

func TestValuesOfGetManyDoNotRunIntoEachOther(t *testing.T) {
	db := inMemory(t)
	ok(t, db.SetMany([]kv.Pair{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("2")}}))
	values, err := db.GetMany([][]byte{[]byte("a"), []byte("none"), []byte("b")})
	ok(t, err)
	_ = append(values[0], "overwritten"...)
	same(t, string(values[2]), "2")
	if values[1] != nil {
		t.Fatal("a key without value has one")
	}
	none, err := db.GetMany(nil)
	ok(t, err)
	same(t, len(none), 0)
}

func TestLargeBatchesCrossWhole(t *testing.T) {
	db := inMemory(t)
	var pairs []kv.Pair
	var keys [][]byte
	var batch kv.Batch
	for at := range 10_000 {
		key := []byte(strings.Repeat("k", at%50) + string(rune('a'+at%26)) + time.Duration(at).String())
		keys = append(keys, key)
		pairs = append(pairs, kv.Pair{Key: key, Value: bytes.Repeat(key, at%5)})
		batch.Set(key, []byte("new"))
	}
	ok(t, db.SetMany(pairs))
	values, err := db.GetMany(keys)
	ok(t, err)
	for at, value := range values {
		if value == nil || !bytes.Equal(value, pairs[at].Value) {
			t.Fatalf("%q: %q", keys[at], value)
		}
	}
	same(t, batch.Len(), len(keys))
	ok(t, db.Apply(&batch))
	holdsValue(t, db, string(keys[7]), "new")
	removed, err := db.DeleteMany(keys)
	ok(t, err)
	same(t, removed, len(keys))
	batch.Reset()
	ok(t, db.Apply(&batch))
}

func TestAScanGivesEachEntryOnceAndEndsWhenItIsLeft(t *testing.T) {
	db := inMemory(t, kv.WithClock(clockAt(1_000_000)))
	for at := range 1000 {
		ok(t, db.Set([]byte{'k', byte(at >> 8), byte(at)}, []byte{byte(at)}))
	}
	_, err := db.SetWith([]byte("other"), nil, kv.SetOptions{Expiry: kv.ExpireAfter(time.Minute)})
	ok(t, err)
	var keys []string
	for entry, err := range db.Scan(kv.ScanOptions{Prefix: []byte("k"), Ordered: true}) {
		ok(t, err)
		keys = append(keys, string(entry.Key))
		same(t, entry.Value[0], entry.Key[2])
		if entry.Version == 0 || !entry.ExpiresAt.IsZero() {
			t.Fatalf("%+v", entry)
		}
	}
	same(t, len(keys), 1000)
	same(t, slices.IsSorted(keys), true)
	seen := 0
	for _, err := range db.Scan(kv.ScanOptions{}) {
		ok(t, err)
		if seen++; seen == 3 {
			break
		}
	}
	same(t, seen, 3)
	for entry, err := range db.Scan(kv.ScanOptions{Prefix: []byte("o"), Limit: 5}) {
		ok(t, err)
		same(t, entry.ExpiresAt, time.UnixMilli(1_060_000))
	}
	for _, err := range db.Scan(kv.ScanOptions{Prefix: make([]byte, kv.KeyBytesMax+1)}) {
		fails(t, err, kv.ErrKeyTooLong)
		seen++
	}
	same(t, seen, 4)
}

func TestAScanTellsThatTheStoreWasClosed(t *testing.T) {
	db := inMemory(t)
	for at := range 1000 {
		ok(t, db.Set([]byte{byte(at >> 8), byte(at)}, nil))
	}
	entries, last := 0, error(nil)
	for _, err := range db.Scan(kv.ScanOptions{}) {
		if last = err; err == nil {
			if entries++; entries == 1 {
				ok(t, db.Close())
			}
		}
	}
	fails(t, last, kv.ErrClosed)
}

func TestDurationsAreRoundedUpToMilliseconds(t *testing.T) {
	db := inMemory(t, kv.WithClock(clockAt(1_000_000)))
	ok(t, db.Set([]byte("k"), nil))
	for _, c := range []struct{ given, expected time.Duration }{
		{time.Nanosecond, time.Millisecond}, {time.Millisecond, time.Millisecond}, {1500 * time.Microsecond, 2 * time.Millisecond},
		{time.Hour, time.Hour},
	} {
		_, err := db.Expire([]byte("k"), c.given)
		ok(t, err)
		ttl, err := db.TTL([]byte("k"))
		ok(t, err)
		same(t, ttl, c.expected)
	}
	_, err := db.Persist([]byte("k"))
	ok(t, err)
	ttl, err := db.TTL([]byte("k"))
	ok(t, err)
	same(t, ttl, kv.TTLNever)
	_, err = db.Expire([]byte("k"), -time.Second)
	ok(t, err)
	_, err = db.TTL([]byte("k"))
	fails(t, err, kv.ErrNotFound)
	_, err = db.SetWith([]byte("k"), nil, kv.SetOptions{Expiry: kv.ExpireAt(time.UnixMilli(-1))})
	ok(t, err)
	has, err := db.Contains([]byte("k"))
	ok(t, err)
	same(t, has, false)
}

func TestStatsHaveTheFiguresInAllForms(t *testing.T) {
	db := inMemory(t)
	ok(t, db.Set([]byte("k"), nil))
	figure, err := db.Figure("entries")
	ok(t, err)
	stats, err := db.Stats()
	ok(t, err)
	same(t, figure, 1)
	same(t, stats["entries"], 1)
	text, err := db.StatsPrometheus()
	ok(t, err)
	same(t, strings.Contains(text, "\nkv_entries 1\n"), true)
	_, err = db.Figure("no such figure")
	fails(t, err, kv.ErrInvalidArgument)
	damage, err := db.Damage()
	ok(t, err)
	same(t, len(damage), 0)
}
