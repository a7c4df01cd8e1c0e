package kv

// #include "kvgo.h"
// #cgo noescape kvgo_is_pinned
// #cgo nocallback kvgo_is_pinned
// #cgo noescape kvgo_is_barred
// #cgo nocallback kvgo_is_barred
import "C"

import (
	"context"
	"slices"
	"sync"
)

// keyLocks says which keys goroutines have sessions of, and who waits for one. The library's own locks are only tried: a goroutine
// that waits there would take a thread, and could not be called off.
type keyLocks struct {
	mu     sync.Mutex
	lines  map[string]*line
	isShut bool
}

// line is who waits for a key that somebody has, in their order.
type line struct {
	waiting []*turn
}

// turn is closed when it has come, or when nobody's comes any more.
type turn struct {
	come   chan struct{}
	isShut bool
}

// noWait is the context of who does not wait.
var noWait context.Context

// acquire takes a key's lock, or waits for it in the order of the calls until ctx ends.
func (l *keyLocks) acquire(ctx context.Context, key string) error {
	l.mu.Lock()
	if l.isShut {
		l.mu.Unlock()
		return errClosed
	}
	found := l.lines[key]
	if found == nil {
		if l.lines == nil {
			l.lines = make(map[string]*line)
		}
		l.lines[key] = &line{}
		l.mu.Unlock()
		return nil
	}
	if ctx == noWait {
		l.mu.Unlock()
		return errKeyLocked
	}
	if err := refuseBarred(); err != nil {
		l.mu.Unlock()
		return err
	}
	if C.kvgo_is_pinned() != 0 {
		l.mu.Unlock()
		return newError(ErrPinned, "a session that waits: this goroutine stands in Pinned")
	}
	mine := &turn{come: make(chan struct{})}
	found.waiting = append(found.waiting, mine)
	l.mu.Unlock()
	select {
	case <-mine.come:
	case <-ctx.Done():
		l.mu.Lock()
		at := slices.Index(found.waiting, mine)
		if at >= 0 {
			found.waiting = slices.Delete(found.waiting, at, at+1)
		}
		l.mu.Unlock()
		if at < 0 && !mine.isShut {
			// It came at the same time: who is next has it.
			l.release(key)
		}
		return ctx.Err()
	}
	if mine.isShut {
		return errClosed
	}
	return nil
}

// release gives a key's lock to who has waited longest.
func (l *keyLocks) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.lines[key]
	if found == nil {
		return
	}
	if len(found.waiting) == 0 {
		delete(l.lines, key)
		return
	}
	next := found.waiting[0]
	found.waiting = found.waiting[1:]
	close(next.come)
}

// shut ends all waiting; from then on nobody gets a lock.
func (l *keyLocks) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isShut = true
	for _, found := range l.lines {
		for _, each := range found.waiting {
			each.isShut = true
			close(each.come)
		}
		found.waiting = nil
	}
}

// refuseBarred refuses what would wait in Go, in a thread whose calls the library refuses.
func refuseBarred() error {
	if C.kvgo_is_barred() == 0 {
		return nil
	}
	return newError(ErrInCallback, "a logger, an encoder or a weigher must not call a store")
}
