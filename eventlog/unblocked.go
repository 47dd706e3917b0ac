package eventlog

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// The problem: nats.go writes to its connection under the lock that all of its
// calls take. A server that is stuck takes nothing from its pipe, or its socket
// once that is full, so every call waits for that lock, whatever its context
// says, until a write has taken FlusherTimeout (a minute).
//
// So what a server doesn't take in a moment is kept, and written by a goroutine
// for as long as nats.go would have waited. Nothing else changes: the bytes and
// their order are the same, and a connection that takes nothing for so long is
// broken, as before. Where the server takes what it is given, a write costs
// what it did.
//
// Rejected: a short FlusherTimeout, which breaks connections that are merely
// slow; and a goroutine for each question, which can't help appends, whose
// order is that lock's.

const (
	writeMoment  = 20 * time.Millisecond
	writeBacklog = 64 << 20 // bytes that are kept; a connection with more is broken
)

// unblock makes a connection's writes wait for a moment at most; it is the last
// of the options.
func unblock(o *nats.Options) error {
	if o.InProcessServer != nil {
		o.InProcessServer = unblockedProvider{o.InProcessServer}
	}
	o.CustomDialer = unblockedDialerOf(o)
	return nil
}

func unblockedDialerOf(o *nats.Options) *unblockedDialer {
	return &unblockedDialer{own: o.CustomDialer, dialer: o.Dialer, timeout: o.Timeout, multipath: o.AllowMultipathTCP}
}

// quickDialer dials as the options say, for addressWait at most.
func quickDialer(o *nats.Options) *unblockedDialer {
	d := unblockedDialerOf(o)
	if have, ok := o.CustomDialer.(*unblockedDialer); ok { // the log's
		*d = *have
	}
	d.wait = func() time.Duration { return addressWait }
	return d
}

type unblockedProvider struct{ nats.InProcessConnProvider }

func (p unblockedProvider) InProcessConn() (net.Conn, error) {
	c, err := p.InProcessConnProvider.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &unblockedConn{Conn: c}, nil
}

// unblockedDialer dials as nats.go would have.
type unblockedDialer struct {
	own       nats.CustomDialer // the user's, nil for none
	dialer    *net.Dialer       // the user's, nil for none
	timeout   time.Duration
	multipath *bool
	// wait is how long the server's first byte may take from now on; nil, or 0:
	// as long as the connection's timeout says.
	wait func() time.Duration
}

func (d *unblockedDialer) Dial(network, address string) (net.Conn, error) {
	var wait time.Duration
	if d.wait != nil {
		wait = d.wait()
	}
	first := time.Now().Add(wait)
	var c net.Conn
	var err error
	if d.own != nil {
		c, err = d.own.Dial(network, address)
	} else {
		dialer := net.Dialer{Timeout: d.timeout}
		if d.dialer != nil {
			dialer = *d.dialer
		}
		if wait > 0 && (dialer.Timeout <= 0 || dialer.Timeout > wait) {
			dialer.Timeout = wait
		}
		if d.multipath != nil {
			dialer.SetMultipathTCP(*d.multipath)
		}
		c, err = dialer.Dial(network, address)
	}
	if err != nil {
		return nil, err
	}
	u := &unblockedConn{Conn: c}
	if wait > 0 {
		u.first = first
		u.silent.Store(true)
	}
	return u, nil
}

// SkipTLSHandshake passes on what the user's dialer says.
func (d *unblockedDialer) SkipTLSHandshake() bool {
	s, ok := d.own.(interface{ SkipTLSHandshake() bool })
	return ok && s.SkipTLSHandshake()
}

// unblockedConn is a connection whose writes wait for a moment at most.
type unblockedConn struct {
	net.Conn

	mu       sync.Mutex
	deadline time.Time // for writes, as the client has set it; zero: none
	backlog  []byte    // that the server hasn't taken
	draining bool      // a goroutine writes the backlog, and it alone writes
	err      error     // of that goroutine, for good

	silent  atomic.Bool // nothing was read yet, and first bounds that
	first   time.Time
	reading time.Time // the deadline for reads, as the client has set it; guarded by mu
}

// SetReadDeadline bounds reads: until the first byte by what is sooner.
func (c *unblockedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.reading = t
	c.mu.Unlock()
	if c.silent.Load() && (t.IsZero() || t.After(c.first)) {
		t = c.first
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *unblockedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.silent.CompareAndSwap(true, false) {
		c.mu.Lock()
		t := c.reading
		c.mu.Unlock()
		if e := c.Conn.SetReadDeadline(t); err == nil {
			err = e
		}
	}
	return n, err
}

// SetWriteDeadline bounds how long what is written from here on may be kept.
func (c *unblockedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *unblockedConn) SetDeadline(t time.Time) error {
	_ = c.SetWriteDeadline(t)
	return c.SetReadDeadline(t)
}

func (c *unblockedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.draining {
		if len(c.backlog)+len(p) > writeBacklog {
			return 0, os.ErrDeadlineExceeded
		}
		c.backlog = append(c.backlog, p...)
		return len(p), nil
	}
	moment := time.Now().Add(writeMoment)
	if !c.deadline.IsZero() && c.deadline.Before(moment) {
		moment = c.deadline
	}
	if err := c.Conn.SetWriteDeadline(moment); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		return n, err
	}
	var patience time.Duration // none: for ever
	if !c.deadline.IsZero() {
		if patience = time.Until(c.deadline); patience <= 0 {
			return n, err
		}
	}
	c.backlog, c.draining = append([]byte(nil), p[n:]...), true
	go c.drain(patience)
	return len(p), nil
}

// drain writes the backlog until nothing is left. Each part may take as long
// as the write that began it was allowed to.
func (c *unblockedConn) drain(patience time.Duration) {
	var part []byte
	for {
		c.mu.Lock()
		if len(c.backlog) == 0 {
			c.backlog, c.draining = nil, false
			c.mu.Unlock()
			return
		}
		part, c.backlog = c.backlog, part[:0]
		c.mu.Unlock()
		var until time.Time
		if patience > 0 {
			until = time.Now().Add(patience)
		}
		err := c.Conn.SetWriteDeadline(until)
		if err == nil {
			_, err = c.Conn.Write(part)
		}
		if err != nil {
			c.mu.Lock()
			c.err, c.backlog = err, nil
			c.mu.Unlock()
			_ = c.Conn.Close() // the reader notices
			return
		}
	}
}
