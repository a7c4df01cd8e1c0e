package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

var statuses = map[kv.Status]string{
	kv.ErrInvalidArgument: "invalid_argument", kv.ErrInvalidOption: "invalid_option", kv.ErrKeyTooLong: "key_too_long",
	kv.ErrValueTooLong: "value_too_long", kv.ErrBatchTooLarge: "batch_too_large", kv.ErrNotAnInteger: "not_an_integer",
	kv.ErrOverflow: "overflow", kv.ErrNotText: "not_text", kv.ErrBadImport: "bad_import", kv.ErrClosed: "closed",
	kv.ErrForked: "forked", kv.ErrReadOnly: "read_only", kv.ErrPinned: "pinned", kv.ErrWrongThread: "wrong_thread",
	kv.ErrInCallback: "in_callback", kv.ErrLoaderFailed: "loader_failed", kv.ErrBusy: "busy", kv.ErrIO: "io",
	kv.ErrDiskFull: "disk_full", kv.ErrSyncFailed: "sync_failed", kv.ErrCorrupt: "corrupt",
	kv.ErrUnsupportedVersion: "unsupported_version", kv.ErrNotAStore: "not_a_store", kv.ErrLocked: "locked",
	kv.ErrNoMemory: "no_memory", kv.ErrKeyLocked: "key_locked", kv.ErrConflict: "conflict",
	kv.ErrSessionEnded: "session_ended", kv.ErrWrongCodec: "wrong_codec", kv.ErrInternal: "internal",
	kv.ErrTier: "tier",
}

// answered is the word for an outcome: an error, or else what was given.
func answered(given string, err error) string {
	var failed *kv.Error
	switch {
	case err == nil:
		return given
	case errors.Is(err, kv.ErrNotFound):
		return "absent"
	case errors.Is(err, kv.ErrNotMet):
		return "not_met"
	case errors.As(err, &failed):
		return "error " + statuses[failed.Status]
	}
	return "error " + err.Error()
}

// oneOf ends the runner unless a word is one of those that the line may have.
func oneOf(word string, words ...string) {
	if !slices.Contains(words, word) {
		panic(fmt.Sprintf("%s is not one of %v", word, words))
	}
}

func number(word string) uint64 {
	n, err := strconv.ParseUint(word, 10, 64)
	must(err)
	return n
}

// plain gives the bytes that a word stands for.
func plain(word string) []byte {
	if word == `""` {
		return []byte{}
	}
	if rest, isRun := strings.CutPrefix(word, "@"); isRun {
		if count, digits, found := strings.Cut(rest, "*"); found {
			return bytes.Repeat([]byte{hex(digits)}, int(number(count)))
		}
	}
	var to []byte
	for at := 0; at < len(word); at++ {
		if word[at] == '%' {
			to = append(to, hex(word[at+1:at+3]))
			at += 2
		} else {
			to = append(to, word[at])
		}
	}
	return to
}

func hex(digits string) byte {
	b, err := strconv.ParseUint(digits, 16, 8)
	must(err)
	return byte(b)
}

func plains(words []string) (all [][]byte) {
	for _, word := range words {
		all = append(all, plain(word))
	}
	return all
}

// word gives the one word that stands for bytes.
func word(from []byte) string {
	if len(from) == 0 {
		return `""`
	}
	if len(from) > 16 && bytes.Count(from, from[:1]) == len(from) {
		return fmt.Sprintf("@%d*%02X", len(from), from[0])
	}
	var to strings.Builder
	for _, b := range from {
		if b > ' ' && b <= '~' && b != '%' {
			to.WriteByte(b)
		} else {
			fmt.Fprintf(&to, "%%%02X", b)
		}
	}
	return to.String()
}

// lines gives the lines of a text, each as a word.
func lines(text []byte) string {
	var words []string
	for _, line := range bytes.Split(text, []byte("\n")) {
		if len(line) > 0 {
			words = append(words, word(line))
		}
	}
	return list(words)
}

// text is what these lines stand for.
func text(lines []string) (to []byte) {
	for _, line := range lines {
		to = append(append(to, plain(line)...), '\n')
	}
	return to
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

func expiry(word string) kv.Expiry {
	switch kind, ms, _ := strings.Cut(word, ":"); kind {
	case "default":
		return kv.ExpireDefault
	case "never":
		return kv.ExpireNever
	case "keep":
		return kv.ExpireKeep
	case "after":
		return kv.ExpireAfter(milliseconds(ms))
	case "at":
		return kv.ExpireAt(time.UnixMilli(int64(number(ms))))
	}
	panic(word + " is no expiry")
}

func milliseconds(word string) time.Duration { return time.Duration(number(word)) * time.Millisecond }

func format(word string) kv.Format {
	switch word {
	case "ndjson":
		return kv.FormatNDJSON
	case "json":
		return kv.FormatJSON
	case "csv":
		return kv.FormatCSV
	case "resp":
		return kv.FormatRESP
	}
	panic(word + " is no format")
}
