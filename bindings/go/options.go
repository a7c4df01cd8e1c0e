package kv

// #include "kvgo.h"
// #cgo noescape kvgo_options_set
// #cgo nocallback kvgo_options_set
import "C"

import (
	"fmt"
	"runtime"
	"time"
)

// Option says how a store is opened.
type Option func(*options) error

type options struct {
	native  *C.kv_options
	handles *handles
}

// WithOption sets an option by its name, from text, as kv_options_set in kv.h does: WithOption("sync", "100ms").
func WithOption(name, value string) Option {
	return func(o *options) error {
		cName, err := cText(name)
		if err != nil {
			return err
		}
		cValue, err := cText(value)
		if err != nil {
			return err
		}
		return check(C.kvgo_options_set(o.native, cName, cValue))
	}
}

// Mode says whether a store is made, must exist, or is only read.
type Mode uint32

const (
	// ModeCreate opens the store, or makes an empty one where there is none. The default.
	ModeCreate Mode = C.KV_MODE_CREATE
	// ModeMustExist opens the store; that there is none is an error.
	ModeMustExist Mode = C.KV_MODE_MUST_EXIST
	// ModeReadOnly opens the store as it is now, for reading, also when another process has it open.
	ModeReadOnly Mode = C.KV_MODE_READ_ONLY
)

// WithMode says whether the store is made, must exist, or is only read.
func WithMode(mode Mode) Option {
	return setter(func(o *C.kv_options) C.kv_status { return C.kv_options_set_mode(o, C.uint32_t(mode)) })
}

// Sync says when writes reach the disk. In every mode they survive the death of the process.
type Sync struct {
	kind   C.uint32_t
	period C.uint64_t
}

var (
	// SyncAlways: each write is on disk before its call returns. A goroutine that waits for the disk takes a thread.
	SyncAlways = Sync{kind: C.KV_SYNC_ALWAYS}
	// SyncNever: when the operating system gets to it, and at close.
	SyncNever = Sync{kind: C.KV_SYNC_NEVER}
)

// SyncEvery says that each write is on disk at most period after its call returned. The default, with one second.
func SyncEvery(period time.Duration) Sync {
	return Sync{C.KV_SYNC_EVERY, milliseconds(period)}
}

// WithSync says when writes reach the disk.
func WithSync(sync Sync) Option {
	return setter(func(o *C.kv_options) C.kv_status { return C.kv_options_set_sync(o, sync.kind, sync.period) })
}

// WithSegmentBytes is the size that segments of the log grow to: 64 KiB to 1 GiB; the default is 64 MiB.
func WithSegmentBytes(bytes uint64) Option {
	return setter(func(o *C.kv_options) C.kv_status {
		return C.kv_options_set_segment_bytes(o, C.uint64_t(bytes))
	})
}

// WithValueBytesMax is the longest value that the store accepts; the default is 1 GiB.
func WithValueBytesMax(bytes uint32) Option {
	return setter(func(o *C.kv_options) C.kv_status {
		return C.kv_options_set_value_bytes_max(o, C.uint32_t(bytes))
	})
}

// WithDefaultTTL is the time to live of entries that are set without an expiry of their own; 0, the default: they stay.
func WithDefaultTTL(ttl time.Duration) Option {
	return setter(func(o *C.kv_options) C.kv_status { return C.kv_options_set_default_ttl(o, milliseconds(ttl)) })
}

// WithTimeToIdle is how long an entry may be without being read or written before it expires; 0, the default: for ever. The times
// begin anew with each open.
func WithTimeToIdle(d time.Duration) Option {
	if d == 0 {
		return WithOption("time_to_idle", "none")
	}
	return WithOption("time_to_idle", fmt.Sprintf("%dms", int64(milliseconds(d))))
}

// WithTTLJitter is by how many percent, 0 to 100, times to live may be shorter than asked for, each by a share of its own.
func WithTTLJitter(percent uint8) Option {
	return WithOption("ttl_jitter_percent", fmt.Sprint(percent))
}

// WithMaxEntries makes the store a cache of at most so many entries; docs/cache.md. 0 is refused.
func WithMaxEntries(entries uint64) Option { return WithOption("max_entries", fmt.Sprint(entries)) }

// WithMaxBytes makes the store a cache whose keys and stored values are at most so many bytes, or so much as [WithWeigher] says. 0 is refused.
func WithMaxBytes(bytes uint64) Option { return WithOption("max_bytes", fmt.Sprint(bytes)) }

