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
	"encoding/json"
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
	// FormatJSON: one JSON object of keys and values, for people: text and JSON, without expiries.
	FormatJSON Format = C.KV_FORMAT_JSON
	// FormatCSV: a table whose first row names its columns: bytes of all kinds, and expiries.
	FormatCSV Format = C.KV_FORMAT_CSV
	// FormatRESP: Redis commands, as redis-cli --pipe takes them and append-only files hold them: bytes of all kinds, and expiries.
	FormatRESP Format = C.KV_FORMAT_RESP
)

// TransferOptions is how entries are exported or imported (docs/files.md).
type TransferOptions struct {
	// Format of the text.
	Format Format
	// KeyColumn and ValueColumn are the columns of keys and values in [FormatCSV]; empty: key and value.
	KeyColumn, ValueColumn string
	// TotalBytes: how long an import's input is, where that is known.
	TotalBytes uint64
	// Database of Redis that is imported from [FormatRESP]; commands on others are skipped.
	Database uint32
	// SkipUnknown: an import from [FormatRESP] skips and counts commands that are not on strings, instead of ending with the first.
	SkipUnknown bool
	// Progress, unless it is nil, hears after each batch, and at the end, how far it has come; false ends it with [ErrCancelled].
	Progress func(Transferred) bool
}

// Transferred is what an export or import has done.
type Transferred struct {
	// Entries written or set.
	Entries uint64
	// Expired: entries of an import whose time was over.
	Expired uint64
	// Deleted: keys that commands of an import have deleted.
	Deleted uint64
	// Bytes of keys and values of the entries.
	Bytes uint64
	// TextBytes written or read.
	TextBytes uint64
	// TotalBytes that an import will read; 0: not known.
	TotalBytes uint64
	// Skipped: what an import has skipped, and how often: commands by their names, and those on "database N".
	Skipped map[string]uint64
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
			number(entries.Reverse), number(entries.Snapshot)))
	})
}

// ExportTo writes entries as text into a writer. When ctx ends, it ends with the context's error before the next write.
func (db *Db) ExportTo(ctx context.Context, w io.Writer, format Format, entries ScanOptions) (Transferred, error) {
	return db.ExportWith(ctx, w, TransferOptions{Format: format}, entries)
}

// ExportWith is [Db.ExportTo] with options.
func (db *Db) ExportWith(ctx context.Context, w io.Writer, options TransferOptions, entries ScanOptions) (Transferred, error) {
	call, native := db.enter()
	defer db.leave(call)
	s := &stream{ctx: ctx, writer: w, progress: options.Progress}
	handle := cgo.NewHandle(s)
	defer handle.Delete()
	key, value := []byte(options.KeyColumn), []byte(options.ValueColumn)
	return s.transferred(C.kvgo_export_to(native, C.uintptr_t(handle), C.uint32_t(options.Format), data(key), size(key),
		data(value), size(value), C.uint64_t(options.TotalBytes), C.uint32_t(options.Database), number(options.SkipUnknown),
		data(entries.Prefix), size(entries.Prefix), data(entries.Start), size(entries.Start), data(entries.End),
		size(entries.End), C.size_t(entries.Limit), number(entries.Ordered), number(entries.Reverse), number(entries.Snapshot)))
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
		return transferred(C.kvgo_import(native, cPath, C.uint32_t(format)))
	})
}

// ImportFrom sets entries from a reader of text, as [Db.Import] does. When ctx ends, it ends with the context's error before the
// next read.
func (db *Db) ImportFrom(ctx context.Context, r io.Reader, format Format) (Transferred, error) {
	return db.ImportWith(ctx, r, TransferOptions{Format: format})
}

// ImportWith is [Db.ImportFrom] with options.
func (db *Db) ImportWith(ctx context.Context, r io.Reader, options TransferOptions) (Transferred, error) {
	call, native := db.enter()
	defer db.leave(call)
	s := &stream{ctx: ctx, reader: r, progress: options.Progress}
	handle := cgo.NewHandle(s)
	defer handle.Delete()
	key, value := []byte(options.KeyColumn), []byte(options.ValueColumn)
	return s.transferred(C.kvgo_import_from(native, C.uintptr_t(handle), C.uint32_t(options.Format), data(key), size(key),
		data(value), size(value), C.uint64_t(options.TotalBytes), C.uint32_t(options.Database), number(options.SkipUnknown)))
}

func moved(done *C.kv_transferred) Transferred {
	return Transferred{
		Entries:    uint64(done.entries),
		Expired:    uint64(done.expired),
		Deleted:    uint64(done.deleted),
		Bytes:      uint64(done.bytes),
		TextBytes:  uint64(done.text_bytes),
		TotalBytes: uint64(done.total_bytes),
	}
}

// transferred gives what was done between store and file.
func transferred(result C.kvgo_moved) (Transferred, error) {
	if result.status == C.KV_OK {
		return moved(&result.done), nil
	}
	return Transferred{}, failure(result.status, result.error)
}

// transferred gives what was done; a failure is told by the error of the reader, writer or progress that made it, if one did.
func (s *stream) transferred(result C.kvgo_moved) (Transferred, error) {
	done, err := transferred(result)
	if err == nil {
		done.Skipped = s.skipped
		return done, nil
	}
	if s.err == nil {
		return Transferred{}, err
	}
	if errors.Is(s.err, context.Canceled) || errors.Is(s.err, context.DeadlineExceeded) {
		return Transferred{}, s.err
	}
	return Transferred{}, &Error{ErrIO, fmt.Sprintf("the reader, writer or progress failed: %v", s.err), s.err}
}

// stream is the reader or writer of one call, and what it failed with.
type stream struct {
	ctx    context.Context
	reader io.Reader
	writer io.Writer
	// What hears how far it came; nil: nothing does.
	progress func(Transferred) bool
	// What was skipped by the last that was told.
	skipped map[string]uint64
	err     error
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

// tell is called by the library; 0 ends the transfer.
func (s *stream) tell(done *C.kv_transferred, skipped []byte) C.int32_t {
	goesOn := true
	failed := s.done(guarded(func() error {
		told := moved(done)
		if done.skipped > 0 {
			if err := json.Unmarshal(skipped, &told.Skipped); err != nil {
				return err
			}
			s.skipped = told.Skipped
		}
		if s.progress != nil {
			goesOn = s.progress(told)
		}
		return s.ctx.Err()
	}))
	return C.int32_t(number(goesOn && failed == 0))
}

func (s *stream) done(err error) C.int32_t {
	if err == nil {
		return 0
	}
	s.err = err
	return 1
}
