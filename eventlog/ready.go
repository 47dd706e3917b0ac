package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	readyPatience = 30 * time.Second // for a cluster to elect a leader
	// nobodyPatience is how long it may be that nobody listens to JetStream's
	// subjects: servers that have just started, or a leaf whose hub comes back.
	nobodyPatience = 500 * time.Millisecond
	readyRetry     = 100 * time.Millisecond
)

// awaitJetStream waits until the server's JetStream answers: a cluster that
// has just started accepts connections before it has elected a leader. What
// stays as it is isn't waited for.
func (l *Log) awaitJetStream(ctx context.Context) error {
	begun := time.Now()
	for {
		info, err := l.ping(ctx)
		waited := time.Since(begun)
		if err == nil {
			l.domain = info.Domain
			return l.recentEnough()
		}
		hint, class := pingClass(err, waited)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("eventlog: JetStream at %s doesn't answer: %w: %w", l.server(), ErrUnavailable, context.Cause(ctx))
		case class != nil:
			return fmt.Errorf("eventlog: the server at %s: %w: %w%s", l.server(), class, err, hint)
		case waited > readyPatience:
			return fmt.Errorf("eventlog: JetStream at %s doesn't answer: %w: %w", l.server(), ErrUnavailable, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(readyRetry):
		}
	}
}

// pingClass is the class of an error that stays, nil of one that may pass, and
// what to do about it.
func pingClass(err error, waited time.Duration) (hint string, class error) {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return " (enable it for the account; one that is imported from another account under a prefix can't be used)", ErrNoJetStream
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled) && waited >= nobodyPatience:
		return " (is the server started with -js, and Options.Domain right?)", ErrNoJetStream
	case errors.Is(err, ErrDenied), errors.Is(err, nats.ErrPermissionViolation):
		return "", ErrDenied
	case errors.Is(err, nats.ErrConnectionClosed):
		return "", ErrClosed
	case isAny(err, nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired):
		return "", ErrUnauthorized
	}
	return "", nil
}

// server names the server that the log is connected to.
func (l *Log) server() string {
	if url := l.nc.ConnectedUrlRedacted(); url != "" {
		return url
	}
	if l.opts.Conn != nil {
		return "the connection of Options.Conn"
	}
	return redact(l.opts.URL)
}
