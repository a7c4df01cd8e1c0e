package kv_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func shared(server *redisServer, more ...kv.Option) []kv.Option {
	return append([]kv.Option{
		kv.WithTierURL(server.url()), kv.WithTierPrefix("t:"), kv.WithTierBackoffMax(50 * time.Millisecond),
		kv.WithTierTimeout(5 * time.Second),
	}, more...)
}

const peerVariable = "KV_TEST_PEER"

// Not a test: the other process of one, which has a store with a tier and does what the lines of its input say.
func TestPeerProcess(t *testing.T) {
	url := os.Getenv(peerVariable)
	if url == "" {
		t.Skip("runs in processes that tests start")
	}
	db, err := kv.Open(t.TempDir(), kv.WithTierURL(url), kv.WithTierPrefix("t:"), kv.WithTierFresh(kv.FreshDrop),
		kv.WithTierUnreachableIsMiss(true), kv.WithTierBackoffMax(50*time.Millisecond))
	ok(t, err)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		key, value, _ := strings.Cut(rest, " ")
		switch word {
		case "set":
			err = db.Set([]byte(key), []byte(value))
		case "delete":
			_, err = db.Delete([]byte(key))
		case "flush":
			err = db.Flush(ctx, patience)
		case "get":
			var found []byte
			if found, err = db.Get([]byte(key)); err == nil {
				fmt.Printf("peer: %s\n", found)
				continue
			}
		case "stats":
			var stats *kv.TierStats
			if stats, err = db.TierStats(); err == nil {
				fmt.Printf("peer: unsent %d hears %v failing %v\n", stats.UnsentKeys, stats.Hears, stats.Failing != "")
				continue
			}
		}
		switch {
		case err == nil:
			fmt.Println("peer: ok")
		case errors.Is(err, kv.ErrNotFound):
			fmt.Println("peer: none")
		default:
			fmt.Println("peer:", err)
		}
	}
	ok(t, db.Close())
}

// peer is a process with a store that shares its entries.
type peer struct {
	t     *testing.T
	input io.WriteCloser
	lines *bufio.Scanner
}

func startPeer(t *testing.T, server *redisServer) *peer {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestPeerProcess$")
	command.Env = append(os.Environ(), peerVariable+"="+server.url())
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	ok(t, err)
	output, err := command.StdoutPipe()
	ok(t, err)
	ok(t, command.Start())
	p := &peer{t, input, bufio.NewScanner(output)}
	t.Cleanup(func() {
		ok(t, input.Close())
		for p.lines.Scan() {
		}
		ok(t, command.Wait())
	})
	return p
}

// ask gives the answer to a line.
func (p *peer) ask(line string) string {
	p.t.Helper()
	fmt.Fprintln(p.input, line)
	for p.lines.Scan() {
		if answer, is := strings.CutPrefix(p.lines.Text(), "peer: "); is {
			return answer
		}
	}
	p.t.Fatalf("the peer ended at %q", line)
	return ""
}

func (p *peer) comesTo(line, answer string) {
	p.t.Helper()
	eventually(p.t, line+" gives "+answer, func() bool { return p.ask(line) == answer })
}

func TestTwoProcessesSeeEachOthersSetsAndDeletes(t *testing.T) {
	server := startRedis(t)
	here, there := startPeer(t, server), startPeer(t, server)
	there.comesTo("stats", "unsent 0 hears true failing false")
	same(t, here.ask("set k v"), "ok")
	there.comesTo("get k", "v")
	same(t, here.ask("set k w"), "ok")
	there.comesTo("get k", "w")
	same(t, there.ask("delete k"), "ok")
	here.comesTo("stats", "unsent 0 hears true failing false")
	here.comesTo("get k", "none")
	same(t, there.ask("get k"), "none")
}

func TestTwoProcessesGoOnWithoutRedisAndConvergeWhenItIsBack(t *testing.T) {
	server := startRedis(t)
	here, there := startPeer(t, server), startPeer(t, server)
	same(t, here.ask("set gone 1"), "ok")
	same(t, here.ask("flush"), "ok")
	there.comesTo("get gone", "1")
	server.kill()
	for n := range 20 {
		same(t, here.ask(fmt.Sprintf("set key%d v", n)), "ok")
	}
	same(t, here.ask("delete gone"), "ok")
	same(t, here.ask("get key7"), "v")
	here.comesTo("stats", "unsent 21 hears false failing true")
	same(t, there.ask("get key7"), "none")
	same(t, there.ask("set theirs 2"), "ok")
	server.up()
	same(t, here.ask("flush"), "ok")
	same(t, there.ask("flush"), "ok")
	for n := range 20 {
		there.comesTo(fmt.Sprintf("get key%d", n), "v")
	}
	there.comesTo("get gone", "none")
	here.comesTo("get theirs", "2")
	here.comesTo("stats", "unsent 0 hears true failing false")
}

