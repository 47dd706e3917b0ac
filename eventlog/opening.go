package eventlog

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// openPatience is how many times Options.RequestTimeout opening a feed
	// may take.
	openPatience = 4
	openRetry    = 100 * time.Millisecond
)

// openAgain says whether a feed that couldn't be opened may be tried again
// soon: servers of a cluster that has just started accept requests before
// they have elected a leader, or met each other. It is safe at any point,
// since the register of feeds says how far opening had come.
func openAgain(err error, since time.Duration, patience time.Duration) bool {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return true
	}
	if errors.Is(err, nats.ErrTimeout) {
		// A request that is sent in the middle of an election can get lost in
		// silence. One more, which finds what the first may have done.
		return since < 2*patience
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case !ok:
		return false
	case api.ErrorCode == codeNoPeers:
		// The same is said of more replicas than there will ever be servers.
		return since < patience
	}
	return api.Code == 503 && !slices.Contains(definite503, api.ErrorCode)
}

// pauseOpening waits a moment, and is false where ctx ends in it.
func pauseOpening(ctx context.Context) bool {
	select {
	case <-time.After(openRetry):
		return true
	case <-ctx.Done():
		return false
	}
}
