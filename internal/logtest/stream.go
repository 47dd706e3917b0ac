package logtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// noStore is the server's code for a stream whose files it couldn't create.
const noStore jetstream.ErrorCode = 10049

// CreateStream creates a stream that isn't a feed's. A server that deletes an
// account's last stream removes the account's directory a moment later, and
// fails the stream that is created meanwhile; so that is tried again.
func CreateStream(t testing.TB, js jetstream.JetStream, c jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s, err := js.CreateStream(ctx, c)
		if err == nil {
			return s
		}
		if e, ok := errors.AsType[*jetstream.APIError](err); !ok || e.ErrorCode != noStore {
			t.Fatalf("create stream %s: %v", c.Name, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("create stream %s: %v", c.Name, err)
		}
	}
}
