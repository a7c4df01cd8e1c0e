package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func (c *testCase) version(word string) uint64 {
	if name, isSaved := strings.CutPrefix(word, "$"); isSaved {
		version, found := c.versions[name]
		if !found {
			panic(word + " was not saved")
		}
		return version
	}
	return number(word)
}

func (c *testCase) condition(word string) kv.Condition {
	switch kind, version, _ := strings.Cut(word, ":"); kind {
	case "always":
		return kv.Always
	case "if_absent":
		return kv.IfAbsent
	case "if_present":
		return kv.IfPresent
	case "if_version":
		return kv.IfVersion(c.version(version))
	}
	panic(word + " is no condition")
}

// save keeps a version under the name that is expected, and gives the answer.
func (c *testCase) save(expected string, version uint64) string {
	if name, saves := strings.CutPrefix(expected, "$"); saves {
		c.versions[name] = version
		return expected
	}
	return strconv.FormatUint(version, 10)
}

// answer does what a line says; expected names where a version is saved.
func (c *testCase) answer(words []string, expected string) string {
	args := words[1:]
	switch words[0] {
	case "option":
		option := kv.WithOption(args[0], c.setting(args[1]))
		if args[1] == "$mirror" || strings.HasPrefix(args[0], "tier_") {
			c.options = append(c.options, option)
			return "ok"
		}
		// A store that is opened with it alone tells whether it is accepted; one with a mirror would take that, and a tier
		// needs all of its options.
		db, err := kv.OpenInMemory(option)
		if err == nil {
			c.options = append(c.options, option)
			err = db.Close()
		}
		return answered("ok", err)
	case "redis_up":
		c.redis.up()
		return "ok"
	case "redis_down":
		c.redis.down()
		return "ok"
	case "redis":
		return c.redis.ask(plains(args))
	case "listen":
		c.told = make(chan kv.Event, 1024)
		return "ok"
	case "events":
		return c.events(int(number(args[0])))
	case "open":
		return answered("ok", c.open(true))
	case "open_in_memory":
		return answered("ok", c.open(false))
	case "reopen":
		must(c.db.Close())
		return answered("ok", c.open(true))
	case "advance":
		must(c.clock.Advance(milliseconds(args[0])))
		c.nowMs += number(args[0])
		return ""
	case "verify":
		report, err := kv.Verify(context.Background(), c.path)
		if len(report.Damage) > 0 {
			return "damaged"
		}
		return answered("ok", err)
	case "version":
		version, err := c.db.Version(plain(args[0]))
		return answered(c.save(expected, version), err)
	case "position":
		return c.save(expected, c.watch.Position())
	case "write_mirror":
		must(os.WriteFile(c.mirror(), text(args), 0o600))
		return "ok"
	case "mirror":
		content, err := os.ReadFile(c.mirror())
		must(err)
		return lines(content)
	}
	if c.db == nil {
		panic(words[0] + " before open")
	}
	if given, isKnown := c.useSession(words[0], args); isKnown {
		return given
	}
	if given, isKnown, err := c.useCodec(words[0], args); isKnown {
		return answered(given, err)
	}
	if given, isKnown, err := c.useTier(words[0], args); isKnown {
		return answered(given, err)
	}
	given, err := c.operate(words[0], args)
	return answered(given, err)
}

