// Command bench measures what the Go host adds to the C ABI, as ratios within one run: `make bench-go`.
package main

/*
#cgo CFLAGS: -O2 -I${SRCDIR}/../..
#cgo LDFLAGS: ${SRCDIR}/../lib/libkv.a -lpthread -ldl -lm
#cgo noescape empty
#cgo nocallback empty
#include "libkv.h"
#include <stdio.h>
#include <time.h>

static void empty(void) {}

enum { KEYS = 1000, VALUE_BYTES = 100, KEY_BYTES = 16 };

static kv_db *filled(void) {
  kv_db *db = NULL;
  char key[KEY_BYTES + 1], value[VALUE_BYTES] = {0};
  if (kv_open_in_memory(NULL, &db, NULL) != KV_OK) return NULL;
  for (int at = 0; at < KEYS; at++) {
    snprintf(key, sizeof key, "key:%012d", at);
    if (kv_set(db, key, KEY_BYTES, value, sizeof value, NULL) != KV_OK) return NULL;
  }
  return db;
}

// Processor time of this thread: nothing here waits, so it is the time that passes on an idle machine.
static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e9 + now.tv_nsec;
}

// Nanoseconds of a kv_get, or a negative number when one failed.
static double c_get(const kv_db *db, const char *keys, int rounds) {
  char value[VALUE_BYTES];
  size_t len;
  double begin = now_ns();
  for (int round = 0; round < rounds; round++) {
    for (int at = 0; at < KEYS; at++) {
      kv_error *error = NULL;
      if (kv_get(db, keys + at * KEY_BYTES, KEY_BYTES, value, sizeof value, &len, &error) != KV_OK) return -1;
    }
  }
  return (now_ns() - begin) / ((double)rounds * KEYS);
}
*/
import "C"

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	kv "github.com/libkv/libkv/bindings/go"
)

const manyKeys = 100

func main() {
	repeats := flag.Int("repeats", 15, "how often each is measured, in turn")
	rounds := flag.Int("rounds", 200, "walks over all keys a measurement")
	flag.Parse()
	if err := run(*repeats, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// measure is what one operation costs in each repeat, in nanoseconds.
type measure struct {
	name   string
	run    func() error
	times  int
	native func() float64
	ns     []float64
}

func (m *measure) median() float64 {
	slices.Sort(m.ns)
	return m.ns[len(m.ns)/2]
}

func run(repeats, rounds int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	native := C.filled()
	if native == nil {
		return errors.New("no store")
	}
	defer C.kv_db_free(native)
	db, err := kv.OpenInMemory()
	if err != nil {
		return err
	}
	defer db.Close()
	var keys [][]byte
	var flat []byte
	for at := range C.KEYS {
		keys = append(keys, fmt.Appendf(nil, "key:%012d", at))
		flat = append(flat, keys[at]...)
		if err := db.Set(keys[at], make([]byte, C.VALUE_BYTES)); err != nil {
			return err
		}
	}

	buffer := make([]byte, 0, C.VALUE_BYTES)
	each := func(call func(key []byte) error) func() error {
		return func() error {
			for _, key := range keys {
				if err := call(key); err != nil {
					return err
				}
			}
			return nil
		}
	}
	empty := &measure{name: "empty cgo call", times: C.KEYS, run: each(func([]byte) error { C.empty(); return nil })}
	cGet := &measure{name: "C kv_get", native: func() float64 {
		return float64(C.c_get(native, (*C.char)(unsafe.Pointer(unsafe.SliceData(flat))), C.int(rounds)))
	}}
	getAppend := &measure{name: "Go GetAppend", times: C.KEYS, run: each(func(key []byte) error {
		_, err := db.GetAppend(buffer[:0], key)
		return err
	})}
	get := &measure{name: "Go Get", times: C.KEYS, run: each(func(key []byte) error {
		_, err := db.Get(key)
		return err
	})}
	getMany := &measure{name: "Go GetMany of 100, a key", times: C.KEYS, run: func() error {
		for some := range slices.Chunk(keys, manyKeys) {
			if _, err := db.GetMany(some); err != nil {
				return err
			}
		}
		return nil
	}}
	all := []*measure{empty, cGet, getAppend, get, getMany}
	for range repeats {
		for _, m := range all {
			if m.native != nil {
				m.ns = append(m.ns, m.native())
				continue
			}
			begin := C.now_ns()
			for range rounds {
				if err := m.run(); err != nil {
					return fmt.Errorf("%s: %w", m.name, err)
				}
			}
			m.ns = append(m.ns, float64(C.now_ns()-begin)/float64(rounds*m.times))
		}
	}
	allocs := testing.AllocsPerRun(100, func() { _ = getAppend.run() }) / C.KEYS

	for _, m := range all {
		fmt.Printf("%-26s %7.1f ns\n", m.name, m.median())
	}
	over := getAppend.median() - empty.median() - cGet.median()
	ratio := getMany.median() / get.median()
	fmt.Printf("GetAppend over an empty cgo call and a C get: %+.1f ns (target +30 ns): %s\n", over, verdict(over <= 30))
	fmt.Printf("allocations of GetAppend: %.2f (target 0): %s\n", allocs, verdict(allocs == 0))
	fmt.Printf("GetMany, a key, against Get: %.2f x (target 0.5 x): %s\n", ratio, verdict(ratio <= 0.5))
	return nil
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "MISSED"
}
