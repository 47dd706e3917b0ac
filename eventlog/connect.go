package eventlog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// pingEvery is how often a server is asked whether it is still there.
const pingEvery = 5 * time.Second

// connect makes the log's connection: in this process, to the URL, or takes
// the caller's. Nothing behind it knows which of them it was.
func (l *Log) connect(ctx context.Context) error {
	o := l.opts
	if o.Conn != nil {
		l.nc = o.Conn
		l.hearDenied()
		return nil
	}
	opts := []nats.Option{
		nats.Name("tidemark/" + o.App),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond),
		// What is published while there is no connection fails at once: the
		// writer keeps it and sends it again, and knows that it wasn't sent.
		nats.ReconnectBufSize(-1),
		nats.Timeout(o.RequestTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			e := o.Logger.Warn().Err(err)
			if sub != nil {
				e = e.Str("subject", sub.Subject)
			}
			e.Msg("eventlog: nats connection")
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				o.Logger.Warn().Err(err).Msg("eventlog: disconnected")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			l.reach.reconnected(nc.ConnectedUrl())
			o.Logger.Info().Str("url", nc.ConnectedUrlRedacted()).Msg("eventlog: reconnected")
		}),
	}
	url := o.URL
	if l.embedded != nil {
		opts = append(opts, nats.InProcessServer(l.embedded.srv))
		url = ""
	} else {
		// A server that says nothing any more is left after 15 s, which is below
		// ResolveTimeout: what is in flight is sent again elsewhere.
		opts = append(opts, nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2))
	}
	auth, err := authOptions(o)
	if err != nil {
		return err
	}
	if l.embedded == nil { // else they are what the server that listens asks others for
		opts = append(opts, auth...)
	}
	opts = append(append(opts, o.NATS...), unblock)
	if l.embedded == nil {
		opts = append(opts, l.reach.heed)
	}
	if l.nc, err = dial(ctx, url, opts); err != nil {
		return connectError(ctx, url, err)
	}
	l.ownConn = true
	l.reach.connected(l.nc)
	l.hearDenied()
	return nil
}

func authOptions(o Options) (opts []nats.Option, err error) {
	switch {
	case o.CredentialsFile != "":
		if err := readCredentials(o.CredentialsFile); err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentials(o.CredentialsFile))
	case o.NKeySeedFile != "":
		opt, err := nats.NkeyOptionFromSeed(o.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("eventlog: NKeySeedFile %s: %w: %w: %w", o.NKeySeedFile, ErrCredentials, ErrInvalid, err)
		}
		opts = append(opts, opt)
	case o.Token != "":
		opts = append(opts, nats.Token(o.Token))
	case o.User != "" || o.Password != "":
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.TLS != nil {
		opts = append(opts, nats.Secure(o.TLS))
	}
	return opts, nil
}

// redact keeps what may be a password in the URL out of errors and logs.
func redact(url string) string {
	if url == "" {
		return "the embedded server"
	}
	if i := strings.LastIndexByte(url, '@'); i >= 0 {
		return "..." + url[i:]
	}
	return url
}
