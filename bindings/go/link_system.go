//go:build libkv_system

package kv

// #cgo CFLAGS: -DLIBKV_SYSTEM
// #cgo pkg-config: libkv
import "C"
