package eventlog

import (
	"bufio"
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// wireLink is a connection of its own that speaks the part of the NATS client
// protocol that a writer needs: HPUB out, MSG back
// (https://docs.nats.io/reference/reference-protocols/nats-protocol). What
// several callers hand over is framed into one buffer and written at once,
// and answers are read without a subscription's queue in between: with 64
// callers that makes half of the wake-ups, and appends are that much faster.
// Everything else goes through nats.go.
type wireLink struct {
	dialer  wireDialer
	inbox   string
	deliver answer
	denied  func(error) // is told of permissions that are missing; nil: there are none
	spare   *clientLink // takes over where no connection can be made any more; or nil
	wg      sync.WaitGroup
	ctx     context.Context // ends with the link
	stop    context.CancelFunc
	heard   atomic.Uint64 // lines from the server

	mu     sync.Mutex
	wake   sync.Cond // there is something to write, or the end
	conn   net.Conn  // nil while there is none
	limit  int       // the server's maximum payload
	out    []byte    // framed, not yet written
	lost   uint64
	closed bool
	given  bool // up: spare has taken over

	patient time.Duration // wireGiveUp
	enough  int           // bytes that end gathering
}

// wireDialer connects, up to where messages can be published.
type wireDialer interface {
	dial(ctx context.Context, inbox string) (*wireConn, error)
	// patience is how long a silent server isn't asked whether it is there; 0
	// where it can't be lost.
	patience() time.Duration
}

// wireConn is a connection whose server has taken the inbox in.
type wireConn struct {
	net.Conn
	in         *bufio.Reader
	maxPayload int
}

const (
	wireRetry  = 50 * time.Millisecond
	wireGiveUp = 2 * time.Second // then a spare takes over, if it is connected
	wireEnough = 64 << 10        // to write at once
	wireShare  = 8 << 10         // the same, of callers that wait for answers
	wireSpare  = 4 << 20         // a larger buffer isn't kept
)

func newWireLink(ctx context.Context, d wireDialer, inbox string, deliver answer) (*wireLink, error) {
	l := &wireLink{dialer: d, inbox: inbox, deliver: deliver, patient: wireGiveUp, enough: wireEnough}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wake.L = &l.mu
	conn, err := d.dial(ctx, l.inbox)
	if err != nil {
		l.stop()
		return nil, err
	}
	l.conn, l.limit = conn, conn.maxPayload
	return l, nil
}

// start lets the link work.
func (l *wireLink) start() {
	conn := l.conn.(*wireConn)
	l.wg.Go(func() { l.run(conn) })
}

// run serves one connection after another until the link is closed, or has
// given up.
func (l *wireLink) run(conn *wireConn) {
	for conn != nil {
		var wg sync.WaitGroup
		read := make(chan struct{})
		wg.Go(func() { l.write(conn) })
		if l.dialer.patience() > 0 {
			wg.Go(func() { l.watch(conn, read) })
		}
		_ = l.read(conn.in)
		close(read)
		again := l.broke(conn)
		wg.Wait()
		if !again {
			return
		}
		conn = l.redial(time.Now())
	}
}

// broke ends a connection and says whether another one is wanted.
func (l *wireLink) broke(conn net.Conn) bool {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.out = nil, nil
	l.lost++
	l.wake.Broadcast()
	return !l.closed
}

// redial is nil where no connection is wanted any more.
func (l *wireLink) redial(since time.Time) *wireConn {
	for {
		conn, err := l.dialer.dial(l.ctx, l.inbox)
		if err == nil {
			return l.use(conn)
		}
		if l.giveUp(time.Since(since)) {
			return nil
		}
		select {
		case <-time.After(wireRetry):
		case <-l.ctx.Done():
			return nil
		}
	}
}

func (l *wireLink) use(conn *wireConn) *wireConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return nil
	}
	l.conn, l.limit = conn, conn.maxPayload
	return conn
}

// giveUp hands over to the spare for good, where that has a connection: going
// to and fro would change the order of what is sent.
func (l *wireLink) giveUp(after time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare == nil || after < l.patient || !l.spare.nc.IsConnected() {
		return false
	}
	l.given = true
	return true
}

// watch ends a connection on which the server doesn't say anything any more,
// as when its machine has gone.
func (l *wireLink) watch(conn net.Conn, ended <-chan struct{}) {
	tick := time.NewTicker(l.dialer.patience())
	defer tick.Stop()
	last, asked := l.heard.Load(), false
	for {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
		switch now := l.heard.Load(); {
		case now != last:
			last, asked = now, false
		case asked:
			_ = conn.Close()
			return
		default:
			asked = true
			l.say("PING\r\n")
		}
	}
}

// say sends a line of the protocol.
func (l *wireLink) say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.out = append(l.out, line...)
		l.wake.Signal()
	}
}

// write writes what was handed over for a connection, all that is there at
// once.
func (l *wireLink) write(conn net.Conn) {
	var spare []byte
	for {
		l.mu.Lock()
		for len(l.out) == 0 && l.conn == conn && !l.closed {
			l.wake.Wait()
		}
		l.gather()
		if l.conn != conn || l.closed {
			l.mu.Unlock()
			return
		}
		out := l.out
		l.out = spare[:0]
		l.mu.Unlock()
		if _, err := conn.Write(out); err != nil {
			_ = conn.Close() // the reader notices, and ends this connection
			return
		}
		if spare = out; cap(out) > wireSpare {
			spare = nil
		}
	}
}

// gather lets the callers that are ready to run hand over what they have, as
// long as each round brings something; l.mu is held. They come in bursts,
// since the server's answers do, and a write for each costs more than all else
// that is done here: with 64 callers a write then carries 35 commits, not 4.
// A timer would make a lone caller wait; this costs it a fraction of a
// microsecond.
//
// A part of a burst is enough where the server is in this process, and callers
// wait for its answers: it works on that while the others decide and encode.
// If all of a burst were one write, the two would take turns, and leave half of
// two cores idle.
func (l *wireLink) gather() {
	for n := 0; n < len(l.out) && len(l.out) < l.enough; {
		n = len(l.out)
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
}

func (l *wireLink) publish(m *outgoing, token uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nats.ErrConnectionClosed
	case l.given:
		return l.spare.publish(m, token)
	case l.conn == nil:
		return nats.ErrConnectionReconnecting
	case m.size() > l.limit:
		return nats.ErrMaxPayload
	}
	l.out = appendPublish(l.out, m, l.inbox, token)
	l.wake.Signal()
	return nil
}

func (l *wireLink) losses() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare != nil {
		return l.lost + l.spare.losses()
	}
	return l.lost
}

func (l *wireLink) close() {
	l.mu.Lock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
	l.wake.Broadcast()
	l.mu.Unlock()
	l.stop()
	l.wg.Wait()
	if l.spare != nil {
		l.spare.close()
	}
}
