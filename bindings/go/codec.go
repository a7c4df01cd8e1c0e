package kv

// #include "kvgo.h"
import "C"

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"
)

// Tag says which codec wrote a value. It stands in the value's record and stays with it; whoever reads with another codec, in whatever
// language, is told so (docs/typed.md).
type Tag uint8

const (
	// TagRaw: none; the value is bytes. Who expects it takes any value as it is.
	TagRaw Tag = C.KV_CODEC_RAW
	// TagJSON: a JSON text, UTF-8.
	TagJSON Tag = C.KV_CODEC_JSON
	// TagMessagePack: one MessagePack object.
	TagMessagePack Tag = C.KV_CODEC_MSGPACK
	// TagProtobuf: one Protocol Buffers message, without a length before it.
	TagProtobuf Tag = C.KV_CODEC_PROTOBUF
	// TagPostcard: the wire format of postcard 1.x, of Rust.
	TagPostcard Tag = C.KV_CODEC_POSTCARD
	// TagText: UTF-8 text.
	TagText Tag = C.KV_CODEC_TEXT
	// TagGob: a stream of encoding/gob with one value.
	TagGob Tag = C.KV_CODEC_GOB
	// TagPickle: a pickle of Python's.
	TagPickle Tag = C.KV_CODEC_PICKLE
	// TagUserMin and TagUserMax: the first and the last for codecs of your own.
	TagUserMin Tag = C.KV_CODEC_USER_MIN
	TagUserMax Tag = C.KV_CODEC_USER_MAX
)

var tagNames = [...]string{"raw", "json", "msgpack", "protobuf", "postcard", "text", "gob", "pickle"}

// String gives a tag's name, or its number.
func (t Tag) String() string {
	if int(t) < len(tagNames) {
		return tagNames[t]
	}
	return strconv.Itoa(int(t))
}

// Codec turns values into bytes and back. One that is [Tagged] too marks what it writes and reads nothing else; another's values are raw
// bytes to everybody else, and it reads whatever stands there.
type Codec[T any] interface {
	// Append appends the bytes of a value to dst.
	Append(dst []byte, value T) ([]byte, error)
	// Decode gives the value of bytes, which it must not keep.
	Decode(bytes []byte) (T, error)
}

// Tagged is a [Codec] whose values are marked.
type Tagged interface {
	// Tag gives one of the Tag constants that the values are of, or one of your own from [TagUserMin] to [TagUserMax].
	Tag() Tag
}

// Marshaled stores values as two functions have them, such as Marshal and Unmarshal of a package for MessagePack or CBOR, marked with
// a tag: Marshaled[user](kv.TagMessagePack, msgpack.Marshal, msgpack.Unmarshal).
func Marshaled[T any](
	tag Tag, marshal func(value any) ([]byte, error), unmarshal func(bytes []byte, value any) error,
) Codec[T] {
	return marshaled[T]{tag, marshal, unmarshal}
}

type marshaled[T any] struct {
	tag       Tag
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

func (c marshaled[T]) Tag() Tag { return c.tag }

func (c marshaled[T]) Append(dst []byte, value T) ([]byte, error) {
	bytes, err := c.marshal(value)
	return append(dst, bytes...), err
}

func (c marshaled[T]) Decode(bytes []byte) (value T, err error) {
	err = c.unmarshal(bytes, &value)
	return value, err
}

// JSON stores values as encoding/json has them.
func JSON[T any]() Codec[T] { return Marshaled[T](TagJSON, json.Marshal, json.Unmarshal) }

// Gob stores values as encoding/gob has them, each with the description of its type.
func Gob[T any]() Codec[T] { return gobCodec[T]{} }

type gobCodec[T any] struct{}

func (gobCodec[T]) Tag() Tag { return TagGob }

func (gobCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	buffer := bytes.NewBuffer(dst)
	err := gob.NewEncoder(buffer).Encode(&value)
	return buffer.Bytes(), err
}

func (gobCodec[T]) Decode(data []byte) (value T, err error) {
	err = gob.NewDecoder(bytes.NewReader(data)).Decode(&value)
	return value, err
}

// Text stores strings, which are UTF-8.
func Text[T ~string]() Codec[T] { return textCodec[T]{} }

type textCodec[T ~string] struct{}

func (textCodec[T]) Tag() Tag { return TagText }

func (textCodec[T]) Append(dst []byte, value T) ([]byte, error) {
	if !utf8.ValidString(string(value)) {
		return dst, errNotText
	}
	return append(dst, value...), nil
}

func (textCodec[T]) Decode(data []byte) (T, error) {
	if !utf8.Valid(data) {
		return "", errNotText
	}
	return T(data), nil
}

var errNotText = errors.New("the text is not UTF-8")

// Raw stores bytes and strings as they are.
func Raw[T ~[]byte | ~string]() Codec[T] { return rawCodec[T]{} }

type rawCodec[T ~[]byte | ~string] struct{}

func (rawCodec[T]) Append(dst []byte, value T) ([]byte, error) { return append(dst, value...), nil }

func (rawCodec[T]) Decode(data []byte) (T, error) { return T(append([]byte{}, data...)), nil }
