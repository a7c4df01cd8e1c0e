package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
)

// Store is a store whose values have a type. It shares the entries of its [Db]: what another codec wrote gives [ErrWrongCodec], and what
// its own cannot decode an error. Every method may be called by any goroutine; what is not here is done with the Db.
type Store[T any] struct {
	db    *Db
	codec Codec[T]
	tag   Tag
}

// NewStore gives values of a store a type.
func NewStore[T any](db *Db, codec Codec[T]) *Store[T] {
	tag := TagRaw
	if tagged, is := codec.(Tagged); is {
		tag = tagged.Tag()
	}
	return &Store[T]{db, codec, tag}
}

// Db is the store beneath.
func (s *Store[T]) Db() *Db { return s.db }

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// withBuffer lends memory to a call, which gives it back longer perhaps.
func withBuffer(call func(buffer []byte) []byte) {
	buffer := buffers.Get().(*[]byte)
	*buffer = call((*buffer)[:0])
	if cap(*buffer) <= flatKeepMax {
		buffers.Put(buffer)
	}
}

func (s *Store[T]) decode(key, bytes []byte) (T, error) {
	value, err := s.codec.Decode(bytes)
	if err != nil {
		return value, fmt.Errorf("kv: decode the value of %q: %w", key, err)
	}
	return value, nil
}

// encoded runs a call with the bytes of a value.
func (s *Store[T]) encoded(key []byte, value T, call func(bytes []byte) error) (err error) {
	withBuffer(func(buffer []byte) []byte {
		if buffer, err = s.codec.Append(buffer, value); err != nil {
			err = fmt.Errorf("kv: encode the value of %q: %w", key, err)
		} else {
			err = call(buffer)
		}
		return buffer
	})
	return err
}

// Get gives the value of a key, or [ErrNotFound].
func (s *Store[T]) Get(key []byte) (value T, err error) {
	withBuffer(func(buffer []byte) []byte {
		if buffer, err = s.db.GetAppendAs(buffer, key, s.tag); err == nil {
			value, err = s.decode(key, buffer)
		}
		return buffer
	})
	return value, err
}

// Maybe is a value, if there is one.
type Maybe[T any] struct {
	Value T
	Found bool
}

// GetMany gives the values of many keys, in their order.
func (s *Store[T]) GetMany(keys [][]byte) ([]Maybe[T], error) {
	found, err := s.db.GetManyAs(keys, s.tag)
	if err != nil {
		return nil, err
	}
	values := make([]Maybe[T], len(found))
	for at, bytes := range found {
		if bytes == nil {
			continue
		}
		if values[at].Value, err = s.decode(keys[at], bytes); err != nil {
			return nil, err
		}
		values[at].Found = true
	}
	return values, nil
}

// Set sets a key to a value, with the store's default expiry.
func (s *Store[T]) Set(key []byte, value T) error {
	_, err := s.SetWith(key, value, SetOptions{})
	return err
}

// SetWith sets a key to a value as [Db.SetWith] does, always with this store's codec.
func (s *Store[T]) SetWith(key []byte, value T, options SetOptions) (version uint64, err error) {
	options.Codec = s.tag
	err = s.encoded(key, value, func(bytes []byte) (err error) {
		version, err = s.db.SetWith(key, bytes, options)
		return err
	})
	return version, err
}

// setIf reports whether a condition held.
func (s *Store[T]) setIf(key []byte, value T, condition Condition) (bool, error) {
	_, err := s.SetWith(key, value, SetOptions{Condition: condition})
	if errors.Is(err, ErrNotMet) {
		return false, nil
	}
	return err == nil, err
}

// Add sets a key if it has no value, and reports whether it did.
func (s *Store[T]) Add(key []byte, value T) (bool, error) { return s.setIf(key, value, IfAbsent) }

// Replace sets a key if it has a value, and reports whether it did.
func (s *Store[T]) Replace(key []byte, value T) (bool, error) { return s.setIf(key, value, IfPresent) }

