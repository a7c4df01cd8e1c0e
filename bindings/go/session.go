package kv

// #include "kvgo.h"
// #cgo noescape kvgo_get_and_lock
// #cgo nocallback kvgo_get_and_lock
// #cgo noescape kvgo_create_and_lock
// #cgo nocallback kvgo_create_and_lock
// #cgo noescape kvgo_session_value
// #cgo nocallback kvgo_session_value
// #cgo noescape kvgo_session_version
// #cgo nocallback kvgo_session_version
// #cgo noescape kvgo_session_metadata
// #cgo nocallback kvgo_session_metadata
// #cgo noescape kvgo_session_codec
// #cgo nocallback kvgo_session_codec
// #cgo noescape kvgo_session_commit
// #cgo nocallback kvgo_session_commit
// #cgo noescape kvgo_session_reload
// #cgo nocallback kvgo_session_reload
// #cgo noescape kv_session_free
// #cgo nocallback kv_session_free
// #cgo noescape kvgo_get_with_metadata
// #cgo nocallback kvgo_get_with_metadata
// #cgo noescape kvgo_generate_key
// #cgo nocallback kvgo_generate_key
import "C"

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
)

// Metadata is kept beside an entry's value: names, which are UTF-8, and what they hold.
type Metadata = map[string][]byte

// Session is one entry, locked for whoever holds this, with its value and metadata to edit. Nobody sees the edits before a commit;
// readers meanwhile see what was committed last, and wait for nothing. The lock is among sessions: plain writes do not ask for it, and a
// commit after one changes nothing and gives [ErrConflict].
//
// A session serves one goroutine at a time and may be kept for long. [Session.Close] gives up edits and lock; one that is forgotten is closed
// by the garbage collector some time.
type Session struct {
	// Value is the entry's value, to be edited or replaced.
	Value []byte
	// Metadata is stored with the value, in one record, and counts for the longest value. A plain write drops it, as an increment does; a
	// change of the expiry keeps it. Redis gets the value alone.
	Metadata Metadata
	// Codec is the one that wrote the value, or, edited, the one that the value is of now.
	Codec Tag

	db      *Db
	key     string
	expiry  Expiry
	version uint64
	// nil once it has ended.
	native  *C.kv_session
	cleanup runtime.Cleanup
}

var _ io.Closer = (*Session)(nil)

// CreateOptions says what [Db.CreateAndLock] begins with. The zero value means: the key must have no value, and the session begins with
// an empty one.
type CreateOptions struct {
	// AllowExisting: a key that has a value is taken as it is.
	AllowExisting bool
	// Initial is the value of a session of a key that has none.
	Initial []byte
}

// CommitOptions says how [Session.CommitWith] ends.
type CommitOptions struct {
	// Keep: the lock stays, also after a failure; the session goes on with what was committed.
	Keep bool
	// KeepOnFailure: lock and edits stay after a failure.
	KeepOnFailure bool
	// Delete: the entry is removed instead.
	Delete bool
}

// GetAndLock locks a key that has a value, to edit it; [ErrNotFound] when it has none. Goroutines get a key in the order in which they ask,
// and take no thread while they wait; when ctx ends first, they get its error. Who asks for a key that he has already waits for himself, as
// do those who ask for two keys in different orders: lock in the order of the keys, or with a deadline.
func (db *Db) GetAndLock(ctx context.Context, key []byte) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return db.lock(ctx, key, func(native C.uintptr_t) C.kvgo_answer {
		return C.kvgo_get_and_lock(native, data(key), size(key))
	})
}

// TryGetAndLock is [Db.GetAndLock] for who does not wait: [ErrKeyLocked].
func (db *Db) TryGetAndLock(key []byte) (*Session, error) {
	return db.lock(noWait, key, func(native C.uintptr_t) C.kvgo_answer {
		return C.kvgo_get_and_lock(native, data(key), size(key))
	})
}

