//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
)

// follower reads a book from its start, and on through outages.
type follower struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	last atomic.Uint64

	records []record // the goroutine's, until it has ended
	err     error
}

func follow(ctx context.Context, book *eventlog.Feed) *follower {
	ending, stop := context.WithCancel(ctx)
	f := &follower{stop: stop}
	f.wg.Go(func() {
		for c, err := range book.Commits(ending, eventlog.Follow()) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					f.err = fmt.Errorf("follower behind %s: %w", at(f.last.Load()), err)
				}
				return
			}
			r, err := recordOf(c)
			if err != nil {
				f.err = err
				return
			}
			f.records = append(f.records, r)
			f.last.Store(r.seq)
		}
		f.err = errors.New("the follower ended without an error")
	})
	return f
}

// end waits until the follower is at the records' end, and fails unless it
// saw each once and in order. T1.13
func (f *follower) end(ctx context.Context, t testing.TB, records []record) {
	t.Helper()
	await(ctx, t, fmt.Sprintf("the follower reaches %d", len(records)), func() bool { return f.last.Load() >= uint64(len(records)) })
	f.stop()
	f.wg.Wait()
	if f.err != nil {
		t.Error(f.err)
	}
	if len(f.records) != len(records) {
		t.Fatalf("the follower saw %d commits, and there are %d", len(f.records), len(records))
	}
	for i, r := range f.records {
		if r.seq != records[i].seq || r.id != records[i].id || r.key != records[i].key {
			t.Fatalf("the follower's commit %d is %d %s, not %d %s", i+1, r.seq, r.id, records[i].seq, records[i].id)
		}
	}
}
