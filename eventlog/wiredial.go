package eventlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	wireTimeout = 5 * time.Second // for a connection to begin
	wireBuffer  = 64 << 10
)

// wireConn is a connection whose server has taken the inbox in.
type wireConn struct {
	net.Conn
	in         *bufio.Reader
	maxPayload int
}

// dialWire connects to a server in this process, where there is nobody to
// authenticate: it reads the server's greeting, says what it understands,
// subscribes to the inbox, and waits until the server has taken all that in.
func dialWire(srv *server.Server, inbox string) (_ *wireConn, err error) {
	conn, err := srv.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &wireConn{Conn: conn, in: bufio.NewReaderSize(conn, wireBuffer)}
	defer func() {
		if err != nil {
			_ = c.Close()
			err = fmt.Errorf("eventlog: writer's connection: %w", err)
		}
	}()
	if err := c.SetDeadline(time.Now().Add(wireTimeout)); err != nil {
		return nil, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok {
		return nil, errWire
	}
	var info struct {
		MaxPayload int  `json:"max_payload"`
		Headers    bool `json:"headers"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	if c.maxPayload = info.MaxPayload; !info.Headers || c.maxPayload <= 0 {
		return nil, fmt.Errorf("%w: a server without headers, or a maximum payload", errWire)
	}
	if err := c.introduce(inbox); err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

// introduce says what this end understands, and subscribes.
func (c *wireConn) introduce(inbox string) error {
	const hello = `{"verbose":false,"pedantic":false,"tls_required":false,"name":"tidemark-writer","lang":"go","version":"` + formatVersion + `","protocol":0,"headers":true,"no_responders":true}`
	if _, err := fmt.Fprintf(c.Conn, "CONNECT %s\r\nSUB %s> 1\r\nPING\r\n", hello, inbox); err != nil {
		return err
	}
	for {
		line, err := c.in.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case bytes.HasPrefix(line, []byte("-ERR")):
			return fmt.Errorf("server: %s", bytes.TrimSpace(line))
		case bytes.HasPrefix(line, []byte("PONG")):
			return nil
		}
	}
}
