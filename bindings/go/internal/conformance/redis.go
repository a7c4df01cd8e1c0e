package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// redis is a redis-server at a socket, and a client that knows nothing of the library.
type redis struct {
	socket  string
	command *exec.Cmd
}

func (r *redis) up() {
	must(os.MkdirAll(filepath.Dir(r.socket), 0o700))
	r.command = exec.Command("redis-server", "--port", "0", "--save", "", "--unixsocket", r.socket, "--dir", filepath.Dir(r.socket))
	must(r.command.Start())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", r.socket)
		if err == nil {
			must(conn.Close())
			return
		}
		if time.Now().After(deadline) {
			panic("redis-server does not answer")
		}
	}
}

func (r *redis) down() {
	if r.command != nil {
		must(r.command.Process.Kill())
		_ = r.command.Wait()
		r.command = nil
		_ = os.Remove(r.socket)
	}
}

// ask gives the answer to a command.
func (r *redis) ask(command [][]byte) string {
	conn, err := net.Dial("unix", r.socket)
	must(err)
	defer conn.Close()
	var request bytes.Buffer
	fmt.Fprintf(&request, "*%d\r\n", len(command))
	for _, each := range command {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(each), each)
	}
	_, err = conn.Write(request.Bytes())
	must(err)
	for reply := bufio.NewReader(conn); ; {
		line, err := reply.ReadString('\n')
		must(err)
		kind, rest := line[0], strings.TrimSpace(line[1:])
		switch {
		case kind == '$' && rest == "-1":
			return "absent"
		case kind == '$':
			length, err := strconv.Atoi(rest)
			must(err)
			value := make([]byte, length)
			_, err = io.ReadFull(reply, value)
			must(err)
			return word(value)
		case kind == '+' || kind == ':':
			return rest
		case kind != '*':
			panic(line)
		}
	}
}

// useTier does what a line says of the tier, if it does.
func (c *testCase) useTier(operation string, args []string) (given string, isKnown bool, err error) {
	ctx := context.Background()
	switch operation {
	case "flush":
		return "ok", true, c.db.Flush(ctx, time.Minute)
	case "increment_shared":
		by, err := strconv.ParseInt(args[1], 10, 64)
		must(err)
		given, err = count(c.db.IncrementShared(ctx, plain(args[0]), by))
		return given, true, err
	case "add_shared":
		given, err = truth(c.db.AddShared(ctx, plain(args[0]), plain(args[1]), expiry(args[2])))
		return given, true, err
	case "compare_and_swap_shared":
		given, err = truth(c.db.CompareAndSwapShared(ctx, plain(args[0]), plain(args[1]), plain(args[2])))
		return given, true, err
	}
	return "", false, nil
}
