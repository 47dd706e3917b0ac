package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	neturl "net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// dial is nats.Connect until ctx ends; what comes later is closed.
func dial(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result)
	go func() {
		nc, err := nats.Connect(url, opts...)
		select {
		case done <- result{nc, err}:
		case <-ctx.Done():
			if nc != nil {
				nc.Close()
			}
		}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connectError gives an error of connecting its class: final where trying
// again comes to the same.
func connectError(ctx context.Context, url string, err error) error {
	if bad, ok := errors.AsType[*neturl.Error](err); ok {
		return fmt.Errorf("eventlog: connect to %s: %w: URL: %w", redact(url), ErrInvalid, bad.Err) // without the URL, which may hold a password
	}
	class, hint := ErrUnavailable, ""
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, nats.ErrNoServers):
		hint = " (is the server running, and the URL right?)"
	case isAny(err, nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported):
		class, hint = ErrUnauthorized, " (set User and Password, Token, CredentialsFile or NKeySeedFile)"
	case isAny(err, fs.ErrNotExist, fs.ErrPermission): // files that Options.NATS names
		class = ErrCredentials
	case isTLS(err):
		class, hint = ErrTLS, " (set Options.TLS as the server wants it)"
	}
	return fmt.Errorf("eventlog: connect to %s: %w: %w%s", redact(url), class, err, hint)
}

// isTLS goes by the words, too: most errors of crypto/tls have no type.
func isTLS(err error) bool {
	text := err.Error()
	return strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ") ||
		isAny(err, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted, nats.ErrConnectionNotTLS, nats.ErrTLS)
}

func isAny(err error, classes ...error) bool {
	for _, c := range classes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}

// readCredentials looks at a file of credentials before anyone connects: what
// is wrong with it would be told like a server that is away.
func readCredentials(file string) error {
	text, err := os.ReadFile(file)
	if err == nil {
		if _, err = nkeys.ParseDecoratedJWT(text); err == nil {
			_, err = nkeys.ParseDecoratedUserNKey(text)
		}
	}
	if err != nil {
		return fmt.Errorf("eventlog: CredentialsFile %s: %w: %w", file, ErrCredentials, err)
	}
	return nil
}
