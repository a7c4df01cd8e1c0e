package kv

// #include "kvgo.h"
import "C"

import (
	"fmt"
	"runtime/cgo"
	"runtime/debug"
	"sync"
	"unsafe"
)

// Cause says why an entry went.
type Cause uint32

// Why an entry went.
const (
	// CauseDeleted: deleted, taken or cleared.
	CauseDeleted Cause = C.KV_CAUSE_DELETED
	// CauseExpired: its time was over.
	CauseExpired Cause = C.KV_CAUSE_EXPIRED
	// CauseEvicted: the store had to make room.
	CauseEvicted Cause = C.KV_CAUSE_EVICTED
	// CauseReplaced: another value was set; told of with the option listener_replaced.
	CauseReplaced Cause = C.KV_CAUSE_REPLACED
)

func (c Cause) String() string {
	switch c {
	case CauseDeleted:
		return "deleted"
	case CauseExpired:
		return "expired"
	case CauseEvicted:
		return "evicted"
	case CauseReplaced:
		return "replaced"
	}
	return fmt.Sprintf("cause %d", uint32(c))
}

// Event is an entry that went, with its last value.
type Event struct {
	Key, Value []byte
	Version    uint64
	Cause      Cause
	// Codec wrote the value.
	Codec Tag
}

// PanicError is what a loader, reader, writer, encoder or the progress of a preload or transfer panicked with.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", e.Value, e.Stack) }

// Unwrap gives the value that was panicked with, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guarded runs the code of a caller inside a call of the library, whose frames a panic must not unwind.
func guarded(callback func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{value, debug.Stack()}
		}
	}()
	return callback()
}

// handles are what the library knows a store's listener, logger, encoder and weigher by.
type handles struct {
	mu   sync.Mutex
	held []cgo.Handle
	// What has to end before they go.
	ends []func()
}

func (h *handles) add(callback any) C.uintptr_t {
	handle := cgo.NewHandle(callback)
	h.held = append(h.held, handle)
	return C.uintptr_t(handle)
}

// free is called once no thread of the store is left, and nobody is in a call, which an encoder may be called from.
func (h *handles) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, end := range h.ends {
		end()
	}
	h.ends = nil
	for _, handle := range h.held {
		handle.Delete()
	}
	h.held = nil
}

//export kvgoListener
func kvgoListener(handle C.uintptr_t, event *C.kv_event) {
	cgo.Handle(handle).Value().(func(Event))(Event{
		Key:     append([]byte{}, view[byte](event.key.data, event.key.len)...),
		Value:   append([]byte{}, view[byte](event.value.data, event.value.len)...),
		Version: uint64(event.version),
		Cause:   Cause(event.cause),
		Codec:   Tag(event.codec),
	})
}

//export kvgoLogger
func kvgoLogger(handle C.uintptr_t, line *C.char, length C.size_t) {
	cgo.Handle(handle).Value().(func(string))(C.GoStringN(line, C.int(length)))
}

//export kvgoLoader
func kvgoLoader(handle C.uintptr_t, sink *C.kv_sink) C.kv_status {
	return cgo.Handle(handle).Value().(*loading).run(sink)
}

//export kvgoRelease
func kvgoRelease(handle C.uintptr_t) { cgo.Handle(handle).Delete() }

//export kvgoEncode
func kvgoEncode(
	handle C.uintptr_t, key *C.uint8_t, keyLength C.size_t, value *C.uint8_t, length C.size_t, to *C.kv_sink,
) C.kv_status {
	encoder := cgo.Handle(handle).Value().(Encoder)
	return encoder.call(encoder.Encode, key, keyLength, value, length, to)
}

//export kvgoDecode
func kvgoDecode(
	handle C.uintptr_t, key *C.uint8_t, keyLength C.size_t, data *C.uint8_t, length C.size_t, to *C.kv_sink,
) C.kv_status {
	encoder := cgo.Handle(handle).Value().(Encoder)
	return encoder.call(encoder.Decode, key, keyLength, data, length, to)
}

//export kvgoWriter
func kvgoWriter(handle C.uintptr_t, bytes *C.uint8_t, length C.size_t) C.int32_t {
	return cgo.Handle(handle).Value().(*stream).write(bytes, length)
}

//export kvgoReader
func kvgoReader(handle C.uintptr_t, bytes *C.uint8_t, length C.size_t, read *C.size_t) C.int32_t {
	return cgo.Handle(handle).Value().(*stream).read(bytes, length, read)
}

//export kvgoProgress
func kvgoProgress(handle C.uintptr_t, done *C.kv_preloaded) C.int32_t {
	return cgo.Handle(handle).Value().(*preloading).tell(preloaded(*done))
}

//export kvgoTransferred
func kvgoTransferred(handle C.uintptr_t, done *C.kv_transferred, skipped *C.uint8_t, length C.size_t) C.int32_t {
	return cgo.Handle(handle).Value().(*stream).tell(done, view[byte](unsafe.Pointer(skipped), length))
}