func TestATierThatCannotBeReachedGivesItsOwnErrorAndLosesNothing(t *testing.T) {
	server := startRedis(t)
	db := inMemory(t, shared(server)...)
	through := inMemory(t, shared(server, kv.WithTierWrites(kv.WritesThrough))...)
	follower := inMemory(t, shared(server, kv.WithTierWrites(kv.WritesRefused))...)
	ok(t, through.Set([]byte("t"), []byte("1")))
	holdsValue(t, db, "t", "1")
	fails(t, follower.Set([]byte("t"), nil), kv.ErrReadOnly)
	values, err := follower.GetMany([][]byte{[]byte("none"), []byte("t")})
	ok(t, err)
	same(t, fmt.Sprintf("%q", values), `["" "1"]`)
	server.kill()
	ok(t, db.Set([]byte("k"), []byte("v")))
	fails(t, db.Flush(ctx, 10*time.Millisecond), kv.ErrTier)
	_, err = db.Get([]byte("none"))
	fails(t, err, kv.ErrTier)
	var failed *kv.Error
	if !errors.As(err, &failed) || !strings.HasPrefix(failed.Message, "tier: ") {
		t.Fatalf("%v", err)
	}
	fails(t, through.Set([]byte("t"), []byte("2")), kv.ErrTier)
	eventually(t, "the lag grows", func() bool {
		stats, err := db.TierStats()
		ok(t, err)
		return stats.UnsentKeys == 1 && stats.UnsentBytes > 0 && stats.UnsentFor > 0 && stats.Failing != "" && stats.Failures > 0
	})
	server.up()
	ok(t, db.Flush(ctx, patience))
	ok(t, through.Flush(ctx, patience))
	// Its connection broke with the server; the next one is made after a pause.
	eventually(t, "the follower reads what was sent", func() bool {
		value, err := follower.Get([]byte("k"))
		return err == nil && string(value) == "v"
	})
	text, err := db.TierStatsPrometheus()
	ok(t, err)
	if !strings.Contains(text, "\nkv_tier_unsent_keys 0\n") {
		t.Fatal(text)
	}
}

func TestEveryOptionOfTheTierIsTakenAndBadOnesAreNamedWithoutAPassword(t *testing.T) {
	server := startRedis(t)
	db := inMemory(t, shared(server, kv.WithTierDatabase(3), kv.WithTierReads(false), kv.WithTierFresh(kv.FreshKeep),
		kv.WithTierUnreachableIsMiss(true), kv.WithTierUnsentDeletesMax(10), kv.WithTierWrites(kv.WritesBehind))...)
	ok(t, db.Set([]byte("k"), []byte("v")))
	ok(t, db.Flush(ctx, patience))
	elsewhere := inMemory(t, shared(server)...)
	_, err := elsewhere.Get([]byte("k"))
	fails(t, err, kv.ErrNotFound)
	plain := inMemory(t)
	ok(t, plain.Flush(ctx, 0))
	stats, err := plain.TierStats()
	ok(t, err)
	same(t, stats, nil)

	for _, c := range []struct {
		options []kv.Option
		said    string
	}{
		{[]kv.Option{kv.WithTierWrites("maybe")}, `option tier_writes: "maybe" is not behind, through or refused`},
		{[]kv.Option{kv.WithTierFresh("yes")}, `option tier_fresh: "yes" is not none, drop or keep`},
		{[]kv.Option{kv.WithTierTimeout(0)}, `option tier_timeout: "0ms" is not `},
		{[]kv.Option{kv.WithTierBackoffMax(-1)}, `option tier_backoff_max: "0ms" is not `},
		{[]kv.Option{kv.WithTierDatabase(-1)}, `option tier_database: "-1" is not `},
		{[]kv.Option{kv.WithTierPassword("hunter2")}, `option tier_url: lacking`},
		{[]kv.Option{kv.WithTierURL("redis://u:hunter2@")}, `option tier: `},
		{shared(server, kv.WithTierUsername("u")), `option tier: a user without a password`},
	} {
		_, err := kv.OpenInMemory(c.options...)
		fails(t, err, kv.ErrInvalidOption)
		if !strings.Contains(err.Error(), c.said) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, expected %s", err, c.said)
		}
	}
}

func TestTheExamplesOfTheTierPrintWhatThePageShows(t *testing.T) {
	page, err := os.ReadFile("../../docs/tier.md")
	ok(t, err)
	shown := regexp.MustCompile("(?s)```output\n(.*?)```").FindSubmatch(page)
	if shown == nil {
		t.Fatal("no block of output")
	}
	same(t, run(t, "go", "run", "./examples/shared", startRedis(t).url()), string(shown[1]))
}

// A read is told to the runtime as a call that calls nothing back: a logger in it would end the program.
func TestACopyThatCannotBeKeptIsGivenAndLoggedByAThreadOfTheStore(t *testing.T) {
	server := startRedis(t)
	here := inMemory(t, shared(server)...)
	ok(t, here.Set([]byte("k"), []byte("eleven long")))
	ok(t, here.Flush(ctx, patience))
	lines := make(chan string, 100)
	there := inMemory(t, shared(server, kv.WithValueBytesMax(10), kv.WithLogger(func(line string) { lines <- line }))...)
	holdsValue(t, there, "k", "eleven long")
	select {
	case line := <-lines:
		same(t, line, "tier: a copy is not kept: value of 11 bytes: the limit is 10")
	case <-time.After(patience):
		t.Fatal("the logger hears nothing")
	}
	length, err := there.Len()
	ok(t, err)
	same(t, length, 0)
}
