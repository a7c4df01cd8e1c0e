package kv_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	kv "github.com/libkv/libkv/bindings/go"
)

type kind int

const (
	get kind = iota
	getVersion
	set
	add
	replace
	increment
	compareAndSwap
	remove
	take
	kinds
)

type input struct {
	kind    kind
	key     string
	value   string
	version uint64
}

type output struct {
	value   string
	version uint64
	// A value was there, or a condition held.
	held bool
	err  error
}

// entry is the state of a key. Operations that do not tell the version which they gave leave it unknown.
type entry struct {
	isThere bool
	value   string
	version uint64
}

const unknown = 0

func (e entry) mayHave(version uint64) bool {
	return e.isThere && (e.version == version || e.version == unknown)
}

// step is what a key does, one operation at a time.
func step(e entry, in input, out output) (possible bool, next entry) {
	switch in.kind {
	case get:
		return out.held == e.isThere && (!e.isThere || out.value == e.value), e
	case getVersion:
		if !out.held || !e.isThere {
			return out.held == e.isThere, e
		}
		return e.mayHave(out.version), entry{true, e.value, out.version}
	case set:
		return out.held, entry{true, in.value, out.version}
	case add:
		if e.isThere {
			return !out.held, e
		}
		return out.held, entry{true, in.value, unknown}
	case replace:
		if !e.isThere {
			return !out.held, e
		}
		return out.held, entry{true, in.value, unknown}
	case increment:
		sum := 1
		if e.isThere {
			n, _ := strconv.Atoi(e.value)
			sum += n
		}
		text := strconv.Itoa(sum)
		return out.value == text, entry{true, text, unknown}
	case compareAndSwap:
		if out.held {
			return e.mayHave(in.version), entry{true, in.value, out.version}
		}
		return !e.isThere || e.version == unknown || e.version != in.version, e
	case remove:
		return out.held == e.isThere, entry{}
	case take:
		return out.held == e.isThere && (!e.isThere || out.value == e.value), entry{}
	}
	panic("unknown operation")
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byKey := map[string][]porcupine.Operation{}
		for _, operation := range history {
			key := operation.Input.(input).key
			byKey[key] = append(byKey[key], operation)
		}
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return entry{} },
	Step: func(state, in, out any) (bool, any) { return step(state.(entry), in.(input), out.(output)) },
}

func perform(db *kv.Db, in input) (out output) {
	key, value := []byte(in.key), []byte(in.value)
	var bytes []byte
	switch in.kind {
	case get:
		bytes, out.err = db.Get(key)
		out.held = out.err == nil
	case getVersion:
		out.version, out.err = db.Version(key)
		out.held = out.err == nil
	case set:
		out.version, out.err = db.SetWith(key, value, kv.SetOptions{})
		out.held = true
	case add:
		out.held, out.err = db.Add(key, value)
	case replace:
		out.held, out.err = db.Replace(key, value)
	case increment:
		var sum int64
		sum, out.err = db.Increment(key, 1)
		bytes = strconv.AppendInt(nil, sum, 10)
	case compareAndSwap:
		out.version, out.err = db.CompareAndSwap(key, in.version, value)
		out.held = out.err == nil
	case remove:
		out.held, out.err = db.Delete(key)
	case take:
		bytes, out.err = db.Take(key)
		out.held = out.err == nil
	}
	if errors.Is(out.err, kv.ErrNotFound) || errors.Is(out.err, kv.ErrNotMet) {
		out.err = nil
	}
	out.value = string(bytes)
	return out
}

// history runs goroutines against a few keys and gives what they saw.
func history(db *kv.Db, random *rand.Rand, round int) (all []porcupine.Operation) {
	const perGoroutine, keys = 30, 2
	goroutines := 4 + random.IntN(5)
	seen := make([][]porcupine.Operation, goroutines)
	var done sync.WaitGroup
	begin := time.Now()
	for client := range goroutines {
		random := rand.New(rand.NewPCG(random.Uint64(), uint64(client)))
		done.Go(func() {
			known := map[string]uint64{}
			for range perGoroutine {
				in := input{kind: kind(random.IntN(int(kinds))), key: fmt.Sprintf("%d:%d", round, random.IntN(keys))}
				in.value = strconv.Itoa(random.IntN(1000))
				if in.version = known[in.key]; in.kind == compareAndSwap && in.version == 0 {
					in.kind = getVersion
				}
				operation := porcupine.Operation{ClientId: client, Input: in, Call: time.Since(begin).Nanoseconds()}
				out := perform(db, in)
				operation.Return = time.Since(begin).Nanoseconds()
				operation.Output = out
				if out.version != 0 {
					known[in.key] = out.version
				}
				seen[client] = append(seen[client], operation)
			}
		})
	}
	done.Wait()
	for _, some := range seen {
		all = append(all, some...)
	}
	return all
}

func seed(t *testing.T) uint64 {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KV_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		ok(t, err)
	}
	t.Logf("KV_SEED=%d", seed)
	return seed
}

// scale is how often something is done, unless the environment says otherwise.
func scale(t *testing.T, name string, times int) int {
	if text := os.Getenv(name); text != "" {
		var err error
		times, err = strconv.Atoi(text)
		ok(t, err)
	}
	return times
}

func TestOperationsOfOneKeyAreLinearizable(t *testing.T) {
	random := rand.New(rand.NewPCG(seed(t), 0))
	// Small segments, so that the log rolls and is compacted meanwhile.
	db := onDisk(t, kv.WithSegmentBytes(64<<10), kv.WithSync(kv.SyncNever))
	for round := range scale(t, "KV_HISTORIES", 300) {
		ok(t, db.Set([]byte("ballast"), make([]byte, 10_000)))
		all := history(db, random, round)
		for _, operation := range all {
			ok(t, operation.Output.(output).err)
		}
		if result := porcupine.CheckOperationsTimeout(model, all, time.Minute); result != porcupine.Ok {
			for _, o := range all {
				t.Logf("%d: %d to %d: %+v gives %+v", o.ClientId, o.Call, o.Return, o.Input, o.Output)
			}
			t.Fatalf("round %d is %s", round, result)
		}
	}
}

// A checker that finds nothing wrong would prove nothing.
func TestTheCheckerFindsWhatIsNotLinearizable(t *testing.T) {
	wrong := map[string][]porcupine.Operation{
		"a stale read": {
			{Input: input{kind: set, key: "k", value: "1"}, Output: output{held: true, version: 5}, Call: 0, Return: 1},
			{Input: input{kind: get, key: "k"}, Output: output{}, Call: 2, Return: 3},
		},
		"a lost increment": {
			{ClientId: 0, Input: input{kind: increment, key: "k"}, Output: output{value: "1"}, Call: 0, Return: 3},
			{ClientId: 1, Input: input{kind: increment, key: "k"}, Output: output{value: "1"}, Call: 1, Return: 2},
		},
		"two swaps of one version": {
			{Input: input{kind: set, key: "k", value: "1"}, Output: output{held: true, version: 5}, Call: 0, Return: 1},
			{Input: input{kind: compareAndSwap, key: "k", version: 5}, Output: output{held: true, version: 6}, Call: 2, Return: 3},
			{Input: input{kind: compareAndSwap, key: "k", version: 5}, Output: output{held: true, version: 7}, Call: 4, Return: 5},
		},
	}
	for name, history := range wrong {
		if porcupine.CheckOperations(model, history) {
			t.Errorf("%s is not found", name)
		}
	}
}
