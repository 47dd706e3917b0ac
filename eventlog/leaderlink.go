package eventlog

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	neturl "net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// leaderLink carries a feed's publishes to servers elsewhere. It has two ways:
// the log's own connection, which is always there, and a second connection of
// nats.go's to the server that leads the feed's stream, which saves each commit
// a way between servers. The log's connection serves until the second one is
// found, and again when that breaks, so no append ever waits for it.
//
// Invariants:
//   - At any time all publishes go one way, so their order is the callers'.
//   - A change from the log's connection to the second one is made only while
//     nothing is in flight (writer.quietly).
//   - A change back counts as a loss: what was in flight is sent again.
//
// Logging in, TLS and the protocol are nats.go's alone: the second connection
// has the options of the first one. Rejected: following the leader with the
// log's connection itself, which would take readers along, and can't be done
// to a caller's connection.
type leaderLink struct {
	common  *clientLink
	deliver answer

	mu     sync.Mutex
	own    *clientLink // nil: there is none
	broken uint64      // second connections that have ended
	closed bool
}

func newLeaderLink(nc *nats.Conn, deliver answer) (*leaderLink, error) {
	common, err := openClientLink(nc, deliver)
	if err != nil {
		return nil, err
	}
	return &leaderLink{common: common, deliver: deliver}, nil
}

func (l *leaderLink) publish(m *outgoing, token uint64) error {
	if own := l.second(); own != nil {
		if err := own.publish(m, token); !errors.Is(err, nats.ErrConnectionClosed) {
			return err
		}
	}
	return l.common.publish(m, token)
}

// second is the connection to the leader, nil where there is none any more.
func (l *leaderLink) second() *clientLink {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.own != nil && l.own.nc.IsClosed() {
		l.own = nil
		l.broken++
	}
	return l.own
}

// losses changes with every connection that broke under what is in flight.
func (l *leaderLink) losses() uint64 {
	own := l.second()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.broken << 32
	if own == nil {
		n += l.common.losses()
	}
	return n
}

// use takes a connection to the leader for all that is published from now on.
func (l *leaderLink) use(nc *nats.Conn) error {
	own, err := openClientLink(nc, l.deliver)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old, closed := l.own, l.closed
	if !closed {
		l.own = own
	}
	l.mu.Unlock()
	if closed {
		return nats.ErrConnectionClosed
	}
	if old != nil {
		old.nc.Close()
	}
	return nil
}

func (l *leaderLink) close() {
	l.mu.Lock()
	own := l.own
	l.own, l.closed = nil, true
	l.mu.Unlock()
	if own != nil {
		own.nc.Close()
	}
	l.common.close()
}

const (
	leaderLook = 10 * time.Second       // how often the writer asks where the leader is
	quietFor   = 200 * time.Millisecond // how long commits are held back for a change to another connection
)

// leader is the name of the server that leads the stream; "" where there is
// only one, or it isn't known now.
func (f *Feed) leader(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, addressWait)
	defer cancel()
	var resp struct {
		Cluster *jetstream.ClusterInfo `json:"cluster"`
	}
	if err := f.ask(ctx, "STREAM.INFO."+f.stream, nil, &resp); err != nil || resp.Cluster == nil || len(resp.Cluster.Replicas) == 0 {
		return ""
	}
	return resp.Cluster.Leader
}

// connectTo connects to the named server, nil where that can't be had: each
// address that may be its is tried for addressWait at most.
func (f *Feed) connectTo(ctx context.Context, name string) *nats.Conn {
	for _, url := range f.log.nc.Servers() {
		if ctx.Err() != nil || !f.log.reach.mayLead(url, name) {
			continue
		}
		nc, err := f.dialSecond(url)
		if err != nil {
			f.log.reach.tried(url, "")
			f.log.opts.Logger.Debug().Err(err).Str("feed", f.name).Msg("eventlog: no connection of the writer's own")
			continue
		}
		at := nc.ConnectedServerName()
		f.log.reach.tried(url, at)
		if at == name {
			return nc
		}
		nc.Close()
	}
	return nil
}

