// Command conformance runs a file of the conformance script (tests/conformance/README.md):
//
//	conformance FILE DIR [LINE CLOCK_MS]
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

const clockMs = 1_000_000_000_000

func main() {
	args := os.Args[1:]
	if len(args) != 2 && len(args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: conformance FILE DIR [LINE CLOCK_MS]")
		os.Exit(2)
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s := script{file: args[0], dir: args[1], lines: strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")}
	failures := 0
	if len(args) == 4 {
		line := int(number(args[2]))
		failures = s.run(line, s.resume(line, number(args[3])))
	} else {
		failures = s.run(0, nil)
	}
	if failures > 0 {
		os.Exit(1)
	}
}

type script struct {
	file, dir string
	lines     []string
}

// run goes through the lines after the first done; in another process, where the case stands already, to the end of the case.
func (s *script) run(done int, c *testCase) (failures int) {
	isOther := c != nil
	defer func() { c.end() }()
	cases, checked := 0, 0
	for at := done; at < len(s.lines); {
		line := s.lines[at]
		at++
		call, expected, _ := strings.Cut(line, " => ")
		words := strings.Split(call, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case words[0] == "case":
			if isOther {
				return failures
			}
			c.end()
			c = newCase(filepath.Join(s.dir, words[1]), clockMs)
			cases++
		case c == nil:
			panic(fmt.Sprintf("%s:%d: no case", s.file, at))
		case words[0] == "process":
			failures += s.goOnElsewhere(c, at)
			for at < len(s.lines) && !strings.HasPrefix(s.lines[at], "case ") {
				at++
			}
		default:
			checked++
			if got := c.answer(words, expected); got != expected {
				fmt.Printf("%s:%d: expected %s, got %s\n", s.file, at, expected, got)
				failures++
			}
		}
	}
	if !isOther {
		fmt.Printf("%s: %d cases, %d lines\n", s.file, cases, checked)
	}
	return failures
}

// resume is the case that stands after the first done lines, in the process that goes on with it.
func (s *script) resume(done int, clockMs uint64) *testCase {
	begin := done - 1
	for !strings.HasPrefix(s.lines[begin], "case ") {
		begin--
	}
	c := newCase(filepath.Join(s.dir, strings.TrimPrefix(s.lines[begin], "case ")), clockMs)
	for _, line := range s.lines[begin:done] {
		words := strings.Split(line, " ")
		if words[0] == "option" && slices.Equal(words[3:], []string{"=>", "ok"}) {
			c.options = append(c.options, kv.WithOption(words[1], c.setting(words[2])))
		}
	}
	must(c.open(true))
	return c
}

func (s *script) goOnElsewhere(c *testCase, line int) (failures int) {
	must(c.db.Close())
	self, err := os.Executable()
	must(err)
	other := exec.Command(self, s.file, s.dir, strconv.Itoa(line), strconv.FormatUint(c.nowMs, 10))
	other.Stdout, other.Stderr = os.Stdout, os.Stderr
	if other.Run() != nil {
		return 1
	}
	return 0
}

// testCase is where a case stands.
type testCase struct {
	path     string
	options  []kv.Option
	clock    *kv.Clock
	nowMs    uint64
	db       *kv.Db
	versions map[string]uint64
	session  *kv.Session
	watch    *kv.Watch
	// What the listener was told; nil: there is none.
	told chan kv.Event
	// The last generated key.
	generated []byte
	redis     redis
}

func newCase(path string, nowMs uint64) *testCase {
	clock := kv.NewClock(time.UnixMilli(int64(nowMs)))
	server := redis{socket: filepath.Join(filepath.Dir(path), "s")}
	return &testCase{path: path, clock: clock, nowMs: nowMs, versions: map[string]uint64{}, redis: server}
}

// end stops what runs for the case; also of no case.
func (c *testCase) end() {
	if c != nil {
		c.redis.down()
	}
}

func (c *testCase) mirror() string { return c.path + ".json" }

// setting is the value of an option.
func (c *testCase) setting(word string) string {
	switch word {
	case "$mirror":
		return c.mirror()
	case "$redis":
		return "redis+unix://" + c.redis.socket
	}
	return word
}

func (c *testCase) open(isOnDisk bool) (err error) {
	options := append([]kv.Option{kv.WithClock(c.clock), kv.WithBackground(false)}, c.options...)
	if told := c.told; told != nil {
		options = append(options, kv.WithListener(func(event kv.Event) { told <- event }))
	}
	var db *kv.Db
	if isOnDisk {
		db, err = kv.Open(c.path, options...)
	} else {
		db, err = kv.OpenInMemory(options...)
	}
	if err == nil {
		c.db = db
	}
	return err
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