// CreateAndLock locks a key that has no value, to make one, which is there when it is committed; [ErrNotMet] when it has one, and the
// options do not allow that. See [Db.GetAndLock].
func (db *Db) CreateAndLock(ctx context.Context, key []byte, options CreateOptions) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return db.create(ctx, key, options)
}

// TryCreateAndLock is [Db.CreateAndLock] for who does not wait: [ErrKeyLocked].
func (db *Db) TryCreateAndLock(key []byte, options CreateOptions) (*Session, error) {
	return db.create(noWait, key, options)
}

func (db *Db) create(ctx context.Context, key []byte, options CreateOptions) (*Session, error) {
	return db.lock(ctx, key, func(native C.uintptr_t) C.kvgo_answer {
		allow, initial := number(options.AllowExisting), options.Initial
		return C.kvgo_create_and_lock(native, data(key), size(key), allow, data(initial), size(initial))
	})
}

// CreateGeneratedAndLock locks a key that [Db.GenerateKey] gives and that has no value, to make one of which initial is the beginning. It
// waits for nobody: a key that has a value, or that another session has, is passed over.
func (db *Db) CreateGeneratedAndLock(options KeyOptions, initial []byte) (*Session, error) {
	for {
		key, err := db.GenerateKey(options)
		if err != nil {
			return nil, err
		}
		session, err := db.TryCreateAndLock(key, CreateOptions{Initial: initial})
		if !errors.Is(err, ErrNotMet) && !errors.Is(err, ErrKeyLocked) {
			return session, err
		}
	}
}

