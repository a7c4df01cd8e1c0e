package kv

// #include "kvgo.h"
// #cgo noescape kvgo_scan_open
// #cgo nocallback kvgo_scan_open
// #cgo noescape kvgo_scan_next
// #cgo nocallback kvgo_scan_next
// #cgo noescape kv_scan_free
// #cgo nocallback kv_scan_free
import "C"

import (
	"iter"
	"runtime"
	"time"
)

// ScanOptions says which entries a scan gives. The zero value means: all, in no order.
type ScanOptions struct {
	// Prefix: only keys that begin with this.
	Prefix []byte
	// Start: only this key and those behind it, in bytewise order, which is then the scan's.
	Start []byte
	// End: only keys before this one, in bytewise order, which is then the scan's. An empty one counts as none; one that is not
	// behind the start leaves nothing.
	End []byte
	// Limit: at most so many; 0: all.
	Limit uint64
	// Ordered: bytewise by key.
	Ordered bool
	// Reverse: bytewise by key, the last first.
	Reverse bool
	// Snapshot: all entries as of one moment, at which the scan begins: every write that was acknowledged before, and none that
	// began after it. Takes a walk before it begins, and eight bytes an entry; the entries' segments, whose space compaction cannot
	// give back, stay as long as the scan. Waits for writes that are under way, not for pins.
	Snapshot bool
}

// Entry is what a scan found.
type Entry struct {
	Key, Value []byte
	Version    uint64
	// ExpiresAt is the zero time for an entry that does not expire.
	ExpiresAt time.Time
	// Codec is the one that wrote the value.
	Codec Tag
}

// scanPortion is how many entries cross at a time.
const scanPortion = 256

// Scan walks over entries. A key that is there and unchanged throughout appears exactly once; each value is as of the moment it is
// reached, or with Snapshot all are as of one. An error comes last, with an empty entry. Each range over the sequence is a scan of its
// own. In no order it costs a walk over the index, as the scan goes on; in order it collects the keys that match before it begins,
// and sorts as many as are asked for; in a store with the option ordered_index it begins at once, in order or by prefix, and costs
// what it gives. The store may be changed, and closed, meanwhile.
func (db *Db) Scan(options ScanOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		// A store that is referred to from here alone must stay open until the end.
		defer runtime.KeepAlive(db)
		scan, err := db.scanOpen(options)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer C.kv_scan_free(scan)
		for {
			entries, err := scanNext(scan)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if len(entries) == 0 {
				return
			}
			for _, entry := range entries {
				if !yield(entry, nil) {
					return
				}
			}
		}
	}
}

func (db *Db) scanOpen(o ScanOptions) (*C.kv_scan, error) {
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_scan_open(native, data(o.Prefix), size(o.Prefix), data(o.Start), size(o.Start), data(o.End), size(o.End),
		C.size_t(o.Limit), number(o.Ordered), number(o.Reverse), number(o.Snapshot))
	return (*C.kv_scan)(answer.data), check(answer)
}

// scanNext copies the next entries; their keys and values share one piece of memory.
func scanNext(scan *C.kv_scan) ([]Entry, error) {
	answer := C.kvgo_scan_next(scan, scanPortion)
	if answer.status != C.KV_OK {
		return nil, check(answer)
	}
	found := view[C.kv_entry](answer.data, answer.len)
	total := 0
	for _, entry := range found {
		total += int(entry.key.len + entry.value.len)
	}
	room := make([]byte, 0, total)
	copied := func(slice C.kv_slice) []byte {
		begin := len(room)
		room = append(room, view[byte](slice.data, slice.len)...)
		return room[begin:len(room):len(room)]
	}
	entries := make([]Entry, len(found))
	for at, entry := range found {
		entries[at] = Entry{Key: copied(entry.key), Value: copied(entry.value), Version: uint64(entry.version), Codec: Tag(entry.codec)}
		if entry.expires_at_ms > 0 {
			entries[at].ExpiresAt = unixTime(entry.expires_at_ms)
		}
	}
	return entries, nil
}
