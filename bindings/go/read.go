package kv

// #include "kvgo.h"
// #cgo noescape kvgo_get
// #cgo nocallback kvgo_get
// #cgo noescape kvgo_try_get
// #cgo nocallback kvgo_try_get
// #cgo noescape kvgo_get_owned
// #cgo nocallback kvgo_get_owned
// #cgo noescape kvgo_contains
// #cgo nocallback kvgo_contains
// #cgo noescape kvgo_key_version
// #cgo nocallback kvgo_key_version
// #cgo noescape kvgo_key_codec
// #cgo nocallback kvgo_key_codec
// #cgo noescape kvgo_len
// #cgo nocallback kvgo_len
import "C"

import (
	"slices"
	"unsafe"
)

// Get gives a copy of the value of a key, or [ErrNotFound]. It takes no lock and never waits.
func (db *Db) Get(key []byte) ([]byte, error) { return db.GetAs(key, TagRaw) }

// GetAs is [Db.Get] of what a codec wrote: [ErrWrongCodec] when another did, or none. [TagRaw] takes any value.
func (db *Db) GetAs(key []byte, codec Tag) ([]byte, error) {
	// Most values fit: then one call finds out how long the value is, and only that is allocated.
	var short [512]byte
	call, native := db.enter()
	n := C.kvgo_try_get(native, data(key), size(key), C.uint32_t(codec), data(short[:]), C.size_t(len(short)))
	if n >= 0 {
		db.leave(call)
		return append(make([]byte, 0, n), short[:n]...), nil
	}
	value, err := getGrowing(native, n, []byte{}, key, codec)
	db.leave(call)
	if err != nil {
		return nil, err
	}
	return value, nil
}

// GetAppend appends the value of a key to dst and returns the longer slice; dst itself with [ErrNotFound]. It allocates only
// what dst lacks, takes no lock and never waits.
func (db *Db) GetAppend(dst, key []byte) ([]byte, error) { return db.GetAppendAs(dst, key, TagRaw) }

// GetAppendAs is [Db.GetAppend] of what a codec wrote, as [Db.GetAs].
func (db *Db) GetAppendAs(dst, key []byte, codec Tag) ([]byte, error) {
	call, native := db.enter()
	room := dst[len(dst):cap(dst)]
	n := C.kvgo_try_get(native, data(key), size(key), C.uint32_t(codec), data(room), size(room))
	if n >= 0 {
		db.leave(call)
		return dst[:len(dst)+int(n)], nil
	}
	dst, err := getGrowing(native, n, dst, key, codec)
	db.leave(call)
	return dst, err
}

// getGrowing goes on where kvgo_try_get gave a status.
func getGrowing(native C.uintptr_t, status C.int64_t, dst, key []byte, codec Tag) ([]byte, error) {
	if status == -C.KV_NOT_FOUND {
		return dst, ErrNotFound
	}
	for {
		room := dst[len(dst):cap(dst)]
		answer := C.kvgo_get(native, data(key), size(key), C.uint32_t(codec), data(room), size(room))
		switch answer.status {
		case C.KV_OK:
			return dst[:len(dst)+int(answer.len)], nil
		case C.KV_TOO_SMALL:
			// The value may grow between two tries.
			dst = slices.Grow(dst, int(answer.len))
		default:
			return dst, check(answer)
		}
	}
}

// GetOwned is [Db.Get] by way of a copy in memory of C: one look at the store however long the value is.
func (db *Db) GetOwned(key []byte) ([]byte, error) {
	call, native := db.enter()
	defer db.leave(call)
	return owned(C.kvgo_get_owned(native, data(key), size(key), C.KV_CODEC_RAW))
}

// GetMany gives copies of the values of many keys, in their order; nil for a key without a value. Each is as of a moment of
// its own. The values share one piece of memory.
func (db *Db) GetMany(keys [][]byte) ([][]byte, error) { return db.GetManyAs(keys, TagRaw) }

// GetManyAs is [Db.GetMany] of values that a codec wrote, as [Db.GetAs].
func (db *Db) GetManyAs(keys [][]byte, codec Tag) ([][]byte, error) {
	call, native := db.enter()
	defer db.leave(call)
	flat := flatten(keys)
	defer flat.free()
	answer := C.kvgo_get_many(native, data(flat.bytes), flat.lens(), flat.count(), C.uint32_t(codec))
	if answer.status != C.KV_OK {
		return nil, check(answer)
	}
	defer C.kv_free(answer.data)
	found := view[C.kv_slice](answer.data, flat.count())
	// All values are one piece of memory of C, and become one of Go.
	begin, end := ^uintptr(0), uintptr(0)
	for _, value := range found {
		if value.data != nil {
			begin = min(begin, uintptr(value.data))
			end = max(end, uintptr(value.data)+uintptr(value.len))
		}
	}
	values := make([][]byte, len(found))
	var all []byte
	for at, value := range found {
		if value.data == nil {
			continue
		}
		if all == nil {
			first := unsafe.Add(value.data, -int(uintptr(value.data)-begin))
			all = append([]byte{}, view[byte](first, C.size_t(end-begin))...)
		}
		from := uintptr(value.data) - begin
		to := from + uintptr(value.len)
		values[at] = all[from:to:to]
	}
	return values, nil
}

// Contains reports whether a key has a value.
func (db *Db) Contains(key []byte) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_contains(native, data(key), size(key)))
}

// Version gives the version of a key's value, for [Db.CompareAndSwap], or [ErrNotFound]. Every write of the store gives a
// higher one.
func (db *Db) Version(key []byte) (uint64, error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_key_version(native, data(key), size(key))
	return uint64(answer.number), check(answer)
}

// Codec tells which codec wrote a key's value ([TagRaw]: none did), or [ErrNotFound].
func (db *Db) Codec(key []byte) (Tag, error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_key_codec(native, data(key), size(key))
	return Tag(answer.number), check(answer)
}

// Len gives how many entries the store has. Those whose time is over count until the background has removed them, about a
// second.
func (db *Db) Len() (uint64, error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_len(native)
	return uint64(answer.number), check(answer)
}
