package kv

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
)

// Codec turns values into bytes and back.
type Codec[T any] interface {
	// Append appends the bytes of a value to dst.
	Append(dst []byte, value T) ([]byte, error)
	// Decode gives the value of bytes, which it must not keep.
	Decode(bytes []byte) (T, error)
}

// JSON stores values as encoding/json has them.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	text, err := json.Marshal(value)
	return append(dst, text...), err
}

func (jsonCodec[T]) Decode(bytes []byte) (value T, err error) {
	err = json.Unmarshal(bytes, &value)
	return value, err
}

// Gob stores values as encoding/gob has them, each with the description of its type.
func Gob[T any]() Codec[T] { return gobCodec[T]{} }

type gobCodec[T any] struct{}

func (gobCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	buffer := bytes.NewBuffer(dst)
	err := gob.NewEncoder(buffer).Encode(&value)
	return buffer.Bytes(), err
}

func (gobCodec[T]) Decode(data []byte) (value T, err error) {
	err = gob.NewDecoder(bytes.NewReader(data)).Decode(&value)
	return value, err
}

// Raw stores bytes and strings as they are.
func Raw[T ~[]byte | ~string]() Codec[T] { return rawCodec[T]{} }

type rawCodec[T ~[]byte | ~string] struct{}

func (rawCodec[T]) Append(dst []byte, value T) ([]byte, error) { return append(dst, value...), nil }

func (rawCodec[T]) Decode(data []byte) (T, error) { return T(append([]byte{}, data...)), nil }