// dialSecond connects to one server as the log's connection does.
func (f *Feed) dialSecond(url string) (*nats.Conn, error) {
	nc := f.log.nc
	u, err := neturl.Parse(url)
	if err != nil {
		return nil, err
	}
	o := nc.Opts
	if current, err := neturl.Parse(nc.ConnectedUrl()); err == nil && current.Host != "" {
		u.User = current.User
		// A server that was discovered may be known by its address alone, and
		// its certificate by the name of the one that was given.
		byAddress := net.ParseIP(u.Hostname()) != nil && net.ParseIP(current.Hostname()) == nil
		if byAddress && (o.TLSConfig == nil || o.TLSConfig.ServerName == "") {
			cfg := &tls.Config{MinVersion: tls.VersionTLS12}
			if o.TLSConfig != nil {
				cfg = o.TLSConfig.Clone()
			}
			cfg.ServerName = current.Hostname()
			o.TLSConfig = cfg
		}
	}
	o.Url, o.Servers = u.String(), nil
	o.Name, o.Timeout = "tidemark-writer", addressWait
	o.CustomDialer = quickDialer(&o)
	o.PingInterval, o.MaxPingsOut = pingEvery, 1
	o.AllowReconnect, o.RetryOnFailedConnect = false, false
	o.ConnectedCB, o.ReconnectedCB, o.ReconnectErrCB, o.DiscoveredServersCB, o.LameDuckModeHandler = nil, nil, nil, nil, nil
	o.DisconnectedCB, o.DisconnectedErrCB, o.ClosedCB, o.ReconnectToServerCB = nil, nil, nil, nil
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) {
		f.log.denials.note(f.log.inboxPrefix(), nc.Stats().Reconnects, err)
	}
	return o.Connect()
}

// follow keeps the writer's link with the stream's leader until the writer
// ends.
func (w *writer) follow(l *leaderLink) {
	tick := time.NewTicker(leaderLook)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(w.f.keeper.end, cancel)()
	for {
		w.lead(ctx, l)
		select {
		case <-tick.C:
		case <-w.stop:
			return
		}
	}
}

// lead moves the link to the leader where it is elsewhere.
func (w *writer) lead(ctx context.Context, l *leaderLink) {
	at := l.common.nc
	if own := l.second(); own != nil {
		at = own.nc
	}
	name := w.f.leader(ctx)
	if name == "" || name == at.ConnectedServerName() {
		return
	}
	nc := w.f.connectTo(ctx, name)
	if nc == nil {
		return
	}
	used := false
	w.quietly(quietFor, func() { used = l.use(nc) == nil })
	if used {
		w.f.leaderURL.Store(new(nc.ConnectedUrl()))
	} else {
		nc.Close()
	}
}

// quietly does something while nothing is in flight: new commits are held back
// until all that were sent have an outcome, and go on then in their callers'
// order. Where that takes longer than limit it does nothing.
func (w *writer) quietly(limit time.Duration, do func()) {
	w.mu.Lock()
	idle, resume := make(chan struct{}), make(chan struct{})
	if len(w.inflight) == 0 {
		close(idle)
	} else {
		w.idle = idle
	}
	w.held = resume
	w.mu.Unlock()

	patience := time.NewTimer(limit)
	defer patience.Stop()
	select {
	case <-idle:
	case <-patience.C:
	case <-w.stop:
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.inflight) == 0 && !w.closed {
		do()
		w.losses = w.link.losses()
	}
	w.idle, w.held = nil, nil
	close(resume)
}

// lockUnheld locks w.mu when no commits are held back. An error means that ctx
// or the writer ended first, and that w.mu isn't locked.
func (w *writer) lockUnheld(ctx context.Context) error {
	w.mu.Lock()
	for w.held != nil && !w.closed {
		resume := w.held
		w.mu.Unlock()
		select {
		case <-resume:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.stop:
			return ErrClosed
		}
		w.mu.Lock()
	}
	return nil
}
