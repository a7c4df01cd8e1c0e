module github.com/libkv/libkv/bindings/go

go 1.26

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/vmihailenco/msgpack/v5 v5.4.1
	google.golang.org/protobuf v1.36.12
)

require github.com/vmihailenco/tagparser/v2 v2.0.0 // indirect
