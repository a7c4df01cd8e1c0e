package kv

// #include "kvgo.h"
// #cgo noescape kvgo_expire
// #cgo nocallback kvgo_expire
// #cgo noescape kvgo_expire_at
// #cgo nocallback kvgo_expire_at
// #cgo noescape kvgo_touch
// #cgo nocallback kvgo_touch
// #cgo noescape kvgo_persist
// #cgo nocallback kvgo_persist
// #cgo noescape kvgo_ttl
// #cgo nocallback kvgo_ttl
import "C"

import (
	"math"
	"time"
)

// Expiry says when what is written expires. The store counts in milliseconds: durations are rounded up to them.
type Expiry struct {
	kind C.uint32_t
	ms   C.uint64_t
}

var (
	// ExpireDefault: the store's default time to live, if it has one.
	ExpireDefault = Expiry{kind: C.KV_EXPIRE_DEFAULT}
	// ExpireNever: never.
	ExpireNever = Expiry{kind: C.KV_EXPIRE_NEVER}
	// ExpireKeep: that of the value which is replaced.
	ExpireKeep = Expiry{kind: C.KV_EXPIRE_KEEP}
)

// ExpireAfter says: some time from now.
func ExpireAfter(ttl time.Duration) Expiry { return Expiry{C.KV_EXPIRE_AFTER, milliseconds(ttl)} }

// ExpireAt says: at a time.
func ExpireAt(at time.Time) Expiry { return Expiry{C.KV_EXPIRE_AT, unixMilliseconds(at)} }

// TTLNever is what [Db.TTL] gives for an entry that does not expire.
const TTLNever time.Duration = math.MaxInt64

// Expire lets a key expire some time from now, and reports whether it has a value.
func (db *Db) Expire(key []byte, ttl time.Duration) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_expire(native, data(key), size(key), milliseconds(ttl)))
}

// ExpireAt lets a key expire at a time, and reports whether it has a value.
func (db *Db) ExpireAt(key []byte, at time.Time) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_expire_at(native, data(key), size(key), unixMilliseconds(at)))
}

// Touch starts the store's default time to live anew for a key, and reports whether it has a value. In a store without one the
// entry stays as it is.
func (db *Db) Touch(key []byte) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_touch(native, data(key), size(key)))
}

// Persist lets a key never expire, and reports whether it has a value.
func (db *Db) Persist(key []byte) (bool, error) {
	call, native := db.enter()
	defer db.leave(call)
	return holds(C.kvgo_persist(native, data(key), size(key)))
}

// TTL gives how long a key still has, [TTLNever] when it does not expire, or [ErrNotFound].
func (db *Db) TTL(key []byte) (time.Duration, error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_ttl(native, data(key), size(key))
	if answer.status == C.KV_OK && answer.number == C.KV_TTL_NEVER {
		return TTLNever, nil
	}
	return duration(answer.number), check(answer)
}
