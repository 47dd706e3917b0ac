package eventlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// wireLink is a connection of its own to the embedded server that speaks the
// part of the NATS client protocol that a writer needs: HPUB out, MSG back
// (https://docs.nats.io/reference/reference-protocols/nats-protocol). What
// several callers hand over is framed into one buffer and written at once,
// and answers are read without a subscription's queue in between: with 64
// callers that makes half of the wake-ups, and appends are that much faster.
// There is nothing to authenticate inside one process; everything else goes
// through nats.go.
type wireLink struct {
	srv     *server.Server
	inbox   string
	deliver answer
	wg      sync.WaitGroup

	mu     sync.Mutex
	wake   sync.Cond // there is something to write, or the end
	conn   net.Conn  // nil while there is none
	out    []byte    // framed, not yet written
	lost   uint64
	closed bool
}

const (
	wireConnect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"go\",\"name\":\"tidemark-writer\"}\r\n"
	wireRetry   = 50 * time.Millisecond
	wireSpare   = 4 << 20 // a larger buffer isn't kept
)

func newWireLink(srv *server.Server, deliver answer) (*wireLink, error) {
	l := &wireLink{srv: srv, inbox: "_INBOX.tm." + nuid.Next() + ".", deliver: deliver}
	l.wake.L = &l.mu
	conn, in, err := l.dial()
	if err != nil {
		return nil, err
	}
	l.conn = conn
	l.wg.Go(func() { l.run(conn, in) })
	return l, nil
}

// dial connects, subscribes to the inbox, and waits until the server has
// taken both in.
func (l *wireLink) dial() (net.Conn, *bufio.Reader, error) {
	conn, err := l.srv.InProcessConn()
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	in := bufio.NewReaderSize(conn, 64<<10)
	err = func() error {
		if line, err := in.ReadSlice('\n'); err != nil || !bytes.HasPrefix(line, []byte("INFO ")) {
			return fmt.Errorf("no greeting: %w", err)
		}
		if _, err := io.WriteString(conn, wireConnect+"SUB "+l.inbox+"> 1\r\nPING\r\n"); err != nil {
			return err
		}
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if bytes.HasPrefix(line, []byte("-ERR")) {
				return fmt.Errorf("server: %s", bytes.TrimSpace(line))
			}
			if bytes.HasPrefix(line, []byte("PONG")) {
				return nil
			}
		}
	}()
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("eventlog: writer's connection: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, in, nil
}

// run serves one connection after another until the link is closed.
func (l *wireLink) run(conn net.Conn, in *bufio.Reader) {
	for {
		var wg sync.WaitGroup
		wg.Go(func() { l.write(conn) })
		_ = l.read(in)
		if !l.broke(conn) {
			wg.Wait()
			return
		}
		wg.Wait()
		for conn = nil; conn == nil; {
			var err error
			if conn, in, err = l.dial(); err == nil {
				break
			}
			if !l.pause() {
				return
			}
		}
		if !l.use(conn) {
			return
		}
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

func (l *wireLink) pause() bool {
	time.Sleep(wireRetry)
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed
}

func (l *wireLink) use(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return false
	}
	l.conn = conn
	return true
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

func (l *wireLink) publish(m *outgoing, token uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nats.ErrConnectionClosed
	case l.conn == nil:
		return nats.ErrConnectionReconnecting
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
	l.wg.Wait()
}

const headerLine = "NATS/1.0\r\n"

// appendPublish frames a message:
//
//	HPUB <subject> <reply> <header bytes> <total bytes>\r\n<header><payload>\r\n
func appendPublish(b []byte, m *outgoing, inbox string, token uint64) []byte {
	size := m.headerSize()
	b = append(b, "HPUB "...)
	b = append(b, m.subject...)
	b = append(b, ' ')
	b = append(b, inbox...)
	b = strconv.AppendUint(b, token, 36)
	b = append(b, m.flow...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(size+len(m.data)), 10)
	b = append(b, "\r\n"+headerLine...)
	for _, f := range m.header {
		b = append(b, f.name...)
		b = append(b, ": "...)
		b = append(b, f.value...)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, m.data...)
	return append(b, "\r\n"...)
}

var errWire = errors.New("eventlog: the server's answer can't be understood")

// read reads the server's answers until the connection ends.
func (l *wireLink) read(in *bufio.Reader) error {
	var body []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		switch {
		case bytes.HasPrefix(line, []byte("MSG ")):
			token, size, ok := parseMsgLine(line[len("MSG "):], l.inbox)
			if !ok {
				return errWire
			}
			if body, err = readBody(in, body, size); err != nil {
				return err
			}
			l.deliver(token, body, false)
		case bytes.HasPrefix(line, []byte("HMSG ")):
			token, size, ok := parseMsgLine(line[len("HMSG "):], l.inbox)
			if !ok {
				return errWire
			}
			if body, err = readBody(in, body, size); err != nil {
				return err
			}
			// The only answer with a header is that nobody listens.
			l.deliver(token, nil, bytes.HasPrefix(body, []byte("NATS/1.0 503")))
		case bytes.HasPrefix(line, []byte("PING")):
			l.mu.Lock()
			l.out = append(l.out, "PONG\r\n"...)
			l.wake.Signal()
			l.mu.Unlock()
		case bytes.HasPrefix(line, []byte("-ERR")):
			return fmt.Errorf("%w: %s", errWire, line)
		}
	}
}

// readBody reads a message's payload and the line end behind it.
func readBody(in *bufio.Reader, body []byte, size int) ([]byte, error) {
	if cap(body) < size+2 {
		body = make([]byte, size+2)
	}
	body = body[:size+2]
	if _, err := io.ReadFull(in, body); err != nil {
		return body, err
	}
	return body[:size], nil
}

// maxAnswer is far above any answer to a publish, in bytes.
const maxAnswer = 1 << 20

// parseMsgLine reads "<subject> <sid> [<header bytes>] <total bytes>" and
// returns the token, which is the subject's next part behind the inbox.
func parseMsgLine(line []byte, inbox string) (token uint64, size int, ok bool) {
	subject, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || !bytes.HasPrefix(subject, []byte(inbox)) {
		return 0, 0, false
	}
	i := bytes.LastIndexByte(rest, ' ')
	if i < 0 {
		return 0, 0, false
	}
	head, _, _ := bytes.Cut(subject[len(inbox):], []byte("."))
	token, err := strconv.ParseUint(string(head), 36, 64)
	if err != nil {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(string(rest[i+1:]), 10, 31)
	return token, int(n), err == nil && n <= maxAnswer
}
