package kv

// #include "kvgo.h"
// #cgo noescape kvgo_pin_open
// #cgo nocallback kvgo_pin_open
// #cgo noescape kvgo_pin_get
// #cgo nocallback kvgo_pin_get
// #cgo noescape kvgo_pin_release
// #cgo nocallback kvgo_pin_release
import "C"

import "runtime"

// Pin lets values be read in place. It is good for as long as the function runs that [Db.Pinned] gave it to, and for its
// goroutine alone.
type Pin struct {
	native *C.kv_pin
}

// Pinned runs a function under a pin, bound to its thread. While it runs, memory of what is removed is not given back: it should
// take moments. [Db.Clear], [Db.Compact] and [Db.Sweep] give [ErrPinned] inside, and wait in other goroutines until it is over.
func (db *Db) Pinned(read func(pin *Pin) error) error {
	call, native := db.enter()
	defer db.leave(call)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	answer := C.kvgo_pin_open(native)
	if answer.status != C.KV_OK {
		return check(answer)
	}
	pin := &Pin{(*C.kv_pin)(answer.data)}
	defer func() {
		C.kvgo_pin_release(pin.native)
		pin.native = nil
	}()
	return read(pin)
}

// Get gives the value of a key in place, or [ErrNotFound]: no copy, unless it is stored compressed. The bytes belong to the
// store: they must not be changed, and are not there any more once the function given to [Db.Pinned] has returned.
func (p *Pin) Get(key []byte) ([]byte, error) {
	answer := C.kvgo_pin_get(p.native, data(key), size(key))
	if answer.status != C.KV_OK {
		return nil, check(answer)
	}
	value := view[byte](answer.data, answer.len)
	return value[:len(value):len(value)], nil
}
