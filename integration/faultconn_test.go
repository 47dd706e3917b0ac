//go:build integration

package integration

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// faultyConn is a client's connection of which the publishes to one prefix go
// wrong: it knows where a message of the NATS protocol begins and ends. Reads
// and all other writes pass.
type faultyConn struct {
	net.Conn
	f *connFault

	mu     sync.Mutex
	buf    []byte   // of a message that isn't whole yet
	held   [][]byte // messages that wait
	writes int      // to the prefix
	dead   bool
}

// connFault is what goes wrong. The zero value is nothing.
type connFault struct {
	prefix    string
	kind      string // of the kinds below
	at        int    // the number of the write, from 1
	delay     time.Duration
	triggered atomic.Bool
}

const (
	crashBefore = "crash before a write"
	crashAfter  = "crash after a write"
	twice       = "a write twice"
	reordered   = "a write behind the next"
	delayed     = "a write too late"
)

// Dial makes connFault a nats.CustomDialer.
func (f *connFault) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: c, f: f}, nil
}

func (c *faultyConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return 0, net.ErrClosed
	}
	c.buf = append(c.buf, b...)
	for {
		n, subject := frame(c.buf)
		if n == 0 {
			return len(b), nil
		}
		message := bytes.Clone(c.buf[:n])
		c.buf = c.buf[n:]
		if err := c.pass(message, subject); err != nil {
			return 0, err
		}
	}
}

// pass sends one message on, or does to it what the fault says.
func (c *faultyConn) pass(message []byte, subject string) error {
	if c.f.kind == "" || !bytes.HasPrefix([]byte(subject), []byte(c.f.prefix)) {
		return c.send(message)
	}
	c.writes++
	defer c.release()
	if c.writes != c.f.at {
		return c.send(message)
	}
	c.f.triggered.Store(true)
	switch c.f.kind {
	case crashBefore:
		return c.die()
	case crashAfter:
		if err := c.send(message); err != nil {
			return err
		}
		return c.die()
	case twice:
		return c.send(append(message, message...))
	case reordered:
		c.held = append(c.held, message)
		c.writes-- // so that release lets it go behind the next
		c.f.at = -1
		time.AfterFunc(20*time.Millisecond, c.flush) // there may be none
	case delayed:
		time.AfterFunc(c.f.delay, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			_ = c.send(message)
		})
	}
	return nil
}

// release sends what waits behind a message that was sent.
func (c *faultyConn) release() {
	if c.f.at == -1 {
		c.f.at = -2 // it is the next one's turn
		return
	}
	for _, m := range c.held {
		_ = c.send(m)
	}
	c.held = nil
}

func (c *faultyConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.held {
		_ = c.send(m)
	}
	c.held = nil
}

func (c *faultyConn) send(b []byte) error {
	_, err := c.Conn.Write(b)
	return err
}

func (c *faultyConn) die() error {
	c.dead = true
	_ = c.Conn.Close()
	return net.ErrClosed
}

// frame returns the size of the protocol message at the start of b, 0 where it
// isn't whole, and the subject where it is a publish.
func frame(b []byte) (size int, subject string) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0, ""
	}
	size = end + 2
	words := bytes.Fields(b[:end])
	if len(words) < 3 || !bytes.EqualFold(words[0], []byte("PUB")) && !bytes.EqualFold(words[0], []byte("HPUB")) {
		return size, ""
	}
	n, err := strconv.Atoi(string(words[len(words)-1]))
	if err != nil {
		return size, ""
	}
	if size += n + 2; size > len(b) {
		return 0, ""
	}
	return size, string(words[1])
}
