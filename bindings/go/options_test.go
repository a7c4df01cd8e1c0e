package kv_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func TestEveryOptionIsTaken(t *testing.T) {
	dir := t.TempDir()
	var clock = clockAt(1_000_000)
	db, err := kv.Open(dir,
		kv.WithMode(kv.ModeCreate), kv.WithSync(kv.SyncAlways), kv.WithSegmentBytes(1<<20), kv.WithValueBytesMax(1000),
		kv.WithDefaultTTL(time.Minute), kv.WithCompression(3, 100), kv.WithRecover(kv.RecoverStrict),
		kv.WithBackground(false), kv.WithListenerQueue(10), kv.WithListener(func(kv.Event) {}),
		kv.WithLogger(func(string) {}), kv.WithClock(clock), kv.WithOption("sync", "100ms"))
	ok(t, err)
	fails(t, db.Set([]byte("k"), make([]byte, 1001)), kv.ErrValueTooLong)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ttl, err := db.TTL([]byte("k"))
	ok(t, err)
	same(t, ttl, time.Minute)
	ok(t, clock.Advance(time.Second))
	ttl, err = db.TTL([]byte("k"))
	ok(t, err)
	same(t, ttl, 59*time.Second)
	_, err = kv.Open(dir)
	fails(t, err, kv.ErrLocked)
	ok(t, db.Pause())
	ok(t, db.Resume())
	now, err := db.Now()
	ok(t, err)
	same(t, now, time.UnixMilli(1_001_000))
	ok(t, db.Close())

	db, err = kv.Open(dir, kv.WithMode(kv.ModeReadOnly))
	ok(t, err)
	fails(t, db.Set([]byte("k"), nil), kv.ErrReadOnly)
	ok(t, db.Close())
}

func TestWhatNoOptionTakesIsRefusedWithItsName(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		option kv.Option
		with   error
	}{
		{kv.WithOption("sinc", "always"), kv.ErrInvalidOption},
		{kv.WithOption("sync", "sometimes"), kv.ErrInvalidOption},
		{kv.WithOption("sync\x00", "always"), kv.ErrInvalidArgument},
		{kv.WithSync(kv.SyncEvery(0)), kv.ErrInvalidOption},
		{kv.WithSegmentBytes(1), kv.ErrInvalidOption},
		{kv.WithCompression(100, 0), kv.ErrInvalidOption},
		{kv.WithMode(kv.Mode(9)), kv.ErrInvalidArgument},
		{kv.WithListener(nil), kv.ErrInvalidArgument},
		{kv.WithLogger(nil), kv.ErrInvalidArgument},
		{kv.WithWeigher(nil), kv.ErrInvalidArgument},
		{kv.WithWeigher(func(_, _ []byte) uint32 { return 1 }), kv.ErrInvalidOption},
		{kv.WithClock(nil), kv.ErrInvalidArgument},
	} {
		// The listener before it must be let go of.
		_, err := kv.Open(missing, kv.WithListener(func(kv.Event) {}), c.option)
		fails(t, err, c.with)
	}
	_, err := kv.Open(missing, kv.WithMode(kv.ModeMustExist))
	fails(t, err, kv.ErrNotAStore)
	_, err = kv.Open("a\x00b")
	fails(t, err, kv.ErrInvalidArgument)
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Fatal("a refused open has made something")
	}
}

func TestBackupVerifyAndSalvageFindWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	from, backup, salvaged := filepath.Join(dir, "from"), filepath.Join(dir, "backup"), filepath.Join(dir, "salvaged")
	db, err := kv.Open(from)
	ok(t, err)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ok(t, db.Backup(ctx, backup))
	fails(t, db.Backup(ctx, backup), kv.ErrNotAStore)
	ok(t, db.Close())

	report, err := kv.Verify(ctx, backup)
	ok(t, err)
	same(t, report.Entries, 1)
	same(t, len(report.Damage), 0)
	report, err = kv.Salvage(ctx, backup, salvaged)
	ok(t, err)
	same(t, report.Salvaged, 1)
	copied, err := kv.Open(salvaged)
	ok(t, err)
	holdsValue(t, copied, "k", "v")
	ok(t, copied.Close())

	damage(t, backup)
	report, err = kv.Verify(ctx, backup)
	ok(t, err)
	same(t, len(report.Damage), 1)
	if report.Damage[0].Path == "" || report.Damage[0].Reason == "" {
		t.Fatalf("%+v", report.Damage)
	}
	unread, err := kv.Open(backup)
	ok(t, err)
	_, err = unread.Get([]byte("k"))
	fails(t, err, kv.ErrCorrupt)
	ok(t, unread.Close())
	lines := make(chan string, 100)
	db, err = kv.Open(backup, kv.WithRecover(kv.RecoverSalvage), kv.WithLogger(func(line string) { lines <- line }))
	ok(t, err)
	places, err := db.Damage()
	ok(t, err)
	same(t, len(places), 1)
	ok(t, db.Close())
	if len(lines) == 0 {
		t.Fatal("the logger heard nothing of the damage")
	}
	_, err = kv.Verify(ctx, filepath.Join(dir, "missing"))
	fails(t, err, kv.ErrNotAStore)
}

// damage changes the value of the store's only record.
func damage(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	ok(t, err)
	changed := 0
	for _, file := range files {
		const header = 4096 // The first record stands behind the segment's header.
		bytes, err := os.ReadFile(file)
		ok(t, err)
		if len(bytes) > header+33 && bytes[header+32] == 'k' && bytes[header+33] == 'v' {
			bytes[header+33] = 'w'
			ok(t, os.WriteFile(file, bytes, 0o600))
			changed++
		}
	}
	same(t, changed, 1)
}
