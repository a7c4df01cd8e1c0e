package kv

// #include "kvgo.h"
// #cgo noescape kvgo_export
// #cgo nocallback kvgo_export
// #cgo noescape kvgo_import
// #cgo nocallback kvgo_import
import "C"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/cgo"
	"unsafe"
)

// Format is how entries are written as text.
type Format uint32

const (
	// FormatNDJSON: one JSON object a line: every entry, bytes of all kinds, expiries.
	FormatNDJSON Format = C.KV_FORMAT_NDJSON
	// FormatJSON: one JSON object of keys and values, for people: text only, without expiries.
	FormatJSON Format = C.KV_FORMAT_JSON
)

// Transferred is what an export or import has done.
type Transferred struct {
	// Entries written or set.
	Entries uint64
	// Expired: entries of an import whose time was over.
	Expired uint64
	// Bytes of their keys and values.
	Bytes uint64
}

// Export writes entries as text into a file; one that is there is replaced. As of one moment only with Snapshot.
func (db *Db) Export(ctx context.Context, path string, format Format, entries ScanOptions) (Transferred, error) {
	cPath, err := cText(path)
	if err != nil {
		return Transferred{}, err
	}
	prefix, start, end := bytes.Clone(entries.Prefix), bytes.Clone(entries.Start), bytes.Clone(entries.End)
	return waitFor(ctx, func() (Transferred, error) {
		call, native := db.enter()
		defer db.leave(call)
		return transferred(C.kvgo_export(native, cPath, C.uint32_t(format), data(prefix), size(prefix),
			data(start), size(start), data(end), size(end), C.size_t(entries.Limit), number(entries.Ordered),
			number(entries.Reverse), number(entries.Snapshot)), nil)
	})
}

// ExportTo writes entries as text into a writer. When ctx ends, it ends with the context's error before the next write.
func (db *Db) ExportTo(ctx context.Context, w io.Writer, format Format, entries ScanOptions) (Transferred, error) {
	call, native := db.enter()
	defer db.leave(call)
	s := &stream{ctx: ctx, writer: w}
	handle := cgo.NewHandle(s)
	defer handle.Delete()
	return transferred(C.kvgo_export_to(native, C.uintptr_t(handle), C.uint32_t(format), data(entries.Prefix),
		size(entries.Prefix), data(entries.Start), size(entries.Start), data(entries.End), size(entries.End),
		C.size_t(entries.Limit), number(entries.Ordered), number(entries.Reverse), number(entries.Snapshot)), s.err)
}

// Import sets entries from a file of text, in batches. Entries whose time is over are left out. [ErrBadImport]: a line cannot be
// taken; batches before it are set.
func (db *Db) Import(ctx context.Context, path string, format Format) (Transferred, error) {
	cPath, err := cText(path)
	if err != nil {
		return Transferred{}, err
	}
	return waitFor(ctx, func() (Transferred, error) {
		call, native := db.enter()
		defer db.leave(call)
		return transferred(C.kvgo_import(native, cPath, C.uint32_t(format)), nil)
	})
}

// ImportFrom sets entries from a reader of text, as [Db.Import] does. When ctx ends, it ends with the context's error before the
// next read.
func (db *Db) ImportFrom(ctx context.Context, r io.Reader, format Format) (Transferred, error) {
	call, native := db.enter()
	defer db.leave(call)
	s := &stream{ctx: ctx, reader: r}
	handle := cgo.NewHandle(s)
	defer handle.Delete()
	return transferred(C.kvgo_import_from(native, C.uintptr_t(handle), C.uint32_t(format)), s.err)
}

// transferred gives what was done; a failure is told by the error of the reader or writer that made it, if one did.
func transferred(moved C.kvgo_moved, streamed error) (Transferred, error) {
	if moved.status == C.KV_OK {
		done := moved.done
		return Transferred{uint64(done.entries), uint64(done.expired), uint64(done.bytes)}, nil
	}
	err := failure(moved.status, moved.error)
	if streamed == nil {
		return Transferred{}, err
	}
	if errors.Is(streamed, context.Canceled) || errors.Is(streamed, context.DeadlineExceeded) {
		return Transferred{}, streamed
	}
	return Transferred{}, &Error{ErrIO, fmt.Sprintf("the reader or writer failed: %v", streamed), streamed}
}

// stream is the reader or writer of one call, and what it failed with.
type stream struct {
	ctx    context.Context
	reader io.Reader
	writer io.Writer
	err    error
	// What the reader failed with when it brought its last bytes.
	later error
}

// readsMax is how many reads without a byte and without an error end an import.
const readsMax = 100

// write is called by the library.
func (s *stream) write(bytes *C.uint8_t, length C.size_t) C.int32_t {
	return s.done(guarded(func() error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		n, err := s.writer.Write(view[byte](unsafe.Pointer(bytes), length))
		if err == nil && n != int(length) {
			return io.ErrShortWrite
		}
		return err
	}))
}

// read is called by the library.
func (s *stream) read(bytes *C.uint8_t, length C.size_t, read *C.size_t) C.int32_t {
	return s.done(guarded(func() error {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		n, err := 0, s.later
		for tries := 0; n == 0 && err == nil; tries++ {
			if tries == readsMax {
				return io.ErrNoProgress
			}
			n, err = s.reader.Read(view[byte](unsafe.Pointer(bytes), length))
		}
		if n < 0 || n > int(length) {
			return fmt.Errorf("the reader claims %d bytes in a buffer of %d", n, length)
		}
		*read, s.later = C.size_t(n), err
		if n > 0 || err == io.EOF {
			return nil
		}
		return err
	}))
}

func (s *stream) done(err error) C.int32_t {
	if err == nil {
		return 0
	}
	s.err = err
	return 1
}
