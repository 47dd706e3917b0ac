package eventlog

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What waiting may mend is tried again, all else is told at once.
func TestOpenAgain(t *testing.T) {
	api := func(code int, errorCode jetstream.ErrorCode) error {
		return fmt.Errorf("wrapped: %w", &jetstream.APIError{Code: code, ErrorCode: errorCode})
	}
	for _, c := range []struct {
		name  string
		err   error
		since time.Duration
		want  bool
	}{
		{"no meta leader", api(503, 10008), time.Hour, true},
		{"nobody listens", nats.ErrNoResponders, time.Hour, true},
		{"a bucket without a leader", jetstream.ErrNoStreamResponse, time.Hour, true},
		{"servers that haven't met", api(400, codeNoPeers), 0, true},
		{"too few servers", api(400, codeNoPeers), time.Minute, false},
		{"a full server", api(503, codeServerFull), 0, false},
		{"no storage", api(503, codeStorageFull), 0, false},
		{"overlapping subjects", api(400, codeSubjectsOverlap), 0, false},
		{"silence", nats.ErrTimeout, time.Second, true},
		{"silence again", nats.ErrTimeout, 2 * time.Second, false},
		{"something else", errors.New("x"), 0, false},
	} {
		if got := openAgain(c.err, c.since, time.Second); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
