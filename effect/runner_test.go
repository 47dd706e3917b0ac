package effect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
)

// idOf is the ID of ship's effect for a payment of ada's.
func idOf(seq int) string {
	return "ship:" + causeHash("offline", "payments", "ada", fmt.Sprintf("payments@%d", seq)) + ".0"
}

// offline is a runner of an outbox without a log, whose table has an effect for
// each payment, and what these outcomes came to.
func offline(t *testing.T, payments int, outcomes ...outcomeOn) (r *runner[string], tried func() int) {
	t.Helper()
	feed, err := eventlog.Offline("payments", eventlog.Type[paid]("paid"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := Offline[string]("ship", 1)
	if err != nil {
		t.Fatal(err)
	}
	On(o, feed, func(tx *Tx[string], e eventlog.Event, _ paid) error {
		tx.Want("", "send it")
		return nil
	})
	re, err := projection.Rehearse(o)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(f *eventlog.Feed, key string, seq int, e any) {
		c, err := f.Rehearse(eventlog.Draft{Key: key, Events: []any{e}}, uint64(seq), time.Unix(0, 0))
		if err == nil {
			_, err = re.Apply(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range payments {
		apply(feed, "ada", i+1, paid{})
	}
	for i, out := range outcomes {
		apply(o.outcomes, out.id, i+1, out.event)
	}
	calls := 0
	do := func(context.Context, Effect[string]) error { calls++; return nil }
	opts, err := Options{Parallel: 2}.plain()
	if err != nil {
		t.Fatal(err)
	}
	return &runner[string]{o: o, do: do, opts: opts, plan: newSchedule(), results: make(chan result, 9)}, func() int { return calls }
}

type outcomeOn struct {
	id    string
	event any
}

// What the plan says is compared with the table before anything is carried out:
// an effect that has ended, was given up, or was tried by somebody else is left
// to the change that is on its way.
func TestAttemptIsOfThePresentState(t *testing.T) {
	r, tried := offline(t, 3,
		outcomeOn{idOf(1), Done{}}, outcomeOn{idOf(2), GaveUp{}}, outcomeOn{idOf(3), Failed{Attempts: 1}})
	for _, j := range []job{
		{id: idOf(1)}, {id: idOf(1), last: 1}, {id: idOf(2), last: 2}, {id: idOf(3)}, {id: idOf(4)},
	} {
		if res := r.attempt(t.Context(), &j); res != (result{}) || tried() != 0 {
			t.Errorf("%+v: %+v, tried %d times", j, res, tried())
		}
	}
}

// The plan has what is pending, and that alone.
func TestPlanFollowsTheTable(t *testing.T) {
	r, _ := offline(t, 0)
	row := func(stated bool, s status, last uint64) record[string] {
		return record[string]{Stated: stated, Status: s, Last: last, Seq: 1}
	}
	for i, c := range []struct {
		has     bool
		row     record[string]
		planned bool
	}{
		{true, row(true, pending, 0), true},
		{false, record[string]{}, false},
		{true, row(true, pending, 0), true},
		{true, row(true, parked, 5), false},
		{true, row(true, pending, 6), true},
		{true, row(false, ended, 7), false},
	} {
		r.note(&projection.Change[string, record[string]]{Key: "a", New: c.row, Has: c.has})
		j := r.plan.jobs["a"]
		if (j != nil) != c.planned || j != nil && j.last != c.row.Last {
			t.Errorf("change %d: the plan has %+v", i, j)
		}
	}
}

// No more is begun than Parallel says, nor anything without the lease.
func TestStartsWithTheLease(t *testing.T) {
	log := logtest.Fresh(t)
	leases, err := lease.New(lease.Options{App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Session: log.Session()})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := offline(t, 0) // so each attempt finds that there is nothing to do
	if r.lease, err = leases.Acquire(logtest.Context(t), "effects.ship"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		r.plan.want(id, 0, 1, time.Unix(0, 0))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r.start(ended); r.running != 0 {
		t.Errorf("%d are begun when it is over", r.running)
	}
	if r.start(t.Context()); r.running != 2 || len(r.plan.jobs) != 1 {
		t.Errorf("%d are begun, of 2 at a time, and %d left", r.running, len(r.plan.jobs))
	}
	if err := r.lease.Release(logtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	for r.running = 2; r.running > 0; r.running-- {
		<-r.results
	}
	if r.start(t.Context()); r.running != 0 {
		t.Error("one is begun without the lease")
	}
}

// How far the outcomes had come says nothing of an effect: where it did, none
// that is stated behind an outcome would ever be passed over.
func TestOutcomesArePassedOver(t *testing.T) {
	payments, err := eventlog.Offline("payments", eventlog.Type[paid]("paid"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := Offline[string]("ship", 1)
	if err != nil {
		t.Fatal(err)
	}
	On(o, payments, func(tx *Tx[string], e eventlog.Event, _ paid) error {
		tx.Want("", "send it")
		return nil
	})
	re, err := projection.Rehearse(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct {
		feed  *eventlog.Feed
		key   string
		seq   uint64
		event any
	}{{payments, "ada", 1, paid{}}, {o.outcomes, idOf(1), 1, Failed{}}, {payments, "ada", 2, paid{}}} {
		c, err := d.feed.Rehearse(eventlog.Draft{Key: d.key, Events: []any{d.event}}, d.seq, time.Unix(0, 0))
		if err == nil {
			_, err = re.Apply(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(o.stated) > 0 {
		t.Errorf("more is kept than the rows say: %v", o.stated)
	}
	row, _ := o.table.Get(idOf(2))
	run := &runner[string]{o: o, mark: marking{from: map[string]uint64{"payments": 2}, until: row.Time}}
	if !run.passed(idOf(2), &row) {
		t.Error("what is stated behind an outcome isn't passed over")
	}
}

// IDs are for ever: these are those of the first release, and different keys
// have different ones.
func TestTokens(t *testing.T) {
	type number int16
	type small uint8
	long := "0123456789012345678901234567890123456789012345678"
	for _, c := range []struct {
		key  func() (string, error)
		want string
	}{
		{func() (string, error) { return keyToken("ada") }, "ada"},
		{func() (string, error) { return keyToken("a/b c") }, "a%2Fb%20c"},
		{func() (string, error) { return keyToken(number(-7)) }, "-7"},
		{func() (string, error) { return keyToken(small(7)) }, "7"},
		{func() (string, error) { return keyToken(uint64(1 << 63)) }, "9223372036854775808"},
		{func() (string, error) { return keyToken(long[:48]) }, long[:48]},
		{func() (string, error) { return keyToken(long) }, "sha-66576f0097ba29e66b7ca6b62187e327"},
		{func() (string, error) { return keyToken("sha-1") }, "sha-5756e6c781c0e5edf659583469fd3709"},
	} {
		if got, err := c.key(); err != nil || got != c.want {
			t.Errorf("got %q, %v, want %q", got, err, c.want)
		}
	}
	if _, err := keyToken(func() (k struct{ C chan int }) { return k }()); err == nil {
		t.Error("a key that can't be stored has a token")
	}
}

// unanswered is a context that ends for who waits first, and not for the next.
type unanswered struct {
	context.Context
	looked *bool
}

func (u unanswered) Done() <-chan struct{} {
	if *u.looked {
		return u.Context.Done()
	}
	*u.looked = true
	c := make(chan struct{})
	close(c)
	return c
}

// An outcome whose append has no answer is found when it is sent again. One that
// should follow another, of which the log knows nothing though nothing was
// trimmed, is refused: the log has lost its tail.
func TestRecordFindsOrIsRefused(t *testing.T) {
	ctx := logtest.Context(t)
	o, err := New[string](ctx, logtest.Fresh(t), "ship", 1)
	if err != nil {
		t.Fatal(err)
	}
	for id, last := range map[string]uint64{"a": 0, "b": 7} {
		at, err := o.record(unanswered{ctx, new(bool)}, id, last, Done{}, eventlog.Position{})
		if last == 0 && (err != nil || at.Seq != 1) || last > 0 && !errors.Is(err, eventlog.ErrConflict) {
			t.Errorf("behind %d: recorded at %v, %v", last, at, err)
		}
	}
	if st, err := o.outcomes.State(ctx); err != nil || st.Messages != 1 {
		t.Errorf("the feed has %+v, %v", st, err)
	}
}

// What can't be carried out is said at once.
func TestOfflineRunIsRefused(t *testing.T) {
	r, _ := offline(t, 1)
	if err := r.o.Run(t.Context(), r.do, Options{}); !errors.Is(err, eventlog.ErrOffline) {
		t.Errorf("got %v", err)
	}
	if _, err := New[string](t.Context(), nil, "ship", 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("nil log: got %v", err)
	}
}
