//go:build !libkv_system

package kv

// `make lib-go` in libkv's tree puts the library into internal/lib and its header beside this file, where the go command sees
// that it changed.

// #cgo LDFLAGS: ${SRCDIR}/internal/lib/libkv.a -lpthread -ldl -lm
import "C"
