package kv

// #include "kvgo.h"
// #cgo noescape kvgo_flush
// #cgo nocallback kvgo_flush
// #cgo noescape kvgo_tier_stats_json
// #cgo nocallback kvgo_tier_stats_json
// #cgo noescape kvgo_tier_stats_prometheus
// #cgo nocallback kvgo_tier_stats_prometheus
import "C"

import (
	"context"
	"strconv"
	"time"
)

// WithTierURL shares the store's entries through a Redis, as docs/tier.md says:
// redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], the same with rediss:// for TLS, redis+unix:///PATH, redis+sentinel://… or
// redis-cluster://…. Reads of keys that the store does not have then wait for
// Redis' answer, and may give [ErrTier]. The other options of the tier need this one.
func WithTierURL(url string) Option { return WithOption("tier_url", url) }

// WithTierUsername is the user of the server's access list, in place of the URL's.
func WithTierUsername(name string) Option { return WithOption("tier_username", name) }

// WithTierPassword is the password, in place of the URL's.
func WithTierPassword(password string) Option { return WithOption("tier_password", password) }

// WithTierDatabase is the number of the database, in place of the URL's.
func WithTierDatabase(number int64) Option {
	return WithOption("tier_database", strconv.FormatInt(number, 10))
}

// WithTierPrefix is what stands before each key in Redis. Stores that share a prefix share their entries.
func WithTierPrefix(prefix string) Option { return WithOption("tier_prefix", prefix) }

// WithTierShards divides the store's keys into as many parts, 1 to 64, so that the nodes of a cluster share them. With more than one a
// key stands in Redis as {PREFIXN}KEY, where N is its slot (CLUSTER KEYSLOT KEY) modulo the number. All stores that share a prefix need the
// same number. The default is 1.
func WithTierShards(count int) Option { return WithOption("tier_shards", strconv.Itoa(count)) }

// Writes says what becomes of changes in a store with a tier.
type Writes string

const (
	// WritesBehind: acknowledged at once and sent in the background, also after a crash or a month offline. The default.
	WritesBehind Writes = "behind"
	// WritesThrough: the call returns when Redis has it, or with [ErrTier] after the timeout; it stands in the store then, and is
	// still sent.
	WritesThrough Writes = "through"
	// WritesRefused: refused with [ErrReadOnly]; the store only follows.
	WritesRefused Writes = "refused"
)

// WithTierWrites says what becomes of changes.
func WithTierWrites(writes Writes) Option { return WithOption("tier_writes", string(writes)) }

// WithTierReads says whether a read that finds nothing asks Redis, which is the default.
func WithTierReads(reads bool) Option { return WithOption("tier_reads", strconv.FormatBool(reads)) }

// Fresh says what becomes of copies of what others wrote while their changes cannot be heard.
type Fresh string

const (
	// FreshNone: changes by others are not listened for; a copy stays until its time is over. The default.
	FreshNone Fresh = "none"
	// FreshDrop: copies are dropped, and none are kept until changes are heard again: reads ask Redis, or fail.
	FreshDrop Fresh = "drop"
	// FreshKeep: copies are served on, however old, and compared with Redis when changes are heard again.
	FreshKeep Fresh = "keep"
)

// WithTierFresh lets Redis tell of changes by others, so that copies of what they change are dropped within moments.
func WithTierFresh(whenDeaf Fresh) Option { return WithOption("tier_fresh", string(whenDeaf)) }

// WithTierUnreachableIsMiss says whether a read that would have asked a Redis that cannot be asked finds nothing instead of
// failing. It does not by default.
func WithTierUnreachableIsMiss(isMiss bool) Option {
	return WithOption("tier_unreachable_is_miss", strconv.FormatBool(isMiss))
}

// WithTierTimeout is how long a read that asks Redis, a write through, and any answer of Redis may take. The default is a second.
func WithTierTimeout(timeout time.Duration) Option {
	return WithOption("tier_timeout", durationText(timeout))
}

// WithTierBackoffMax is the longest pause between attempts to reach Redis. The default is five seconds.
func WithTierBackoffMax(pause time.Duration) Option {
	return WithOption("tier_backoff_max", durationText(pause))
}

