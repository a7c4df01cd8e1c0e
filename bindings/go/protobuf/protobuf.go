// Package protobuf stores protocol buffers in a kv.Store. It stands apart so that who does not use it does not link them.
package protobuf

import (
	kv "github.com/libkv/libkv/bindings/go"
	"google.golang.org/protobuf/proto"
)

// Codec stores messages in their wire format: kv.NewStore(db, protobuf.Codec[*pb.User]()).
func Codec[T proto.Message]() kv.Codec[T] { return codec[T]{} }

type codec[T proto.Message] struct{}

func (codec[T]) Tag() kv.Tag { return kv.TagProtobuf }

func (codec[T]) Append(dst []byte, message T) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(dst, message)
}

func (codec[T]) Decode(bytes []byte) (T, error) {
	var none T
	message := none.ProtoReflect().New().Interface().(T)
	if err := proto.Unmarshal(bytes, message); err != nil {
		return none, err
	}
	return message, nil
}
