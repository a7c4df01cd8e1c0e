package kv

// #include "kvgo.h"
// #cgo noescape kvgo_get_many
// #cgo nocallback kvgo_get_many
// #cgo noescape kvgo_set_many
// #cgo nocallback kvgo_set_many
// #cgo noescape kvgo_delete_many
// #cgo nocallback kvgo_delete_many
// #cgo noescape kvgo_apply
// #cgo nocallback kvgo_apply
import "C"

import (
	"sync"
	"unsafe"
)

// Pair is a key and its value.
type Pair struct {
	Key, Value []byte
}

// flat is many slices in one piece of memory without pointers, which crosses to C as it is. A copy of the bytes is cheaper than
// to pin each slice.
type flat struct {
	bytes   []byte
	lengths []C.size_t
}

var flats = sync.Pool{New: func() any { return new(flat) }}

// flatKeepMax is how many bytes a flat may have that is used again.
const flatKeepMax = 1 << 20

func flatten(slices [][]byte) *flat {
	f := flats.Get().(*flat)
	total := 0
	for _, slice := range slices {
		total += len(slice)
	}
	f.bytes, f.lengths = resized(f.bytes, total), resized(f.lengths, len(slices))
	bytes, lengths := f.bytes, f.lengths
	for at, slice := range slices {
		lengths[at] = size(slice)
		bytes = bytes[copy(bytes, slice):]
	}
	return f
}

// resized gives memory for n elements, that of s if it is enough.
func resized[T any](s []T, n int) []T {
	if n > cap(s) {
		return make([]T, n)
	}
	return s[:n]
}

func (f *flat) add(slice []byte) {
	f.bytes = append(f.bytes, slice...)
	f.lengths = append(f.lengths, size(slice))
}

func (f *flat) lens() *C.size_t { return unsafe.SliceData(f.lengths) }

func (f *flat) count() C.size_t { return C.size_t(len(f.lengths)) }

func (f *flat) free() {
	if cap(f.bytes) > flatKeepMax || cap(f.lengths) > flatKeepMax/8 {
		return
	}
	f.bytes, f.lengths = f.bytes[:0], f.lengths[:0]
	flats.Put(f)
}

// SetMany sets many keys as one batch: after a crash all of it is there or nothing, against sets and deletes. Not isolated:
// readers may see part of it while it runs. A key that comes twice has the last value.
func (db *Db) SetMany(pairs []Pair) error {
	call, native := db.enter()
	defer db.leave(call)
	flat := flatten(nil)
	defer flat.free()
	for _, pair := range pairs {
		flat.add(pair.Key)
		flat.add(pair.Value)
	}
	return check(C.kvgo_set_many(native, data(flat.bytes), flat.lens(), flat.count()))
}

// DeleteMany removes many keys, each on its own, with one wait for durability, and gives how many had a value. When it fails,
// the keys before the one that failed are removed. It works on a full disk.
func (db *Db) DeleteMany(keys [][]byte) (removed int, err error) {
	call, native := db.enter()
	defer db.leave(call)
	flat := flatten(keys)
	defer flat.free()
	answer := C.kvgo_delete_many(native, data(flat.bytes), flat.lens(), flat.count())
	return int(answer.len), check(answer)
}

// Batch collects sets and deletes for [Db.Apply]. The zero value is empty. It serves one goroutine at a time.
type Batch struct {
	bytes   []byte
	changes []C.kvgo_change
}

// Set adds the set of a key, with the store's default expiry. Key and value are copied.
func (b *Batch) Set(key, value []byte) { b.SetExpiring(key, value, ExpireDefault) }

// SetExpiring adds the set of a key with an expiry of its own; [ExpireKeep] counts as [ExpireDefault].
func (b *Batch) SetExpiring(key, value []byte, expiry Expiry) {
	b.SetAs(key, value, expiry, TagRaw)
}

// SetAs is [Batch.SetExpiring] of a value that a codec wrote.
func (b *Batch) SetAs(key, value []byte, expiry Expiry, codec Tag) {
	b.add(key, value, C.kvgo_change{
		kind: C.KV_CHANGE_SET, expiry: expiry.kind, expiry_ms: expiry.ms, codec: C.uint32_t(codec),
	})
}

// Delete adds the delete of a key.
func (b *Batch) Delete(key []byte) { b.add(key, nil, C.kvgo_change{kind: C.KV_CHANGE_DELETE}) }

// Len gives how many changes there are.
func (b *Batch) Len() int { return len(b.changes) }

// Reset makes the batch empty, and keeps its memory.
func (b *Batch) Reset() { b.bytes, b.changes = b.bytes[:0], b.changes[:0] }

func (b *Batch) add(key, value []byte, change C.kvgo_change) {
	change.key_len, change.value_len = size(key), size(value)
	b.bytes = append(append(b.bytes, key...), value...)
	b.changes = append(b.changes, change)
}

// Apply makes the changes of a batch in their order, as [Db.SetMany] does. The batch stays as it is.
func (db *Db) Apply(batch *Batch) error {
	call, native := db.enter()
	defer db.leave(call)
	changes := unsafe.SliceData(batch.changes)
	return check(C.kvgo_apply(native, data(batch.bytes), changes, C.size_t(len(batch.changes))))
}
