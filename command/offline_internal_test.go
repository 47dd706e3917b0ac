package command

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

var (
	errNo      = errors.New("no")
	errStopped = errors.New("stopped")
)

// stuck is a state that has come to 3 and doesn't come further: WaitFor fails
// with an error, or waits.
type stuck struct {
	t      *testing.T
	has    bool
	fails  error
	waited bool
}

func (s *stuck) GetAt(string, string) (v int64, ok bool, seq uint64, err error) {
	if s.waited {
		s.t.Error("it is read again, without a reason")
		return 0, false, 0, errStopped
	}
	return 7, s.has, 3, nil
}

func (s *stuck) WaitFor(ctx context.Context, _ eventlog.Position) error {
	if s.waited = true; s.fails != nil {
		return s.fails
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// What a command comes to whose log isn't there: a feed without one refuses
// each question to the leader, so that shows which are asked. Nothing is
// rejected, and nothing appended, on a state of which nobody knows whether it
// is the last.
func TestLeaderIsAskedAndFails(t *testing.T) {
	feed, err := eventlog.Offline("accounts", eventlog.Type[int64]("paid"))
	if err != nil {
		t.Fatal(err)
	}
	rejects := func(int64) ([]any, error) { return nil, errNo }
	for name, c := range map[string]struct {
		state   stuck
		head    uint64 // of the key, as far as it is known; 0: it isn't
		timeout time.Duration
		decide  func(int64) ([]any, error)
		want    error
		known   bool // the head, behind it
	}{
		"a key of which nothing is known":      {stuck{has: true}, 0, time.Hour, rejects, eventlog.ErrOffline, false},
		"a rejection on what seems the last":   {stuck{has: true}, 3, time.Hour, rejects, eventlog.ErrOffline, false},
		"nothing to do, as it seems":           {stuck{has: true}, 2, time.Hour, func(int64) ([]any, error) { return nil, nil }, eventlog.ErrOffline, false},
		"a state that doesn't get to the head": {stuck{has: true}, 4, time.Hour, rejects, eventlog.ErrOffline, false},
		"a caller with less patience":          {stuck{has: true}, 4, patience / 2, rejects, context.DeadlineExceeded, true},
		"a state that has stopped":             {stuck{has: true, fails: errStopped}, 4, time.Hour, rejects, errStopped, true},
		"a new key, as it seems":               {stuck{}, 0, time.Hour, func(int64) ([]any, error) { return []any{int64(1)}, nil }, eventlog.ErrOffline, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.state.t = t
				d, err := New(feed, State[int64](&c.state))
				if err != nil {
					t.Fatal(err)
				}
				key := d.keys.shard("ada").turn("ada", headsPerShard)
				key.head, key.known = c.head, c.head > 0
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				begun := time.Now()
				r, err := d.Do(ctx, "ada", c.decide)
				if !errors.Is(err, c.want) || errors.Is(err, ErrRejected) || r != (Result{}) {
					t.Errorf("got %+v, %v, want %v", r, err, c.want)
				}
				if took := time.Since(begun); took > patience {
					t.Errorf("it took %v", took)
				}
				if key.busy || key.known != c.known {
					t.Errorf("the key is left as %+v", key)
				}
			})
		})
	}
}