func (c *testCase) operate(operation string, args []string) (string, error) {
	db, ctx := c.db, context.Background()
	var key []byte
	if len(args) > 0 {
		key = plain(args[0])
	}
	switch operation {
	case "close":
		return "ok", db.Close()
	case "get":
		value, err := db.GetAppend(nil, key)
		return word(value), err
	case "get_small":
		value, err := db.Get(key)
		if uint64(len(value)) > number(args[1]) {
			return fmt.Sprintf("too_small %d", len(value)), nil
		}
		return word(value), err
	case "get_owned":
		value, err := db.GetOwned(key)
		return word(value), err
	case "get_pinned":
		given := ""
		err := db.Pinned(func(pin *kv.Pin) error {
			value, err := pin.Get(key)
			given = word(value)
			return err
		})
		return given, err
	case "contains":
		return truth(db.Contains(key))
	case "ttl":
		ttl, err := db.TTL(key)
		if ttl == kv.TTLNever {
			return "never", err
		}
		return count(ttl.Milliseconds(), err)
	case "ttl_between":
		ttl, err := db.TTL(key)
		return strconv.FormatBool(milliseconds(args[1]) <= ttl && ttl <= milliseconds(args[2])), err
	case "len":
		return count(db.Len())
	case "set":
		return "ok", db.Set(key, plain(args[1]))
	case "set_with":
		options := kv.SetOptions{Condition: c.condition(args[2]), Expiry: expiry(args[3])}
		_, err := db.SetWith(key, plain(args[1]), options)
		return "ok", err
	case "add":
		return truth(db.Add(key, plain(args[1])))
	case "replace":
		return truth(db.Replace(key, plain(args[1])))
	case "compare_and_swap":
		_, err := db.CompareAndSwap(key, c.version(args[1]), plain(args[2]))
		return "ok", err
	case "increment":
		by, err := strconv.ParseInt(args[1], 10, 64)
		must(err)
		return count(db.Increment(key, by))
	case "expire":
		return truth(db.Expire(key, milliseconds(args[1])))
	case "expire_at":
		return truth(db.ExpireAt(key, time.UnixMilli(int64(number(args[1])))))
	case "touch":
		return truth(db.Touch(key))
	case "persist":
		return truth(db.Persist(key))
	case "take":
		value, err := db.Take(key)
		return word(value), err
	case "delete":
		return truth(db.Delete(key))
	case "get_many":
		values, err := db.GetMany(plains(args))
		return many(values), err
	case "set_many":
		var pairs []kv.Pair
		for at := 0; at < len(args); at += 2 {
			pairs = append(pairs, kv.Pair{Key: plain(args[at]), Value: plain(args[at+1])})
		}
		return "ok", db.SetMany(pairs)
	case "delete_many":
		return count(db.DeleteMany(plains(args)))
	case "apply":
		return "ok", db.Apply(batch(args))
	case "get_or_load":
		value, err := db.GetOrLoad(ctx, key, kv.ExpireDefault, loader(args[1]))
		return word(value), err
	case "get_or_load_with":
		value, err := db.GetOrLoadWith(ctx, key, loadOptions(args[2:]), loader(args[1]))
		return word(value), err
	case "await":
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			value, err := db.Get(key)
			if now := answered(word(value), err); now == args[1] {
				return "ok", nil
			}
			if time.Now().After(deadline) {
				return "late", nil
			}
		}
	case "scan", "range":
		options := kv.ScanOptions{Prefix: key, Ordered: true}
		if operation == "scan" {
			options.Limit = number(args[1])
		} else {
			oneOf(args[4], "forward", "reverse", "snapshot", "reverse+snapshot")
			options = kv.ScanOptions{
				Prefix: key, Start: plain(args[1]), End: plain(args[2]), Limit: number(args[3]),
				Reverse: strings.Contains(args[4], "reverse"), Snapshot: strings.Contains(args[4], "snapshot"),
			}
		}
		var words []string
		for entry, err := range db.Scan(options) {
			if err != nil {
				return "", err
			}
			words = append(words, word(entry.Key)+"="+word(entry.Value))
		}
		return list(words), nil
	case "export":
		var text bytes.Buffer
		_, err := db.ExportTo(ctx, &text, format(args[0]), kv.ScanOptions{Prefix: plain(args[1]), Ordered: true})
		return lines(text.Bytes()), err
	case "import":
		done, err := db.ImportFrom(ctx, bytes.NewReader(text(args[1:])), format(args[0]))
		return count(done.Entries, err)
	case "fill":
		for n := range uint32(number(args[0])) {
			value := fmt.Sprintf("name: package-%d; section: libs; priority: optional; sum: %d", n, n*2654435761)
			must(db.Set([]byte(strconv.Itoa(int(n))), []byte(value)))
		}
		return "ok", nil
	case "watch":
		options := kv.WatchOptions{Prefix: key}
		if args[1] == "0" {
			options.All = true
		} else if args[1] != "now" {
			options.After = c.version(args[1])
		}
		watch, err := db.Watch(options)
		if err == nil {
			c.watch = watch
		}
		return "ok", err
	case "changes":
		return c.changes()
	case "clear":
		return "ok", db.Clear(ctx)
	case "sweep":
		return "ok", db.Sweep(ctx)
	case "sync":
		return "ok", db.Sync(ctx)
	case "compact":
		return "ok", db.Compact(ctx)
	case "now":
		now, err := db.Now()
		return count(now.UnixMilli(), err)
	case "figure":
		return count(db.Figure(args[0]))
	}
	panic(operation + " is no operation")
}

