package projection_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// T2.15: closed in the middle of a batch, and of a commit, a runtime stops at a
// whole one; going on, it neither loses nor repeats an event.
func TestClosedInMidBatch(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	const commits = 40
	var at eventlog.Position
	for range commits {
		at = b.append(t, "ada", deposited{1}, deposited{1})
	}
	calls := 0
	reached, closing := make(chan struct{}), make(chan struct{})
	program := func() (src, low *projection.Table[string, int64]) {
		src = projection.NewTable[string, int64]("src")
		projection.On(src, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			if calls++; calls == 11 { // the first event of the sixth commit
				close(reached)
				<-closing
				// What the reader lends is still there.
				if again, err := eventlog.Decode[deposited](e); err != nil || again != d {
					t.Errorf("%s: %+v, then %+v: %v", e.Position(), d, again, err)
				}
			}
			tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
			return nil
		})
		return src, projection.Map("low", src, func(_ string, v int64) int64 { return -v })
	}
	src, low := program()
	rt := b.start(t, projection.Config{Background: true}, src, low)
	<-reached
	closed := make(chan error, 1)
	go func() { closed <- rt.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed while a handler runs: %v", err)
	case <-time.After(20 * time.Millisecond): // all others have ended meanwhile
	}
	close(closing)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	had, _ := src.Get("ada")
	if seq, _ := src.At().Get("accounts"); had%2 != 0 || had != int64(2*seq) || int(had) != calls {
		t.Errorf("closed at %d with %d, %d calls", seq, had, calls)
	}
	src, low = program()
	rt = b.start(t, projection.Config{}, src, low)
	wait(t, rt, at)
	equal(t, "src", src, map[string]int64{"ada": 2 * commits})
	equal(t, "low", low, map[string]int64{"ada": -2 * commits})
	if calls != 2*commits {
		t.Errorf("%d events were handled, and there are %d", calls, 2*commits)
	}
}

// T2.15: what a handler is at work on stays lent to it while the runtime
// closes, for as long as it takes: with the tag tidemark_mangle, an event of a
// batch that was given back is no event any more.
func TestClosedWhileABatchIsLent(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		log := must(eventlog.Open(t.Context(), eventlog.Options{App: "app", Memory: true}))(t)
		b := bankOf(t, log)
		reached := make(chan struct{})
		table := projection.NewTable[string, int64]("t")
		projection.On(table, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			if d.Cents == 1 {
				close(reached)
				bubble.Pass(time.Minute) // all that closes without this handler has closed
			}
			tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
			return nil
		})
		rt := must(projection.Config{NoSnapshots: true, CloseTimeout: -1}.Start(t.Context(), log, table))(t)
		b.append(t, "ada", deposited{1}, deposited{2}, deposited{4})
		<-reached
		if err := errors.Join(rt.Close(), table.Err(), log.Close()); err != nil {
			t.Error(err)
		}
		equal(t, "closed", table, map[string]int64{"ada": 7})
	})
}