func (db *Db) lock(ctx context.Context, key []byte, call func(native C.uintptr_t) C.kvgo_answer) (*Session, error) {
	if len(key) > KeyBytesMax {
		// As the library says it, without a copy of the key.
		entered, native := db.enter()
		defer db.leave(entered)
		return nil, check(call(native))
	}
	s := &Session{db: db, key: string(key)}
	if err := db.locks.acquire(ctx, s.key); err != nil {
		return nil, err
	}
	entered, native := db.enter()
	defer db.leave(entered)
	answer := call(native)
	if err := check(answer); err != nil {
		db.locks.release(s.key)
		return nil, err
	}
	s.native = (*C.kv_session)(answer.data)
	held := heldSession{db, s.key, s.native}
	s.cleanup = runtime.AddCleanup(s, func(held heldSession) { held.free() }, held)
	if err := s.read(); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// heldSession is what a session that is forgotten leaves behind.
type heldSession struct {
	db     *Db
	key    string
	native *C.kv_session
}

func (h heldSession) free() {
	C.kv_session_free(h.native)
	h.db.locks.release(h.key)
}

func (s *Session) end() {
	s.cleanup.Stop()
	heldSession{s.db, s.key, s.native}.free()
	s.native = nil
}

// read takes over value, metadata and version.
func (s *Session) read() error {
	version := C.kvgo_session_version(s.native)
	value := C.kvgo_session_value(s.native)
	metadata := C.kvgo_session_metadata(s.native)
	codec := C.kvgo_session_codec(s.native)
	for _, answer := range []C.kvgo_answer{version, value, metadata, codec} {
		if err := check(answer); err != nil {
			return err
		}
	}
	s.version, s.expiry = uint64(version.number), ExpireKeep
	s.Value = append([]byte{}, view[byte](value.data, value.len)...)
	s.Metadata = ownedPairs(metadata)
	s.Codec = Tag(codec.number)
	return nil
}

func ownedPairs(answer C.kvgo_answer) Metadata {
	metadata := make(Metadata)
	for _, pair := range view[C.kv_pair](answer.data, answer.len) {
		name := string(view[byte](pair.key.data, pair.key.len))
		metadata[name] = bytes.Clone(view[byte](pair.value.data, pair.value.len))
	}
	C.kv_free(answer.data)
	return metadata
}

// Key gives the key that is locked.
func (s *Session) Key() []byte { return []byte(s.key) }

// Version gives the version of the entry that the edits began from; 0: the key had no value.
func (s *Session) Version() uint64 { return s.version }

// SetExpiry says when the committed entry expires. Without it: when it would have; a new one after the store's default.
func (s *Session) SetExpiry(expiry Expiry) { s.expiry = expiry }

// Commit makes the edits visible, all at once, and gives up the lock. It gives the new version. [ErrConflict] when somebody else has
// changed the entry, its expiry included, or when it has expired: nothing was changed. After a failure edits and lock are gone too: what
// comes then gives [ErrSessionEnded].
func (s *Session) Commit() (version uint64, err error) { return s.CommitWith(CommitOptions{}) }

// CommitWith is [Session.Commit] that may keep the lock, or remove the entry, of which the version is 0.
func (s *Session) CommitWith(options CommitOptions) (version uint64, err error) {
	if s.native == nil {
		return 0, errSessionEnded
	}
	flat := flatten(nil)
	defer flat.free()
	for name, held := range s.Metadata {
		flat.add([]byte(name))
		flat.add(held)
	}
	answer := C.kvgo_session_commit(s.native, data(s.Value), size(s.Value), data(flat.bytes), flat.lens(), flat.count(),
		s.expiry.kind, s.expiry.ms, C.uint32_t(s.Codec), number(options.Delete))
	err = check(answer)
	keeps := options.Keep || (options.KeepOnFailure && err != nil)
	if err == nil {
		s.version, s.expiry = uint64(answer.number), ExpireKeep
		if options.Delete {
			s.Value, s.Metadata, s.Codec = nil, make(Metadata), TagRaw
		}
	}
	if !keeps {
		s.end()
	}
	return uint64(answer.number), err
}

// Reload gives up the edits and reads the entry anew: after [ErrConflict], the next commit replaces what stands there now. The lock stays.
func (s *Session) Reload() error {
	if s.native == nil {
		return errSessionEnded
	}
	if err := check(C.kvgo_session_reload(s.native)); err != nil {
		return err
	}
	return s.read()
}

// Close gives up edits and lock. After a commit that has not kept them it does nothing, so that it can be deferred.
func (s *Session) Close() error {
	if s.native != nil {
		s.end()
	}
	return nil
}

// GetWithMetadata gives the value of a key with its metadata, as one commit left them; [ErrNotFound] when it has none.
func (db *Db) GetWithMetadata(key []byte) (value []byte, metadata Metadata, err error) {
	return db.GetWithMetadataAs(key, TagRaw)
}

// GetWithMetadataAs is [Db.GetWithMetadata] of what a codec wrote, as [Db.GetAs].
func (db *Db) GetWithMetadataAs(key []byte, codec Tag) (value []byte, metadata Metadata, err error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_get_with_metadata(native, data(key), size(key), C.uint32_t(codec))
	if answer.value.status != C.KV_OK {
		return nil, nil, check(answer.value)
	}
	value, err = owned(answer.value)
	return value, ownedPairs(answer.metadata), err
}

// KeyOptions says how generated keys look. The zero value means: decimal digits, as wide as any number will ever need.
type KeyOptions struct {
	// Prefix is what stands before the number.
	Prefix []byte
	// Base of the digits, 2 to 62: 0-9a-z up to 36, 0-9A-Za-z above; 0: 10.
	Base uint32
	// Width is how many digits the number has, 64 at most; 0: as many as the largest number of this base. Numbers grow by one for each
	// 32 bytes that the log takes.
	Width uint32
}

// GenerateKey gives a key that the store has never given before and that sorts, bytewise, after all that it gave with the same options: also
// across reopens, the death of the process and the loss of power. Nothing is stored under it; whether somebody else has set it is for
// [Db.Add] or [Db.CreateGeneratedAndLock] to find out. A copy of the store (a backup, a salvaged or imported one) does not know what
// the other gives afterwards.
func (db *Db) GenerateKey(options KeyOptions) ([]byte, error) {
	call, native := db.enter()
	defer db.leave(call)
	base, width := C.uint32_t(options.Base), C.uint32_t(options.Width)
	return owned(C.kvgo_generate_key(native, data(options.Prefix), size(options.Prefix), base, width))
}
