package kv_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	kv "github.com/libkv/libkv/bindings/go"
)

func shared(server *redisServer, more ...kv.Option) []kv.Option {
	return append([]kv.Option{
		kv.WithTierURL(server.url()), kv.WithTierPrefix("t:"), kv.WithTierBackoffMax(50 * time.Millisecond),
		kv.WithTierTimeout(tierTimeout),
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
		kv.WithTierUnreachableIsMiss(true), kv.WithTierBackoffMax(50*time.Millisecond), kv.WithTierTimeout(tierTimeout))
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

func TestWhatRedisDecidesHoldsForEveryStoreThatSharesTheKey(t *testing.T) {
	server := startRedis(t)
	stores := []*kv.Db{inMemory(t, shared(server)...), inMemory(t, shared(server)...)}
	const callers, additions = 8, 25
	sums := make(chan int64, callers*additions)
	var ended sync.WaitGroup
	for caller := range callers {
		ended.Add(1)
		go func() {
			defer ended.Done()
			for range additions {
				sum, err := stores[caller%2].IncrementShared(ctx, []byte("n"), 1)
				if err != nil {
					t.Error(err)
				}
				sums <- sum
			}
		}()
	}
	ended.Wait()
	close(sums)
	seen := make(map[int64]bool)
	for sum := range sums {
		seen[sum] = true
	}
	// Nobody else has the same number.
	if len(seen) != callers*additions || !seen[callers*additions] {
		t.Fatalf("%d sums", len(seen))
	}
	answer := func(is bool, err error) bool {
		t.Helper()
		ok(t, err)
		return is
	}
	here, there, lock := stores[0], stores[1], []byte("lock")
	same(t, answer(here.AddShared(ctx, lock, []byte("me"), kv.ExpireAfter(time.Minute))), true)
	same(t, answer(there.AddShared(ctx, lock, []byte("you"), kv.ExpireDefault)), false)
	same(t, answer(there.CompareAndSwapShared(ctx, lock, nil, []byte("you"))), false)
	same(t, answer(there.CompareAndSwapShared(ctx, lock, []byte{}, []byte("you"))), false)
	same(t, answer(there.CompareAndSwapShared(ctx, lock, []byte("me"), []byte("you"))), true)
	same(t, answer(there.CompareAndSwapShared(ctx, []byte("new"), nil, nil)), true)
	same(t, answer(here.CompareAndSwapShared(ctx, []byte("new"), []byte{}, []byte("full"))), true)
	ttl, err := there.TTL(lock)
	ok(t, err)
	if ttl <= 0 || ttl > time.Minute {
		t.Fatal(ttl)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = here.IncrementShared(gone, []byte("n"), 1)
	same(t, err, context.Canceled)
	_, err = inMemory(t).IncrementShared(ctx, []byte("n"), 1)
	fails(t, err, kv.ErrTier)
	if !strings.Contains(err.Error(), "tier: not applied: ") {
		t.Fatal(err)
	}
	server.kill()
	_, err = here.IncrementShared(ctx, []byte("n"), 1)
	fails(t, err, kv.ErrTier)
}

func TestAPatternIsPreloadedInPortionsAndCanBeGoneOnFrom(t *testing.T) {
	server := startRedis(t)
	here, there := inMemory(t, shared(server)...), inMemory(t, shared(server)...)
	const keys = 3000
	pairs := []kv.Pair{{Key: []byte("other"), Value: []byte("x")}}
	for n := range keys {
		pairs = append(pairs, kv.Pair{Key: fmt.Appendf(nil, "user:%d", n), Value: []byte("v")})
	}
	ok(t, here.SetMany(pairs))
	ok(t, here.Flush(ctx, patience))

	var told []kv.Preloaded
	pattern := []byte("user:*")
	broken, err := there.Preload(ctx, pattern, 0, func(done kv.Preloaded) bool {
		told = append(told, done)
		return false
	})
	ok(t, err)
	if len(told) != 1 || told[0] != broken || broken.IsComplete || broken.Copied == 0 {
		t.Fatalf("%v, told %v", broken, told)
	}
	ending, cancel := context.WithCancel(ctx)
	cut, err := there.Preload(ending, pattern, broken.Cursor, func(kv.Preloaded) bool {
		cancel()
		return true
	})
	same(t, err, context.Canceled)
	if cut.Cursor == broken.Cursor || cut.IsComplete {
		t.Fatalf("%v after %v", cut, broken)
	}
	same(t, fmt.Sprint(there.Preload(ending, pattern, 7, nil)), "{7 false 0 0 0} context canceled")
	done, err := there.Preload(ctx, pattern, cut.Cursor, nil)
	ok(t, err)
	same(t, done.IsComplete, true)
	same(t, broken.Copied+cut.Copied+done.Copied, keys)
	length, err := there.Len()
	ok(t, err)
	same(t, length, keys)

	_, err = here.Delete([]byte("user:7"))
	ok(t, err)
	ok(t, here.Flush(ctx, patience))
	done, err = there.Preload(ctx, pattern, 0, nil)
	ok(t, err)
	same(t, fmt.Sprint(done.Copied, done.Removed), "0 1")

	var panicked *kv.PanicError
	if _, err = there.Preload(ctx, pattern, 0, func(kv.Preloaded) bool { panic("on purpose") }); !errors.As(err, &panicked) {
		t.Fatal(err)
	}
	// After an error too it tells how far it came.
	failed, err := there.Preload(ctx, pattern, 0, func(kv.Preloaded) bool {
		server.kill()
		return true
	})
	fails(t, err, kv.ErrTier)
	if failed.Cursor == 0 || failed.IsComplete {
		t.Fatal(failed)
	}
}

func TestAStoreWithShardsSharesItsEntriesAndEachKeyStandsInItsShard(t *testing.T) {
	server := startRedis(t)
	dir := t.TempDir()
	of := func() []kv.Option { return shared(server, kv.WithTierShards(2)) }
	here, err := kv.Open(dir, of()...)
	ok(t, err)
	there := inMemory(t, of()...)
	var keys, values [][]byte
	for n := range 100 {
		keys = append(keys, fmt.Appendf(nil, "k%d", n))
		values = append(values, fmt.Appendf(nil, "v%d", n))
		ok(t, here.Set(keys[n], values[n]))
	}
	ok(t, here.Flush(ctx, patience))
	found, err := there.GetMany(keys)
	ok(t, err)
	same(t, fmt.Sprintf("%s", found), fmt.Sprintf("%s", values))
	// Each stands where its prefix says, for anybody who reads that.
	first := inMemory(t, shared(server, kv.WithTierPrefix("{t:0}"))...)
	second := inMemory(t, shared(server, kv.WithTierPrefix("{t:1}"))...)
	counts := [2]int{}
	for n, key := range keys {
		inFirst, err := first.Contains(key)
		ok(t, err)
		inSecond, err := second.Contains(key)
		ok(t, err)
		same(t, inFirst, !inSecond)
		if inSecond {
			counts[1]++
		} else {
			counts[0]++
		}
		for sum, db := range []*kv.Db{here, there} {
			added, err := db.IncrementShared(ctx, fmt.Appendf(nil, "n%d", n), 1)
			ok(t, err)
			same(t, added, int64(sum+1))
		}
	}
	if counts[0] < 20 || counts[1] < 20 {
		t.Fatal(counts)
	}
	through := inMemory(t, append(of(), kv.WithTierWrites(kv.WritesThrough))...)
	ok(t, through.Set(keys[8], []byte("through")))
	_, err = here.Delete(keys[7])
	ok(t, err)
	ok(t, here.Flush(ctx, patience))
	done, err := there.Preload(ctx, []byte("k*"), 0, nil)
	ok(t, err)
	same(t, fmt.Sprint(done.IsComplete, done.Copied, done.Removed), "true 1 1")
	value, err := there.Get(keys[8])
	ok(t, err)
	same(t, string(value), "through")
	ok(t, here.Close())
	again, err := kv.Open(dir, of()...)
	ok(t, err)
	defer again.Close()
	ok(t, again.Set([]byte("late"), values[0]))
	ok(t, again.Flush(ctx, patience))
	stats, err := again.TierStats()
	ok(t, err)
	same(t, fmt.Sprint(stats.UnsentKeys, stats.SentKeys), "0 1")
}

func TestEntriesGoOverTLSToWhoIsVouchedFor(t *testing.T) {
	dir := t.TempDir()
	run(t, "../../scripts/certificates.sh", dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	address := startRedisAt(t, "--tls-port", "--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"),
		"--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "yes").address
	over := func(more ...kv.Option) *kv.Db {
		return inMemory(t, append([]kv.Option{
			kv.WithTierURL("rediss://" + address), kv.WithTierBackoffMax(50 * time.Millisecond), kv.WithTierTimeout(tierTimeout),
		}, more...)...)
	}
	ca, client := kv.WithTierCAFile(file("ca.pem")), kv.WithTierClientCertificate(file("client.pem"), file("client.key"))
	here, there := over(ca, client), over(ca, client)
	ok(t, here.Set([]byte("k"), []byte("v")))
	ok(t, here.Flush(ctx, patience))
	holdsValue(t, there, "k", "v")
	for _, refused := range []*kv.Db{over(ca), over(kv.WithTierCAFile(file("other.pem")), client)} {
		ok(t, refused.Set([]byte("secret"), nil))
		eventually(t, "it is refused", func() bool {
			stats, err := refused.TierStats()
			ok(t, err)
			return stats.Failing != ""
		})
		fails(t, refused.Flush(ctx, 300*time.Millisecond), kv.ErrTier)
	}
	_, err := there.Get([]byte("secret"))
	fails(t, err, kv.ErrNotFound)
	_, err = kv.OpenInMemory(kv.WithTierURL("rediss://"+address), kv.WithTierCAFile(file("none")))
	fails(t, err, kv.ErrInvalidOption)
	_, err = kv.OpenInMemory(kv.WithTierURL("redis://"+address), ca)
	fails(t, err, kv.ErrInvalidOption)
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
	url := "redis://" + startRedisAt(t, "--port").address
	same(t, run(t, "go", "run", "./examples/shared", url), string(shown[1]))
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
