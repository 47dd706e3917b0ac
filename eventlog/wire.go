package eventlog

import (
	"context"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// wireLink is a connection of its own to the server in this process, that speaks the part of the NATS client
// protocol that a writer needs: HPUB out, MSG back
// (https://docs.nats.io/reference/reference-protocols/nats-protocol). What
// several callers hand over is framed into one buffer and written at once,
// and answers are read without a subscription's queue in between: with 64
// callers that makes half of the wake-ups, and appends are that much faster.
// Everything else goes through nats.go.
type wireLink struct {
	srv     *server.Server
	inbox   string
	deliver answer
	wg      sync.WaitGroup
	ctx     context.Context // ends with the link
	stop    context.CancelFunc

	mu     sync.Mutex
	wake   sync.Cond // there is something to write, or the end
	conn   net.Conn  // nil while there is none
	limit  int       // the server's maximum payload
	out    []byte    // framed, not yet written
	lost   uint64
	closed bool

	enough int // bytes that end gathering
}

const (
	wireRetry  = 50 * time.Millisecond
	wireEnough = 64 << 10 // to write at once
	wireShare  = 8 << 10  // the same, of callers that wait for answers
	wireSpare  = 4 << 20  // a larger buffer isn't kept
)

func newWireLink(srv *server.Server, inbox string, deliver answer, enough int) (*wireLink, error) {
	l := &wireLink{srv: srv, inbox: inbox, deliver: deliver, enough: enough}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wake.L = &l.mu
	conn, err := dialWire(srv, l.inbox)
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

// run serves one connection after another until the link is closed.
func (l *wireLink) run(conn *wireConn) {
	for conn != nil {
		var wg sync.WaitGroup
		wg.Go(func() { l.write(conn) })
		_ = l.read(conn.in)
		again := l.broke(conn)
		wg.Wait()
		if !again {
			return
		}
		conn = l.redial()
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
func (l *wireLink) redial() *wireConn {
	for {
		conn, err := dialWire(l.srv, l.inbox)
		if err == nil {
			return l.use(conn)
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
// A part of a burst is enough where callers wait for the server's answers: it
// works on that while the others decide and encode.
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
}
