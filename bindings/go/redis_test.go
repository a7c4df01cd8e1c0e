package kv_test

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"
)

// Longest wait for what should take moments.
const patience = 60 * time.Second

// eventually waits for what happens in somebody else's time.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// redisServer is one that a test starts, on a free port.
type redisServer struct {
	t       testing.TB
	address string
	dir     string
	options []string
	command *exec.Cmd
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	return startRedisWith(t, func() []string { return nil })
}

// startRedisWith starts it with what options gives, which is asked anew for each attempt.
func startRedisWith(t testing.TB, options func() []string) *redisServer {
	t.Helper()
	server := &redisServer{t: t, dir: t.TempDir()}
	// A port that is free now may be taken by another process first; then another one is tried.
	eventually(t, "redis-server starts (scripts/need.sh redis-server=redis-server installs it)", func() bool {
		server.address, server.options = freeAddress(t), options()
		return server.tryUp()
	})
	t.Cleanup(server.kill)
	return server
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func (s *redisServer) url() string { return "redis://" + s.address }

// tryUp reports whether it runs; false: the port is taken.
func (s *redisServer) tryUp() bool {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	ok(s.t, err)
	command := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", s.dir},
		s.options...)...)
	ok(s.t, command.Start())
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
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
	if isUp {
		s.command = command
	}
	return isUp
}

func (s *redisServer) answers() bool {
	conn, err := net.DialTimeout("tcp", s.address, time.Second)
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
		s.t.Fatalf("redis-server does not start again at %s", s.address)
	}
}

func (s *redisServer) kill() {
	if s.command != nil {
		_ = s.command.Process.Kill()
		eventually(s.t, "redis-server is gone", func() bool { return !s.answers() })
		s.command = nil
	}
}