// WithTierUnsentDeletesMax is, of a store in memory, how many deletes and expiries may wait for Redis; while more do, changes give
// [ErrTier]. The default is 1000000. Of several shards each has an equal share, and changes of its keys alone are refused.
func WithTierUnsentDeletesMax(deletes uint64) Option {
	return WithOption("tier_unsent_deletes_max", strconv.FormatUint(deletes, 10))
}

// WithTierCodec says which codec wrote what comes from Redis, where no tags are: that of the typed stores which share it. Without this it
// counts as raw bytes.
func WithTierCodec(codec Tag) Option { return WithOption("tier_codec", codec.String()) }

// WithTierCAFile names the certificates of the authorities that may vouch for the server of a rediss:// URL, as a PEM file, in
// place of the system's. It is read at open.
func WithTierCAFile(path string) Option { return WithOption("tier_ca_file", path) }

// WithTierClientCertificate names the certificate that says who this client is, with those that vouch for it, and its key, as PEM
// files. They are read at open.
func WithTierClientCertificate(certificate, key string) Option {
	return func(o *options) error {
		if err := WithOption("tier_client_certificate", certificate)(o); err != nil {
			return err
		}
		return WithOption("tier_client_key", key)(o)
	}
}

func durationText(d time.Duration) string {
	return strconv.FormatUint(uint64(milliseconds(d)), 10) + "ms"
}

// Flush waits until Redis has acknowledged every change that was made before this call, for timeout at most: then it gives
// [ErrTier] with what keeps Redis from it, and the changes are still sent. Without a tier there is nothing to wait for.
func (db *Db) Flush(ctx context.Context, timeout time.Duration) error {
	ms := milliseconds(timeout)
	return db.wait(ctx, func(native C.uintptr_t) C.kvgo_answer { return C.kvgo_flush(native, ms) })
}

// TierStats are figures of a store's tier, as of about one moment. Counts begin at open.
type TierStats struct {
	// UnsentKeys: keys whose change Redis has not acknowledged.
	UnsentKeys uint64 `json:"unsent_keys"`
	// UnsentBytes of log hold those changes, the ones that were overtaken included.
	UnsentBytes uint64 `json:"unsent_bytes"`
	// UnsentFor: for how long at most a change has waited; 0 when none does.
	UnsentFor time.Duration `json:"-"`
	// UnsentDeletes: deletes and expiries that are kept because Redis was not told of them.
	UnsentDeletes uint64 `json:"unsent_deletes"`
	// SentKeys: each change that was coalesced into one counted once.
	SentKeys uint64 `json:"sent_keys"`
	// Batches: transactions that they were sent in.
	Batches uint64 `json:"batches"`
	// Fetches: reads that asked Redis.
	Fetches uint64 `json:"fetches"`
	// Hears: whether changes by others are heard.
	Hears bool `json:"hears"`
	// Failures: attempts to send that failed.
	Failures uint64 `json:"failures"`
	// Failing: why the last of them did; empty once one has succeeded.
	Failing string `json:"failing"`
}

// TierStats gives the figures of the tier; nil for a store without one. It reads the part of the log that Redis has not
// acknowledged.
func (db *Db) TierStats() (*TierStats, error) {
	call, native := db.enter()
	defer db.leave(call)
	text, err := ownedText(C.kvgo_tier_stats_json(native))
	if err != nil {
		return nil, err
	}
	found, err := parsed[*struct {
		TierStats
		UnsentForMs uint64 `json:"unsent_for_ms"`
	}](text)
	if err != nil || found == nil {
		return nil, err
	}
	found.UnsentFor = duration(C.uint64_t(found.UnsentForMs))
	return &found.TierStats, nil
}

// TierStatsPrometheus gives the figures of the tier in Prometheus' text format, with names that begin with kv_tier_; nothing for a
// store without one.
func (db *Db) TierStatsPrometheus() (string, error) {
	call, native := db.enter()
	defer db.leave(call)
	return ownedText(C.kvgo_tier_stats_prometheus(native))
}
