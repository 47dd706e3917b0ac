package projection_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// R2.22: a commit that a partition fails at is tried as often as the policy
// says, and what passes is applied; a text of any length is kept cut.
func TestPartitionRetries(t *testing.T) {
	feed := must(eventlog.Offline("accounts", eventlog.Type[deposited]("deposited")))(t)
	policy := projection.FailurePolicy{Retries: 2, Backoff: time.Microsecond, Then: projection.ParkCommit, MaxKept: 1}
	p := projection.NewPartitioned[int64]("rows", 2, projection.OnFailure(policy))
	calls := make(map[int64]int)
	projection.OnRow(p, feed, func(r projection.Row[int64], _ eventlog.Event, d deposited) error {
		calls[d.Cents]++
		r.Put(r.Value() + d.Cents)
		if d.Cents == 666 || d.Cents == 667 || d.Cents == 13 && calls[13] < 3 {
			return errors.New(strings.Repeat("no! ", 2000))
		}
		return nil
	})
	r := must(projection.Rehearse(p))(t)
	apply := func(seq uint64, cents int64) error {
		_, err := r.Apply(must(feed.Rehearse(eventlog.Draft{Key: "ada", Events: []any{deposited{cents}}}, seq, time.Unix(1, 0)))(t))
		return err
	}
	for i, cents := range []int64{1, 13, 666, 2} {
		if err := apply(uint64(i)+1, cents); err != nil {
			t.Fatal(err)
		}
	}
	if v, _ := p.Get("ada"); v != 16 || calls[13] != 3 || calls[666] != 3 || calls[2] != 1 {
		t.Errorf("%d, called %v", v, calls)
	}
	if parked := r.Parked(); len(parked) != 1 || parked[0].Attempts != 3 || len(parked[0].Err) != 4<<10 {
		t.Errorf("parked: %d, %d attempts, %d bytes", len(parked), parked[0].Attempts, len(parked[0].Err))
	}
	// Where no more may be kept, it says that, and why it came to it.
	if err := apply(5, 667); !errors.Is(err, projection.ErrParkedFull) || !strings.Contains(err.Error(), "no! ") {
		t.Errorf("one more: %v", err)
	}
}

// A partitioned table that is restored, beside one that isn't: it passes over
// what it has, and handles what is new.
func TestPartitionsFurtherThanTheirUnit(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	var failed atomic.Int64
	rows := func() *projection.Partitioned[int64] {
		p := projection.NewPartitioned[int64]("rows", 2, projection.OnFailure(projection.FailurePolicy{Then: projection.ParkCommit}))
		projection.OnRow(p, b.accounts, func(r projection.Row[int64], _ eventlog.Event, d deposited) error {
			r.Put(r.Value() + d.Cents)
			if d.Cents == 666 {
				failed.Add(1)
				return errors.New("no")
			}
			return nil
		})
		return p
	}
	rt := b.start(t, projection.Config{}, projection.NewUnit("unit", rows()))
	b.append(t, "ada", deposited{1})
	b.append(t, "ada", deposited{666})
	wait(t, rt, b.append(t, "bob", deposited{2}))
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	b.append(t, "ada", deposited{4})
	p, balances := rows(), b.balances()
	rt = b.start(t, projection.Config{}, projection.NewUnit("unit", p, balances))
	if n := failed.Load(); n != 1 || len(rt.Parked()) != 1 {
		t.Errorf("%d tries of what fails, parked: %+v", n, rt.Parked())
	}
	if got := sources(t, rt, "rows", "balances"); got != "snapshot replay" {
		t.Errorf("restored from %s", got)
	}
	ada, _ := p.Get("ada")
	if bob, _ := p.Get("bob"); ada != 5 || bob != 2 {
		t.Errorf("ada %d, bob %d", ada, bob)
	}
	equal(t, "beside it", balances, map[string]int64{"ada": 5 + 666, "bob": 2})
}
