package kv

// #include "kvgo.h"
// #cgo noescape kv_free
// #cgo nocallback kv_free
import "C"

import (
	"bytes"
	"strings"
	"time"
	"unsafe"
)

// KeyBytesMax is the length of the longest key.
const KeyBytesMax = C.KV_KEY_BYTES_MAX

// Version is the version of the library that runs.
func Version() string { return C.GoString(C.kv_version_text()) }

// VersionNumber is [Version] as major * 65536 + minor * 256 + patch.
func VersionNumber() uint32 { return uint32(C.kv_version()) }

func data(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

func size(b []byte) C.size_t { return C.size_t(len(b)) }

// view is memory of C as a slice, which is valid as long as that memory is.
func view[T any](at unsafe.Pointer, len C.size_t) []T {
	return unsafe.Slice((*T)(at), int(len))
}

// owned copies what a call gave away, and frees it.
func owned(a C.kvgo_answer) ([]byte, error) {
	if a.status != C.KV_OK {
		return nil, check(a)
	}
	value := bytes.Clone(view[byte](a.data, a.len))
	C.kv_free(a.data)
	return value, nil
}

// ownedText is owned, for a text that ends with NUL.
func ownedText(a C.kvgo_answer) (string, error) {
	if a.data == nil {
		return "", check(a)
	}
	text := C.GoString((*C.char)(a.data))
	C.kv_free(a.data)
	return text, check(a)
}

// cText is a text that ends with NUL, in memory of Go.
func cText(text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, newError(ErrInvalidArgument, "a path or name holds NUL")
	}
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(append([]byte(text), 0)))), nil
}

// milliseconds rounds up, so that what is asked for is never less; what is negative is over at once.
func milliseconds(d time.Duration) C.uint64_t {
	if d <= 0 {
		return 0
	}
	return C.uint64_t((d-1)/time.Millisecond) + 1
}

func duration(ms C.uint64_t) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Millisecond)
	if uint64(ms) > most {
		return 1<<63 - 1
	}
	return time.Duration(ms) * time.Millisecond
}

func unixMilliseconds(at time.Time) C.uint64_t {
	return C.uint64_t(max(at.UnixMilli(), 0))
}

func unixTime(ms C.uint64_t) time.Time {
	return time.UnixMilli(int64(min(ms, 1<<63-1)))
}
