package kv

// #include "kvgo.h"
// #cgo noescape kvgo_stats_get
// #cgo nocallback kvgo_stats_get
// #cgo noescape kvgo_stats_json
// #cgo nocallback kvgo_stats_json
// #cgo noescape kvgo_stats_prometheus
// #cgo nocallback kvgo_stats_prometheus
// #cgo noescape kvgo_damage_json
// #cgo nocallback kvgo_damage_json
// #cgo noescape kvgo_verify
// #cgo nocallback kvgo_verify
// #cgo noescape kvgo_salvage
// #cgo nocallback kvgo_salvage
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
)

// Stats gives all figures of the store by their names: entries, live_bytes, log_bytes, hits, misses and others. It costs a
// question to a thread of the store, as all of these do.
func (db *Db) Stats() (map[string]uint64, error) {
	text, err := db.StatsJSON()
	if err != nil {
		return nil, err
	}
	return parsed[map[string]uint64](text)
}

// Figure gives one figure of the store by its name.
func (db *Db) Figure(name string) (uint64, error) {
	cName, err := cText(name)
	if err != nil {
		return 0, err
	}
	call, native := db.enter()
	defer db.leave(call)
	answer := C.kvgo_stats_get(native, cName)
	return uint64(answer.number), check(answer)
}

// StatsJSON gives all figures of the store as one JSON object of names and numbers.
func (db *Db) StatsJSON() (string, error) {
	call, native := db.enter()
	defer db.leave(call)
	return ownedText(C.kvgo_stats_json(native))
}

// StatsPrometheus gives all figures of the store in Prometheus' text format, with names that begin with kv_.
func (db *Db) StatsPrometheus() (string, error) {
	call, native := db.enter()
	defer db.leave(call)
	return ownedText(C.kvgo_stats_prometheus(native))
}

// Damage is a place where a store's files are not what was written.
type Damage struct {
	Path   string `json:"path"`
	Offset uint64 `json:"offset"`
	Reason string `json:"reason"`
}

// Damage gives what could not be recovered at open: nothing unless [RecoverSalvage] or [ModeReadOnly] met damage.
func (db *Db) Damage() ([]Damage, error) {
	call, native := db.enter()
	defer db.leave(call)
	text, err := ownedText(C.kvgo_damage_json(native))
	if err != nil {
		return nil, err
	}
	return parsed[[]Damage](text)
}

// Report is what [Verify] and [Salvage] found.
type Report struct {
	// Entries that can be read.
	Entries uint64 `json:"entries"`
	// Segments that were read.
	Segments uint64 `json:"segments"`
	// Records found whole, overwritten ones included; a batch counts as one.
	Records uint64 `json:"records"`
	// Committed: those of them that were acknowledged, or could have been.
	Committed uint64 `json:"committed"`
	// LogBytes are the bytes of the segments.
	LogBytes uint64 `json:"log_bytes"`
	// LiveBytes are the bytes of the records that live.
	LiveBytes uint64 `json:"live_bytes"`
	// Damage: each place where the files are not what was written; empty in a sound store.
	Damage []Damage `json:"damage"`
	// Salvaged: entries that Salvage wrote to the new store.
	Salvaged uint64 `json:"salvaged"`
}

// Verify reads every record of the store in a directory and checks it, without writing anything; also of a store that another
// process has open, as of one moment. Damage is what it reports, not a failure. It costs what [Open] costs.
func Verify(ctx context.Context, path string) (Report, error) {
	cPath, err := cText(path)
	if err != nil {
		return Report{}, err
	}
	return waitFor(ctx, func() (Report, error) { return report(C.kvgo_verify(cPath)) })
}

// Salvage writes every entry of a store that is intact into a new store at a directory that is empty or does not exist; expiries
// stay. Where a delete or an overwrite was lost to the damage, what it hid comes back. What it wrote is on disk when it returns.
func Salvage(ctx context.Context, from, to string) (Report, error) {
	cFrom, err := cText(from)
	if err != nil {
		return Report{}, err
	}
	cTo, err := cText(to)
	if err != nil {
		return Report{}, err
	}
	return waitFor(ctx, func() (Report, error) { return report(C.kvgo_salvage(cFrom, cTo)) })
}

func report(answer C.kvgo_answer) (Report, error) {
	text, err := ownedText(answer)
	if err != nil {
		return Report{}, err
	}
	return parsed[Report](text)
}

// parsed reads a text of the library.
func parsed[T any](text string) (value T, err error) {
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return value, &Error{Status: ErrInternal, Message: fmt.Sprintf("the library's text %q: %v", text, err), cause: err}
	}
	return value, nil
}
