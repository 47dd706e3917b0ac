package endtest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes connections on to a server, until it falls silent: then it
// takes what comes, and passes nothing on any more.
type Proxy struct {
	listener net.Listener
	target   string
	silent   atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

// NewProxy is a proxy in front of a server's "host:port", until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target}
	go p.serve()
	t.Cleanup(p.close)
	return p
}

// URL is where clients connect to.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Silence ends passing on, of all connections that there are and will be.
func (p *Proxy) Silence() { p.silent.Store(true) }

// Cut breaks the connections that there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *Proxy) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		go p.pass(in, out)
		go p.pass(out, in)
	}
}

func (p *Proxy) pass(from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err == nil && !p.silent.Load() {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.Cut()
}
