package kv

// #include "kvgo.h"
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// WithWeigher lets a function say what an entry weighs, of its key and its value as it was given, in whatever unit [WithMaxBytes] then
// limits: rows, a cost, bytes in the form that the application holds. It is asked once for each value that is written, and by [Open] once
// for each entry, which reads all values; what it said counts until the entry goes. If it panics the entry weighs the bytes of both.
//
// A thread of its own calls it, one entry at a time, while who writes waits: so each write of such a store costs microseconds
// more. It must be quick, must not keep what it is given, wait for a goroutine that calls the store, or end its goroutine
// in another way (runtime.Goexit); calls into any store give [ErrInCallback]. Without [WithMaxBytes] the open gives [ErrInvalidOption].
func WithWeigher(weigh func(key, value []byte) uint32) Option {
	return func(o *options) error {
		if weigh == nil {
			return newError(ErrInvalidArgument, "the weigher is nil")
		}
		weigher := C.kvgo_weigher_new(o.handles.add(weigh))
		if weigher == nil {
			return newError(ErrNoMemory, "no thread for the weigher")
		}
		o.handles.ends = append(o.handles.ends, func() { C.kvgo_weigher_free(weigher) })
		return checkStatus(C.kvgo_set_weigher(o.native, weigher))
	}
}

//export kvgoWeigh
func kvgoWeigh(
	handle C.uintptr_t, key *C.uint8_t, keyLength C.size_t, value *C.uint8_t, length C.size_t, weight *C.uint32_t,
) C.int32_t {
	weigh := cgo.Handle(handle).Value().(func(key, value []byte) uint32)
	err := guarded(func() error {
		*weight = C.uint32_t(weigh(view[byte](unsafe.Pointer(key), keyLength), view[byte](unsafe.Pointer(value), length)))
		return nil
	})
	if err != nil {
		return C.KV_INVALID_ARGUMENT
	}
	return C.KV_OK
}
