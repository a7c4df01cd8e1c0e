package kv

// #include "kvgo.h"
// #cgo noescape kv_strerror
// #cgo nocallback kv_strerror
// #cgo noescape kv_error_message
// #cgo nocallback kv_error_message
// #cgo noescape kv_error_free
// #cgo nocallback kv_error_free
import "C"

import "strings"

// Status is the outcome of a call, with the values of kv_status in kv.h. As an error it is what [errors.Is] compares with.
type Status int32

// Answers, which are no failures: the call did its work.
const (
	// ErrNotFound: the key has no value.
	ErrNotFound Status = C.KV_NOT_FOUND
	// ErrNotMet: the condition of a write did not hold, so nothing was written.
	ErrNotMet Status = C.KV_NOT_MET
)

// Failures.
const (
	// ErrInvalidArgument: an argument that means nothing.
	ErrInvalidArgument Status = C.KV_INVALID_ARGUMENT
	// ErrInvalidOption: an unknown option, or a value that it does not take.
	ErrInvalidOption Status = C.KV_INVALID_OPTION
	// ErrKeyTooLong: the key is longer than [KeyBytesMax].
	ErrKeyTooLong Status = C.KV_KEY_TOO_LONG
	// ErrValueTooLong: the value is longer than the store accepts.
	ErrValueTooLong Status = C.KV_VALUE_TOO_LONG
	// ErrBatchTooLarge: the members of a batch need more bytes than one frame of the log can hold.
	ErrBatchTooLarge Status = C.KV_BATCH_TOO_LARGE
	// ErrNotAnInteger: the value is no decimal 64-bit integer, so it cannot be incremented.
	ErrNotAnInteger Status = C.KV_NOT_AN_INTEGER
	// ErrOverflow: the increment would leave the range of int64.
	ErrOverflow Status = C.KV_OVERFLOW
	// ErrNotText: an export to one JSON object met bytes that are not UTF-8.
	ErrNotText Status = C.KV_NOT_TEXT
	// ErrBadImport: an import met a line that it cannot take.
	ErrBadImport Status = C.KV_BAD_IMPORT
	// ErrClosed: the store was closed, or a [Pin] is used after its callback.
	ErrClosed Status = C.KV_CLOSED
	// ErrForked: the store belongs to the parent of this forked process.
	ErrForked Status = C.KV_FORKED
	// ErrReadOnly: the store was opened for reading, or had no space to recover for writing.
	ErrReadOnly Status = C.KV_READ_ONLY
	// ErrPinned: the call stands inside [Db.Pinned] and would wait for its pin without end.
	ErrPinned Status = C.KV_PINNED
	// ErrWrongThread: a [Pin] was used by another goroutine than the one that [Db.Pinned] called.
	ErrWrongThread Status = C.KV_WRONG_THREAD
	// ErrInCallback: the call is not allowed inside a callback.
	ErrInCallback Status = C.KV_IN_CALLBACK
	// ErrLoaderFailed: a loader failed, or asked for its own key.
	ErrLoaderFailed Status = C.KV_LOADER_FAILED
	// ErrBusy: another goroutine is using this cursor or session.
	ErrBusy Status = C.KV_BUSY
	// ErrCancelled: a progress function ended its export or import.
	ErrCancelled Status = C.KV_CANCELLED
	// ErrIO: the operating system refused a file operation, or a reader or writer failed.
	ErrIO Status = C.KV_IO
	// ErrDiskFull: the disk is full. Reads and deletes go on.
	ErrDiskFull Status = C.KV_DISK_FULL
	// ErrSyncFailed: a sync failed: writes are refused until the store is reopened.
	ErrSyncFailed Status = C.KV_SYNC_FAILED
	// ErrCorrupt: bytes in a file are not what this library wrote there.
	ErrCorrupt Status = C.KV_CORRUPT
	// ErrUnsupportedVersion: the files have a format version that this library does not read.
	ErrUnsupportedVersion Status = C.KV_UNSUPPORTED_VERSION
	// ErrNotAStore: the path holds something that is not a libkv store.
	ErrNotAStore Status = C.KV_NOT_A_STORE
	// ErrLocked: another process, or another handle of this one, has the store open.
	ErrLocked Status = C.KV_LOCKED
	// ErrNoMemory: the system has no memory left.
	ErrNoMemory Status = C.KV_NO_MEMORY
	// ErrTier: Redis could not be asked, or did not acknowledge in time. A change that was made stands in the store all the same,
	// and is sent when Redis answers, unless the message says that it was refused.
	ErrTier Status = C.KV_TIER
	// ErrKeyLocked: another session has the key, and this call does not wait.
	ErrKeyLocked Status = C.KV_KEY_LOCKED
	// ErrConflict: the key was changed by somebody else while a session had it, so the session's commit changed nothing.
	ErrConflict Status = C.KV_CONFLICT
	// ErrSessionEnded: the session was committed or closed.
	ErrSessionEnded Status = C.KV_SESSION_ENDED
	// ErrWrongCodec: the value was written by another codec than the one that is to read it.
	ErrWrongCodec Status = C.KV_WRONG_CODEC
	// ErrLagged: a watch comes too late for what it has missed: whoever keeps what it was told has to forget that, since what stands
	// follows.
	ErrLagged Status = C.KV_LAGGED
	// ErrInternal: a defect of the library.
	ErrInternal Status = C.KV_INTERNAL
)

// Error is the status' text.
func (s Status) Error() string {
	return "kv: " + C.GoString(C.kv_strerror(C.int32_t(s)))
}

// Error is a call that failed.
type Error struct {
	// Status says how; [errors.Is] compares it with the Err constants.
	Status Status
	// Message says what went wrong, with the facts: file, offset, limit.
	Message string

	cause error
}

// Error is the message.
func (e *Error) Error() string { return "kv: " + e.Message }

// Is reports whether target is the error's status.
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// Unwrap gives the error of a callback that made the call fail, or nil.
func (e *Error) Unwrap() error { return e.cause }

func newError(status Status, message string) *Error {
	return &Error{Status: status, Message: message}
}

var (
	errKeyLocked    = newError(ErrKeyLocked, "another session has the key")
	errSessionEnded = newError(ErrSessionEnded, "the session was committed or closed")
)

var errClosed = newError(ErrClosed, "the store, or what was taken from it, is closed")

// check gives nil for KV_OK, the bare status for an answer, and an Error for a failure.
func check(a C.kvgo_answer) error {
	if a.status == C.KV_OK {
		return nil
	}
	return failure(a.status, a.error)
}

// holds turns an answer into whether there was a value, or a condition held.
func holds(a C.kvgo_answer) (bool, error) {
	switch a.status {
	case C.KV_OK:
		return true, nil
	case C.KV_NOT_FOUND, C.KV_NOT_MET:
		return false, nil
	}
	return false, failure(a.status, a.error)
}

func failure(status C.kv_status, native *C.kv_error) error {
	if status < C.KV_INVALID_ARGUMENT {
		return Status(status)
	}
	if status == C.KV_INVALID_HANDLE {
		// The only one that Go can have: none.
		C.kv_error_free(native)
		return errClosed
	}
	if native == nil {
		return newError(Status(status), strings.TrimPrefix(Status(status).Error(), "kv: "))
	}
	message := C.GoString(C.kv_error_message(native))
	C.kv_error_free(native)
	return newError(Status(status), message)
}