// WithCompression stores values of at least thresholdBytes compressed with zstd at a level of -7 to 19, where that makes them
// smaller. Pinned reads of such values cost a copy.
func WithCompression(level int32, thresholdBytes uint64) Option {
	return setter(func(o *C.kv_options) C.kv_status {
		return C.kv_options_set_compression(o, C.int32_t(level), C.size_t(thresholdBytes))
	})
}

// Recover says what [Open] does about damage.
type Recover uint32

const (
	// RecoverStrict fails the open. The default.
	RecoverStrict Recover = C.KV_RECOVER_STRICT
	// RecoverSalvage keeps what is intact; [Db.Damage] lists the rest.
	RecoverSalvage Recover = C.KV_RECOVER_SALVAGE
)

// WithRecover says what [Open] does about damage.
func WithRecover(how Recover) Option {
	return setter(func(o *C.kv_options) C.kv_status { return C.kv_options_set_recover(o, C.uint32_t(how)) })
}

// WithBackground says whether expiry and compaction run by themselves from the start, which is the default. [Db.Resume]
// starts them later.
func WithBackground(runs bool) Option {
	return setter(func(o *C.kv_options) C.kv_status {
		return C.kv_options_set_background(o, C.int32_t(number(runs)))
	})
}

// WithListenerQueue is how many events may wait for the listener; what does not fit is dropped and counted. The default is
// 65536.
func WithListenerQueue(events uint64) Option {
	return setter(func(o *C.kv_options) C.kv_status {
		return C.kv_options_set_listener_queue(o, C.size_t(events))
	})
}

// WithListener lets a function hear of each entry that is deleted, expires or is evicted. A thread of the store calls it, one
// event at a time. It may call the store, but for [Db.Close], which gives [ErrInCallback]. It must return: a panic ends the
// program. A listener that refers to its store keeps it from being closed when it is forgotten.
func WithListener(listener func(Event)) Option {
	return func(o *options) error {
		if listener == nil {
			return newError(ErrInvalidArgument, "the listener is nil")
		}
		return checkStatus(C.kvgo_set_listener(o.native, o.handles.add(listener)))
	}
}

// WithLogger lets a function take a line whenever something happens that nobody asked about: recovery, damage, a failed sync.
// [Open] and threads of the store call it, perhaps two at a time; calls into any store give [ErrInCallback]. It must return: a
// panic ends the program.
func WithLogger(logger func(line string)) Option {
	return func(o *options) error {
		if logger == nil {
			return newError(ErrInvalidArgument, "the logger is nil")
		}
		return checkStatus(C.kvgo_set_logger(o.native, o.handles.add(logger)))
	}
}

// WithClock takes time from a clock that tests move, in place of the machine's.
func WithClock(clock *Clock) Option {
	return func(o *options) error {
		if clock == nil {
			return newError(ErrInvalidArgument, "the clock is nil")
		}
		defer runtime.KeepAlive(clock)
		return checkStatus(C.kv_options_set_clock(o.native, clock.native))
	}
}

func setter(set func(*C.kv_options) C.kv_status) Option {
	return func(o *options) error { return checkStatus(set(o.native)) }
}

func checkStatus(status C.kv_status) error {
	return check(C.kvgo_answer{status: status})
}

func number(is bool) C.uint32_t {
	if is {
		return 1
	}
	return 0
}

// withOptions runs a call with the options made from all.
func withOptions(all []Option, call func(*C.kv_options) error) (*handles, error) {
	o := options{native: C.kv_options_new(), handles: new(handles)}
	defer C.kv_options_free(o.native)
	for _, option := range all {
		if err := option(&o); err != nil {
			o.handles.free()
			return nil, err
		}
	}
	if err := call(o.native); err != nil {
		o.handles.free()
		return nil, err
	}
	return o.handles, nil
}

// Clock stands still until it is moved, for tests.
type Clock struct {
	native *C.kv_clock
}

// NewClock makes a clock that stands at a time.
func NewClock(at time.Time) *Clock {
	clock := &Clock{C.kv_clock_new(unixMilliseconds(at))}
	// Stores that use it see it stand still from then on, as nobody could move it any more anyway.
	runtime.AddCleanup(clock, func(native *C.kv_clock) { C.kv_clock_free(native) }, clock.native)
	return clock
}

// Advance moves the clock ahead.
func (c *Clock) Advance(by time.Duration) error {
	defer runtime.KeepAlive(c)
	return checkStatus(C.kv_clock_advance(c.native, milliseconds(by)))
}