// CompareAndSwap sets a key if its value still has a version, as [Db.CompareAndSwap] does.
func (s *Store[T]) CompareAndSwap(key []byte, version uint64, value T) (newVersion uint64, err error) {
	return s.SetWith(key, value, SetOptions{Condition: IfVersion(version), Expiry: ExpireKeep})
}

// SetMany sets many keys as one batch, as [Db.SetMany] does.
func (s *Store[T]) SetMany(values iter.Seq2[[]byte, T]) error {
	var batch Batch
	for key, value := range values {
		add := func(bytes []byte) error {
			batch.SetAs(key, bytes, ExpireDefault, s.tag)
			return nil
		}
		if err := s.encoded(key, value, add); err != nil {
			return err
		}
	}
	return s.db.Apply(&batch)
}

// Take removes a key and gives its value; [ErrNotFound] when it had none. A value of another codec stays; one of this codec that cannot be
// decoded is removed too.
func (s *Store[T]) Take(key []byte) (value T, err error) {
	bytes, err := s.db.TakeAs(key, s.tag)
	if err != nil {
		return value, err
	}
	return s.decode(key, bytes)
}

// Delete removes a key, and reports whether it had a value.
func (s *Store[T]) Delete(key []byte) (bool, error) { return s.db.Delete(key) }

// GetOrLoad gives the value of a key; where it has none, what a loader brings, as [Db.GetOrLoad] does.
func (s *Store[T]) GetOrLoad(
	ctx context.Context, key []byte, expiry Expiry, load func(ctx context.Context, key []byte) (T, error),
) (value T, err error) {
	bytes, err := s.db.getOrLoad(ctx, key, expiry, s.tag, s.encoding(load))
	if err != nil {
		return value, err
	}
	return s.decode(key, bytes)
}

// GetOrLoadWith is GetOrLoad, and loads anew what stands there before it ends, as [Db.GetOrLoadWith] does.
func (s *Store[T]) GetOrLoadWith(
	ctx context.Context, key []byte, options LoadOptions, load func(ctx context.Context, key []byte) (T, error),
) (value T, err error) {
	options.Codec = s.tag
	bytes, err := s.db.GetOrLoadWith(ctx, key, options, s.encoding(load))
	if err != nil {
		return value, err
	}
	return s.decode(key, bytes)
}

// encoding is a loader of bytes.
func (s *Store[T]) encoding(load func(ctx context.Context, key []byte) (T, error)) Loader {
	return func(ctx context.Context, key []byte) ([]byte, error) {
		value, err := load(ctx, key)
		if err != nil {
			return nil, err
		}
		return s.codec.Append(nil, value)
	}
}

// TypedEntry is what a scan of a [Store] found.
type TypedEntry[T any] struct {
	Key     []byte
	Value   T
	Version uint64
	// ExpiresAt is the zero time for an entry that does not expire.
	ExpiresAt time.Time
}

// wrongCodec is as the library says it.
func wrongCodec(key []byte, expected, found Tag) error {
	written := found.String()
	if found == TagRaw {
		written = "raw bytes"
	}
	return newError(ErrWrongCodec, fmt.Sprintf("the value of a key of %d bytes was written as %s, not as %s", len(key), written, expected))
}

// Scan walks over entries as [Db.Scan] does. A value that cannot be decoded comes as an error with its key, and the walk goes on.
func (s *Store[T]) Scan(options ScanOptions) iter.Seq2[TypedEntry[T], error] {
	return func(yield func(TypedEntry[T], error) bool) {
		for entry, err := range s.db.Scan(options) {
			typed := TypedEntry[T]{Key: entry.Key, Version: entry.Version, ExpiresAt: entry.ExpiresAt}
			if err == nil && s.tag != TagRaw && entry.Codec != s.tag {
				err = wrongCodec(entry.Key, s.tag, entry.Codec)
			} else if err == nil {
				typed.Value, err = s.decode(entry.Key, entry.Value)
			}
			if !yield(typed, err) {
				return
			}
		}
	}
}
