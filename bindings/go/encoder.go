package kv

// #include "kvgo.h"
import "C"

import "unsafe"

// Numbers says how whole numbers among a store's values are written.
type Numbers uint32

const (
	// NumbersDecimal: as decimal digits. The default.
	NumbersDecimal Numbers = C.KV_NUMBERS_DECIMAL
	// NumbersMsgpack: as MessagePack has them.
	NumbersMsgpack Numbers = C.KV_NUMBERS_MSGPACK
)

// Encoder stands between the value of a key here and the string in Redis. Its functions are called by threads of the store that
// send and ask, several at a time perhaps, and by [Db.Preload]; while one runs nothing else is sent. They must not keep what they are
// given, and calls into any store give [ErrInCallback]. An error, or a panic, concerns that value alone. They must not end their
// goroutine in another way (runtime.Goexit).
type Encoder struct {
	// Encode gives the string for a value. A value that it fails for stands here alone: the logger is told, and its key is removed
	// in Redis.
	Encode func(key, value []byte) ([]byte, error)
	// Decode gives the value for a string, which means the same as what Encode was given. Where it fails the reader gets [ErrTier]
	// with the reason.
	Decode func(key, data []byte) ([]byte, error)
	// Numbers is for [Db.Increment] and [Db.IncrementShared].
	Numbers Numbers
}

// WithTierEncoder says what stands in Redis for a value, in place of the ready-made encoders of the option tier_encoder. All stores
// that share a prefix need the same.
func WithTierEncoder(encoder Encoder) Option {
	return func(o *options) error {
		if encoder.Encode == nil || encoder.Decode == nil {
			return newError(ErrInvalidArgument, "the encoder lacks a function")
		}
		return checkStatus(C.kvgo_set_tier_encoder(o.native, C.uint32_t(encoder.Numbers), o.handles.add(encoder)))
	}
}

func (e Encoder) call(
	function func(key, data []byte) ([]byte, error), key *C.uint8_t, keyLength C.size_t, data *C.uint8_t, length C.size_t,
	to *C.kv_sink,
) C.kv_status {
	err := guarded(func() error {
		found, err := function(view[byte](unsafe.Pointer(key), keyLength), view[byte](unsafe.Pointer(data), length))
		if err != nil {
			return err
		}
		return write(to, found)
	})
	if err != nil {
		fail(to, err)
		return C.KV_INVALID_ARGUMENT
	}
	return C.KV_OK
}
