package eventlog

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	neturl "net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// remoteDialer connects to servers elsewhere as the log's own connection
// does: the same servers, the same credentials. Of several servers it takes
// the one that leads the feed's stream, which saves each commit a way between
// servers, and lets a burst of commits come in together.
type remoteDialer struct{ f *Feed }

// wireSilence is how long a server may be silent before it is asked whether
// it is there, and again how long it has for the answer.
const wireSilence = 5 * time.Second

func (d remoteDialer) patience() time.Duration { return wireSilence }

// canDial says whether nc is connected in a way that remoteDialer knows.
func canDial(nc *nats.Conn) bool {
	o := &nc.Opts
	if o.InProcessServer != nil || o.CustomDialer != nil || o.ProxyPath != "" {
		return false
	}
	u, err := neturl.Parse(nc.ConnectedUrl())
	return err == nil && (u.Scheme == "nats" || u.Scheme == "tls")
}

var errNotLeader = errors.New("another server leads the stream")

// dial prefers the stream's leader, and takes the next best server where that
// can't be found or reached.
func (d remoteDialer) dial(ctx context.Context, inbox string) (*wireConn, error) {
	leader := d.leader(ctx)
	urls, err := d.servers(leader)
	if err != nil {
		return nil, err
	}
	if leader != "" {
		for _, u := range urls {
			if c, err := d.dialAt(ctx, inbox, u, leader); err == nil {
				return c, nil
			}
		}
	}
	var all []error
	for _, u := range urls {
		c, err := d.dialAt(ctx, inbox, u, "")
		if err == nil {
			return c, nil
		}
		all = append(all, err)
	}
	return nil, errors.Join(all...)
}

// leader is the name of the server that leads the stream; "" where there is
// only one, or nobody says so now.
func (d remoteDialer) leader(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var resp struct {
		Cluster *jetstream.ClusterInfo `json:"cluster"`
	}
	if err := d.f.ask(ctx, "STREAM.INFO."+d.f.stream, nil, &resp); err != nil || resp.Cluster == nil || len(resp.Cluster.Replicas) == 0 {
		return ""
	}
	return resp.Cluster.Leader
}

// servers are all that the log's connection knows, the likeliest first.
func (d remoteDialer) servers(leader string) ([]*neturl.URL, error) {
	nc := d.f.log.nc
	current, err := neturl.Parse(nc.ConnectedUrl())
	if err != nil || current.Host == "" {
		return nil, nats.ErrConnectionReconnecting
	}
	urls := []*neturl.URL{current}
	for _, s := range nc.Servers() {
		u, err := neturl.Parse(s)
		if err != nil || u.Host == current.Host {
			continue
		}
		u.User = current.User
		for _, given := range nc.Opts.Servers {
			// With a scheme, or without; what stands there counts.
			if g, err := neturl.Parse(given); err == nil && g.Host == u.Host && g.User != nil {
				u.User = g.User
			}
		}
		urls = append(urls, u)
	}
	if leader != "" && leader != nc.ConnectedServerName() {
		urls = append(urls[1:], current)
	}
	return urls, nil
}

// dialAt connects to one server. Where it isn't the one that is wanted, it is
// told nothing.
func (d remoteDialer) dialAt(ctx context.Context, inbox string, u *neturl.URL, want string) (*wireConn, error) {
	o := &d.f.log.nc.Opts
	dialer := net.Dialer{Timeout: wireTimeout}
	if o.Dialer != nil {
		dialer = *o.Dialer
		dialer.Timeout = cmp.Or(min(dialer.Timeout, wireTimeout), wireTimeout)
	}
	conn, err := dialer.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	plain := conn // encrypt changes conn
	defer context.AfterFunc(ctx, func() { _ = plain.Close() })()
	if o.TLSHandshakeFirst {
		if conn, err = d.encrypt(ctx, conn, u); err != nil {
			return nil, err
		}
	}
	return greet(conn, inbox, func(c *wireConn, info wireInfo) (wireConnect, error) {
		if want != "" && info.Name != want {
			return wireConnect{}, errNotLeader
		}
		encrypted := o.TLSHandshakeFirst
		if !encrypted && (o.Secure || u.Scheme == "tls" || info.TLSRequired) {
			if !info.TLSRequired && !info.TLSAvailable {
				return wireConnect{}, nats.ErrSecureConnWanted
			}
			var err error
			if c.Conn, err = d.encrypt(ctx, c.Conn, u); err != nil {
				return wireConnect{}, err
			}
			c.in, encrypted = bufio.NewReaderSize(c.Conn, wireBuffer), true
		}
		me := newWireConnect()
		me.TLSRequired = encrypted
		return me, me.identify(o, u.User, info.Nonce)
	})
}

// encrypt makes a TLS connection of conn, which it closes where that fails.
func (d remoteDialer) encrypt(ctx context.Context, conn net.Conn, u *neturl.URL) (_ net.Conn, err error) {
	o := &d.f.log.nc.Opts
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLSConfig != nil {
		cfg = o.TLSConfig.Clone()
	}
	if o.TLSCertCB != nil {
		cert, err := o.TLSCertCB()
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if o.RootCAsCB != nil {
		if cfg.RootCAs, err = o.RootCAsCB(); err != nil {
			return nil, err
		}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
		// A server that was discovered may be known by its address alone.
		known, err := neturl.Parse(d.f.log.nc.ConnectedUrl())
		if err == nil && net.ParseIP(u.Hostname()) != nil && known.Hostname() != "" && net.ParseIP(known.Hostname()) == nil {
			cfg.ServerName = known.Hostname()
		}
	}
	if err := conn.SetDeadline(time.Now().Add(wireTimeout)); err != nil {
		return nil, err
	}
	c := tls.Client(conn, cfg)
	return c, c.HandshakeContext(ctx)
}

// identify says who connects, as nats.go would: what stands in the URL first,
// then the options; a nonce is signed where there is a key.
func (me *wireConnect) identify(o *nats.Options, inURL *neturl.Userinfo, nonce string) (err error) {
	if inURL != nil {
		if password, ok := inURL.Password(); ok {
			me.User, me.Password = inURL.Username(), password
		} else {
			me.Token = inURL.Username()
		}
	} else {
		me.User, me.Password, me.Token, me.NKey = o.User, o.Password, o.Token, o.Nkey
		if o.UserInfo != nil {
			me.User, me.Password = o.UserInfo()
		}
	}
	if o.TokenHandler != nil {
		me.Token = o.TokenHandler()
	}
	if o.UserJWT != nil {
		if me.JWT, err = o.UserJWT(); err != nil {
			return err
		}
	}
	if me.JWT == "" && me.NKey == "" {
		return nil
	}
	if o.SignatureCB == nil {
		return fmt.Errorf("%w: nothing to sign with", errWire)
	}
	sig, err := o.SignatureCB([]byte(nonce))
	me.Signature = base64.RawURLEncoding.EncodeToString(sig)
	return err
}
