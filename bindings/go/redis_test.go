package kv_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Longest wait for what should take moments.
const patience = 60 * time.Second

// What a store waits for a Redis that answers, however slow the machine is. One that was killed is noticed at once.
const tierTimeout = 20 * time.Second

// eventually waits for what happens in somebody else's time.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// redisServer is one that a test starts, at a socket of its own and, where a test asks for that, at an address.
type redisServer struct {
	t       testing.TB
	dir     string
	address string
	options []string
	command *exec.Cmd
	// Closed when the process is gone.
	ended chan struct{}
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	return startRedisWith(t, func(*redisServer) []string { return nil })
}

// startRedisAt starts it with these options at an address too, whose port the first of them names.
func startRedisAt(t testing.TB, port string, options ...string) *redisServer {
	t.Helper()
	return startRedisWith(t, func(server *redisServer) []string {
		// Another process may take a port that is free now: then the next attempt has another one.
		server.address = freeAddress(t)
		_, number, err := net.SplitHostPort(server.address)
		ok(t, err)
		return append([]string{"--bind", "127.0.0.1", port, number}, options...)
	})
}

func startRedisWith(t testing.TB, options func(*redisServer) []string) *redisServer {
	t.Helper()
	// t.TempDir has the name of the test in it, and the path of a socket is short.
	dir, err := os.MkdirTemp("", "kv-redis-")
	ok(t, err)
	server := &redisServer{t: t, dir: dir}
	t.Cleanup(func() {
		server.kill()
		ok(t, os.RemoveAll(dir))
	})
	eventually(t, "redis-server starts (scripts/need.sh redis-server=redis-server installs it)", func() bool {
		server.options = options(server)
		return server.tryUp()
	})
	return server
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func (s *redisServer) socket() string { return filepath.Join(s.dir, "s") }

func (s *redisServer) url() string { return "redis+unix://" + s.socket() }

// tryUp reports whether it runs; false: its port is taken.
func (s *redisServer) tryUp() bool {
	s.t.Helper()
	command := exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", s.socket(), "--save", "", "--dir", s.dir},
		s.options...)...)
	ok(s.t, command.Start())
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	s.command, s.ended = command, ended
	isUp := false
	eventually(s.t, "redis-server answers", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		isUp = s.answers()
		return isUp
	})
	return isUp
}

func (s *redisServer) answers() bool {
	conn, err := net.DialTimeout("unix", s.socket(), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(conn, "PING\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "+PONG\r\n"
}

// up starts it again, after a kill, empty.
func (s *redisServer) up() {
	s.t.Helper()
	if !s.tryUp() {
		s.t.Fatalf("redis-server does not start again at %s", s.socket())
	}
}

// kill ends it, and waits until it is gone.
func (s *redisServer) kill() {
	if s.command != nil {
		_ = s.command.Process.Kill()
		<-s.ended
		s.command = nil
	}
}
