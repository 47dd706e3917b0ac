package effect_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/projection"
)

// The server's clock of access times must belong to no bubble of fake time.
func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

// R2.34, T2.2: at a replay, outcomes may come before what they are of: the rows
// are the same wherever the intent comes among them, and nothing that has an
// end is wanted.
func TestOutcomesBeforeTheirIntents(t *testing.T) {
	orders, err := eventlog.Offline("orders", eventlog.Type[Placed]("placed"))
	if err != nil {
		t.Fatal(err)
	}
	failed, gaveUp := effect.Failed{Attempts: 1, Error: "no"}, effect.GaveUp{Attempts: 2, Error: "no"}
	for name, c := range map[string]struct {
		outcomes              []any
		rows, pending, parked int
		attempt               int
	}{
		"none":    {nil, 1, 1, 0, 1},
		"done":    {[]any{failed, effect.Done{Attempts: 2}}, 0, 0, 0, 0},
		"passed":  {[]any{effect.Passed{}}, 0, 0, 0, 0},
		"failed":  {[]any{failed}, 1, 1, 0, 2},
		"gave up": {[]any{failed, gaveUp}, 1, 0, 1, 0},
		"retried": {[]any{failed, gaveUp, effect.Retried{By: "ops"}}, 1, 1, 0, 1},
		"dropped": {[]any{gaveUp, effect.Dropped{By: "ops"}}, 0, 0, 0, 0},
	} {
		var want string
		id := idOf(t, orders)
		for intent := range len(c.outcomes) + 1 { // so many come before it
			o, err := effect.Offline[mail]("mails", 1)
			if err != nil {
				t.Fatal(err)
			}
			effect.On(o, orders, func(tx *effect.Tx[mail], e eventlog.Event, _ Placed) error {
				tx.Want("", mail{To: e.Key})
				return nil
			})
			r, err := projection.Rehearse(o)
			if err != nil {
				t.Fatal(err)
			}
			apply := func(f *eventlog.Feed, key string, seq int, e any) (stated int) {
				t.Helper()
				commit, err := f.Rehearse(eventlog.Draft{Key: key, Events: []any{e}}, uint64(seq), time.Unix(int64(seq), 0))
				if err != nil {
					t.Fatal(err)
				}
				by, err := r.Apply(commit)
				if err != nil {
					t.Fatal(err)
				}
				return len(o.Stated(by))
			}
			for i := range len(c.outcomes) + 1 {
				if i == intent {
					if n := apply(orders, "ada", 1, Placed{"tea"}); i == 0 && n != 1 || i == len(c.outcomes) && n != c.pending {
						t.Errorf("%s, the intent behind %d: %d are stated", name, i, n)
					}
				}
				if i < len(c.outcomes) {
					if n := apply(o.Outcomes(), id, i+1, c.outcomes[i]); n != 0 {
						t.Errorf("%s: outcome %d states %d", name, i, n)
					}
				}
			}
			dump, err := r.Dump()
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(dump); want == "" {
				want = got
			} else if got != want {
				t.Errorf("%s, the intent behind %d: %s, want %s", name, intent, got, want)
			}
			due, err := o.Due(time.Unix(1e6, 0), effect.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(dump[0].Rows) != c.rows || o.Pending() != c.pending || len(o.Parked()) != c.parked || len(due) != c.pending {
				t.Errorf("%s, the intent behind %d: %d rows, %d pending, %d parked, %d due", name, intent, len(dump[0].Rows), o.Pending(), len(o.Parked()), len(due))
			} else if len(due) == 1 && due[0].Attempt != c.attempt {
				t.Errorf("%s: attempt %d, want %d", name, due[0].Attempt, c.attempt)
			}
		}
	}
}

// Who takes over waits until its table has every outcome of the one before,
// else it would repeat what has ended; and what has not changed isn't marked
// again.
func TestTakeOverWaitsForOutcomes(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		a, b, p := openShop(t, log, 1), openShop(t, log, 1), newPost()
		a.order("ada")
		if err := b.rt.Wait(t.Context(), eventlog.Position{Feed: "orders", Seq: 1}); err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		b.gate.Store(&gate)
		a.order("bob") // b's handler hangs at it
		synctest.Wait()
		a.run(p, effect.Options{})
		bubble.Pass(10 * time.Minute)
		a.stop()
		b.run(p, effect.Options{})
		bubble.Pass(time.Minute)
		synctest.Wait()
		wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0")
		close(gate)
		bubble.Pass(10 * time.Minute)
		b.stop()
		wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0")
		types := map[string]int{}
		for e, err := range b.mails.Outcomes().Read(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			types[e.Type]++
		}
		if types["done"] != 2 || types["marked"] > 3 {
			t.Errorf("in 20 minutes: %v", types)
		}
		a.close()
		b.close()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}

// idOf is the ID of mails' effect for the first order, of ada.
func idOf(t *testing.T, orders *eventlog.Feed) string {
	t.Helper()
	o, err := effect.Offline[mail]("mails", 1)
	if err != nil {
		t.Fatal(err)
	}
	effect.On(o, orders, func(tx *effect.Tx[mail], _ eventlog.Event, _ Placed) error {
		tx.Want("", mail{})
		return nil
	})
	r, err := projection.Rehearse(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := orders.Rehearse(eventlog.Draft{Key: "ada", Events: []any{Placed{"tea"}}}, 1, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(c); err != nil {
		t.Fatal(err)
	}
	return idsOf(t, o)[0]
}