func many(values [][]byte) string {
	var words []string
	for _, value := range values {
		if value == nil {
			words = append(words, "-")
		} else {
			words = append(words, word(value))
		}
	}
	return list(words)
}

// causes are the words of the script.
var causes = map[kv.Cause]string{
	kv.CauseDeleted: "deleted", kv.CauseExpired: "expired", kv.CauseEvicted: "evicted", kv.CauseReplaced: "replaced",
}

// events is what the listener was told, once it is so many.
func (c *testCase) events(count int) string {
	var words []string
	for late := time.After(time.Minute); ; {
		var event kv.Event
		if len(words) < count {
			select {
			case event = <-c.told:
			case <-late:
				return list(words)
			}
		} else {
			select {
			case event = <-c.told:
			default:
				return list(words)
			}
		}
		words = append(words, word(event.Key)+"="+word(event.Value)+":"+event.Codec.String()+":"+causes[event.Cause])
	}
}

// changes is what there is to tell by now.
func (c *testCase) changes() (string, error) {
	var words []string
	for {
		change, isThere, err := c.watch.TryNext()
		switch {
		case errors.Is(err, kv.ErrLagged):
			words = append(words, "lagged")
		case err != nil || !isThere:
			return list(words), err
		case change.Kind == kv.ChangePut:
			words = append(words, "put:"+word(change.Key)+"="+word(change.Value))
		case change.Kind == kv.ChangeRemoved:
			words = append(words, "removed:"+word(change.Key)+":"+causes[change.Cause])
		default:
			words = append(words, "cleared")
		}
	}
}

func truth(is bool, err error) (string, error) { return strconv.FormatBool(is), err }

func count[N int | int64 | uint64](n N, err error) (string, error) { return fmt.Sprint(n), err }

func loader(loaded string) kv.Loader {
	return func(context.Context, []byte) ([]byte, error) {
		switch loaded {
		case "-":
			return nil, kv.ErrNotFound
		case "!":
			return nil, errors.New("it fails")
		}
		return plain(loaded), nil
	}
}

func loadOptions(words []string) (options kv.LoadOptions) {
	for _, word := range words {
		name, figure, _ := strings.Cut(word, ":")
		n, err := strconv.ParseFloat(figure, 64)
		must(err)
		switch period := time.Duration(n) * time.Millisecond; name {
		case "ttl":
			options.TTL = period
		case "fresh_for":
			options.FreshFor = period
		case "early":
			options.Early = n
		case "absent_for":
			options.AbsentFor = period
		case "lease":
			options.Lease = period
		default:
			panic(word + " is no option")
		}
	}
	return options
}

func batch(changes []string) *kv.Batch {
	b := new(kv.Batch)
	for _, change := range changes {
		parts := strings.SplitN(change, ":", 4)
		switch {
		case parts[0] == "set" && len(parts) == 4:
			b.SetExpiring(plain(parts[1]), plain(parts[2]), expiry(parts[3]))
		case parts[0] == "delete" && len(parts) == 2:
			b.Delete(plain(parts[1]))
		default:
			panic(change + " is no change")
		}
	}
	return b
}
