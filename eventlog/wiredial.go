package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// wireInfo is what a server says of itself when a connection begins.
type wireInfo struct {
	Name         string `json:"server_name"`
	Nonce        string `json:"nonce"`
	MaxPayload   int    `json:"max_payload"`
	Headers      bool   `json:"headers"`
	TLSRequired  bool   `json:"tls_required"`
	TLSAvailable bool   `json:"tls_available"`
}

// wireConnect is what a client says of itself.
type wireConnect struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	JWT          string `json:"jwt,omitempty"`
	NKey         string `json:"nkey,omitempty"`
	Signature    string `json:"sig,omitempty"`
	User         string `json:"user,omitempty"`
	Password     string `json:"pass,omitempty"`
	Token        string `json:"auth_token,omitempty"`
	TLSRequired  bool   `json:"tls_required"`
	Name         string `json:"name"`
	Lang         string `json:"lang"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
}

func newWireConnect() wireConnect {
	return wireConnect{Name: "tidemark-writer", Lang: "go", Version: formatVersion, Headers: true, NoResponders: true}
}

const (
	wireTimeout = 5 * time.Second // for a connection to begin
	wireBuffer  = 64 << 10
)

// embeddedDialer connects to a server in this process, where there is nothing
// to authenticate.
type embeddedDialer struct{ srv *server.Server }

func (d embeddedDialer) patience() time.Duration { return 0 }

func (d embeddedDialer) dial(_ context.Context, inbox string) (*wireConn, error) {
	conn, err := d.srv.InProcessConn()
	if err != nil {
		return nil, err
	}
	return greet(conn, inbox, func(c *wireConn, _ wireInfo) (wireConnect, error) { return newWireConnect(), nil })
}

// greet begins a connection: it reads the server's greeting, lets secure see
// to encryption and say who connects, subscribes to the inbox, and waits
// until the server has taken all that in. It closes conn where that fails.
func greet(conn net.Conn, inbox string, secure func(*wireConn, wireInfo) (wireConnect, error)) (_ *wireConn, err error) {
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
	var info wireInfo
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(line, []byte("INFO "))
	if !ok {
		return nil, errWire
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	me, err := secure(c, info)
	if err != nil {
		return nil, err
	}
	if c.maxPayload = info.MaxPayload; !info.Headers || c.maxPayload <= 0 {
		return nil, fmt.Errorf("%w: a server without headers, or a maximum payload", errWire)
	}
	if err := c.introduce(me, inbox); err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

// introduce says who connects, and subscribes.
func (c *wireConn) introduce(me wireConnect, inbox string) error {
	said, err := json.Marshal(me)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.Conn, "CONNECT %s\r\nSUB %s> 1\r\nPING\r\n", said, inbox); err != nil {
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
