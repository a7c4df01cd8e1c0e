package kv

import "context"

// TypedSession is a [Session] whose value has a type.
type TypedSession[T any] struct {
	// Value is the entry's value, to be edited or replaced; the zero value where there is none yet.
	Value T
	// Metadata is as that of a Session.
	Metadata Metadata

	s       *Store[T]
	session *Session
}

func (s *Store[T]) session(session *Session, err error) (*TypedSession[T], error) {
	if err != nil {
		return nil, err
	}
	typed := &TypedSession[T]{s: s, session: session}
	if err := typed.read(); err != nil {
		_ = session.Close()
		return nil, err
	}
	return typed, nil
}

// GetAndLock locks a key that has a value, to edit it, as [Db.GetAndLock] does; [ErrWrongCodec] when another codec wrote it.
func (s *Store[T]) GetAndLock(ctx context.Context, key []byte) (*TypedSession[T], error) {
	return s.session(s.db.GetAndLock(ctx, key))
}

// CreateAndLock locks a key that has no value, to make one of which initial is the beginning, as [Db.CreateAndLock] does; a key that has
// one gives [ErrNotMet], or with allowExisting is taken as it is.
func (s *Store[T]) CreateAndLock(
	ctx context.Context, key []byte, initial T, allowExisting bool,
) (*TypedSession[T], error) {
	typed, err := s.session(s.db.CreateAndLock(ctx, key, CreateOptions{AllowExisting: allowExisting}))
	if err == nil && typed.Version() == 0 {
		typed.Value = initial
	}
	return typed, err
}

// TryGetAndLock is GetAndLock for who does not wait: [ErrKeyLocked] when another session has the key.
func (s *Store[T]) TryGetAndLock(key []byte) (*TypedSession[T], error) {
	return s.session(s.db.TryGetAndLock(key))
}

// CreateGeneratedAndLock locks a key that the store makes up, to make a value of which initial is the beginning, as
// [Db.CreateGeneratedAndLock] does.
func (s *Store[T]) CreateGeneratedAndLock(options KeyOptions, initial T) (*TypedSession[T], error) {
	typed, err := s.session(s.db.CreateGeneratedAndLock(options, nil))
	if err == nil {
		typed.Value = initial
	}
	return typed, err
}

func (t *TypedSession[T]) read() (err error) {
	var value T
	if t.session.Version() != 0 {
		if t.s.tag != TagRaw && t.session.Codec != t.s.tag {
			return wrongCodec(t.Key(), t.s.tag, t.session.Codec)
		}
		if value, err = t.s.decode(t.Key(), t.session.Value); err != nil {
			return err
		}
	}
	t.Value, t.Metadata = value, t.session.Metadata
	return nil
}

// Key gives the key that is locked.
func (t *TypedSession[T]) Key() []byte { return t.session.Key() }

// Version gives the version of the entry that the edits began from; 0: the key had no value.
func (t *TypedSession[T]) Version() uint64 { return t.session.Version() }

// SetExpiry is that of a [Session].
func (t *TypedSession[T]) SetExpiry(expiry Expiry) { t.session.SetExpiry(expiry) }

// Commit is that of a [Session]. What the codec cannot encode changes nothing, and the session goes on.
func (t *TypedSession[T]) Commit() (version uint64, err error) { return t.CommitWith(CommitOptions{}) }

// CommitWith is that of a [Session].
func (t *TypedSession[T]) CommitWith(options CommitOptions) (version uint64, err error) {
	commit := func(bytes []byte) (err error) {
		t.session.Value, t.session.Metadata, t.session.Codec = bytes, t.Metadata, t.s.tag
		version, err = t.session.CommitWith(options)
		// The bytes are lent.
		t.session.Value = nil
		return err
	}
	if options.Delete {
		err = commit(nil)
		if err == nil {
			var none T
			t.Value, t.Metadata = none, make(Metadata)
		}
		return version, err
	}
	err = t.s.encoded(t.Key(), t.Value, commit)
	return version, err
}

// Reload is that of a [Session].
func (t *TypedSession[T]) Reload() error {
	if err := t.session.Reload(); err != nil {
		return err
	}
	return t.read()
}

// Close is that of a [Session].
func (t *TypedSession[T]) Close() error { return t.session.Close() }
