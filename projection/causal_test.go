package projection_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// noteSeen appends an audit whose writer had seen a timeframe.
func (b *bank) noteSeen(t testing.TB, key string, seen map[string]uint64) eventlog.Position {
	t.Helper()
	tf := must(timeframe.FromMap(seen))(t)
	return must(b.audits.AppendDraft(t.Context(), eventlog.Draft{Key: key, Events: []any{audited{"x"}}, Seen: tf}))(t)
}

func (b *bank) depositSeen(t testing.TB, key string, seen map[string]uint64, tags ...string) eventlog.Position {
	t.Helper()
	tf := must(timeframe.FromMap(seen))(t)
	return must(b.accounts.AppendDraft(t.Context(), eventlog.Draft{Key: key, Events: []any{deposited{1}}, Seen: tf, Tags: tags}))(t)
}

// witness keeps how far it is in each feed, and fails where an event comes
// before one that its writer had seen.
// Where there is a gate, the first audit is handled when that is closed.
func (b *bank) witness(name string, gate ...<-chan struct{}) *projection.Table[string, uint64] {
	type tx = *projection.Tx[string, uint64]
	t := projection.NewTable[string, uint64](name)
	check := func(tx tx, e eventlog.Event) error {
		seen, err := e.Seen()
		if err != nil {
			return err
		}
		for feed, seq := range seen.All() {
			if have := tx.Value(feed); have+1 < seq { // seq may be the marker behind it
				return fmt.Errorf("%s had seen %s@%d, and only %d is there", e.Position(), feed, seq, have)
			}
		}
		tx.Put(e.Feed, e.Seq)
		return nil
	}
	projection.On(t, b.audits, func(tx tx, e eventlog.Event, _ audited) error {
		for _, c := range gate {
			<-c
		}
		return check(tx, e)
	})
	projection.On(t, b.accounts, func(tx tx, e eventlog.Event, _ deposited) error { return check(tx, e) })
	return t
}

// R0.22: what a writer had seen is applied before what it wrote, whatever the
// feeds' speeds, in a replay, live, and behind a snapshot.
func TestCausalOrder(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, inMemory(t))
	rnd := rand.New(rand.NewPCG(1, 2))
	last := map[string]uint64{}
	write := func(n int) (at eventlog.Position) {
		for range n {
			seen := map[string]uint64{}
			for feed, seq := range last {
				if rnd.IntN(3) > 0 {
					seen[feed] = seq - min(seq, uint64(rnd.IntN(3)))
				}
			}
			if rnd.IntN(2) == 0 {
				at = b.noteSeen(t, "k", seen)
			} else {
				at = b.depositSeen(t, "k", seen, "t")
			}
			last[at.Feed] = at.Seq
			if at.Feed == b.accounts.Name() {
				last[at.Feed]++ // the tag's marker
			}
		}
		return at
	}
	write(150)
	for round := range 3 {
		w := b.witness("witness")
		rt := b.start(t, often(50), w)
		at := write(50)
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		for feed, seq := range last {
			if err := rt.Wait(ctx, eventlog.Position{Feed: feed, Seq: seq}); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "behind all", w, map[string]uint64{"accounts": last["accounts"] - 1, "audits": last["audits"]})
		if s := status(t, rt, "witness"); len(s.Held) != 0 || (s.Recovery.Source == projection.FromSnapshot) != (round > 0) {
			t.Errorf("round %d: %+v", round, s)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// T0.15, R0.23: an event that names an absent one is held and reported, and
// doesn't hold the start up; other feeds go on, also through a restart; the
// absent event releases it.
func TestCausalStall(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "k", deposited{1})
	b.audit(t, "k", "free")
	late := b.noteSeen(t, "k", map[string]uint64{"accounts": 4})
	b.audit(t, "k", "behind it")
	told := make(chan eventlog.Stall, 10)
	for round := range 2 {
		c := often(1)
		c.StallAfter, c.Stalled = 20*time.Millisecond, func(s eventlog.Stall) { told <- s }
		w := b.witness("witness")
		rt := b.start(t, c, w)
		if s := <-told; s.Position != late || s.Missing.String() != "accounts=4" || s.Cycle || s.For < 20*time.Millisecond {
			t.Errorf("told of %+v", s)
		}
		at := b.append(t, "k", deposited{1})
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		equal(t, "held", w, map[string]uint64{"accounts": at.Seq, "audits": 1})
		s := status(t, rt, "witness")
		if len(s.Held) != 1 || s.Held[0].Position != late || s.LagTime <= 0 || s.Lag["audits"] != 2 || s.State != projection.Live {
			t.Errorf("%+v", s)
		}
		if round == 0 {
			if err := rt.Close(); err != nil { // in the middle of a batch
				t.Fatal(err)
			}
			continue
		}
		b.append(t, "k", deposited{1}) // the fourth
		if err := rt.Wait(ctx, eventlog.Position{Feed: "audits", Seq: 3}); err != nil {
			t.Fatal(err)
		}
		equal(t, "released", w, map[string]uint64{"accounts": 4, "audits": 3})
		if s := status(t, rt, "witness"); len(s.Held) != 0 || s.LagTime != 0 {
			t.Errorf("%+v", s)
		}
	}
	if len(told) != 0 {
		t.Errorf("told again: %+v", <-told)
	}
}

// A feed that is held itself may have come past the marker that another one
// waits for, and that one goes on: whichever of them is there first.
func TestCausalMarkerOfAHeldFeed(t *testing.T) {
	for try := range 100 {
		if b := savedBeforeAMarker(t); b != nil {
			t.Logf("%d tries before", try)
			goOnBehindTheMarker(t, b)
			return
		}
	}
	t.Error("no save was between a commit and its marker")
}

// savedBeforeAMarker has a snapshot between a commit and its marker, where
// reading was held at the next commit; nil where the marker came in another
// batch than that. The three are read while the handler is at the one before,
// by another unit too: so they are there together when the reader goes on.
func savedBeforeAMarker(t *testing.T) *bank {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	gate := make(chan struct{})
	beside := projection.NewTable[string, int]("beside")
	projection.On(beside, b.audits, func(*projection.Tx[string, int], eventlog.Event, audited) error { return nil })
	rt := b.start(t, projection.Config{StallAfter: time.Millisecond}, b.witness("witness", gate), beside)
	b.audit(t, "k", "at the gate")
	must(b.audits.AppendDraft(ctx, eventlog.Draft{Key: "k", Events: []any{audited{"x"}}, Tags: []string{"t"}}))(t)
	last := b.noteSeen(t, "k", map[string]uint64{"accounts": 1})
	read := beside.WaitFor(ctx, last)
	close(gate)
	if err := errors.Join(read, rt.Wait(ctx, eventlog.Position{Feed: "audits", Seq: 2}), rt.Close()); err != nil {
		t.Fatal(err)
	}
	if n, _ := status(t, rt, "witness").At.Get("audits"); n != 2 {
		return nil
	}
	return b
}

func goOnBehindTheMarker(t *testing.T, b *bank) {
	ctx := logtest.Context(t)
	first := b.depositSeen(t, "k", map[string]uint64{"audits": 3}) // the marker
	for range 10 {                                                 // which feed is there first is chance
		w := b.witness("witness")
		rt := b.start(t, projection.Config{Snapshots: projection.Policy{NotOnClose: true}}, w)
		for _, at := range []eventlog.Position{first, {Feed: "audits", Seq: 4}} {
			if err := rt.Wait(ctx, at); err != nil {
				t.Fatal(err)
			}
		}
		if n, _ := status(t, rt, "witness").Recovery.From.Get("audits"); n != 2 {
			t.Fatalf("restored at %d", n)
		}
		equal(t, "behind all", w, map[string]uint64{"accounts": 1, "audits": 4})
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A circle is told of at once, and feeds that aren't read count as seen.
func TestCausalCircleAndForeign(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	b.noteSeen(t, "k", map[string]uint64{"elsewhere": 9})
	b.noteSeen(t, "k", map[string]uint64{"accounts": 1})
	b.depositSeen(t, "k", map[string]uint64{"audits": 2})
	told := make(chan eventlog.Stall, 10)
	n := b.notes()
	b.start(t, projection.Config{StallAfter: time.Hour, Stalled: func(s eventlog.Stall) { told <- s }}, n)
	for range 2 {
		if s := <-told; !s.Cycle || !strings.Contains(s.String(), "in turn") {
			t.Errorf("told of %+v", s)
		}
	}
	equal(t, "in front of the circle", n, map[string]int{"k": 1})
}

// Where a graph is brought to its barrier, what was applied once is applied
// again, even if what it names isn't there: a unit of one feed holds nothing.
func TestCausalBarrier(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.noteSeen(t, "k", map[string]uint64{"accounts": 99})
	b.noteSeen(t, "k", map[string]uint64{"audits": 2}) // itself
	audits := func() *projection.Table[string, int] {
		t := projection.NewTable[string, int]("audits-of")
		projection.On(t, b.audits, func(tx *projection.Tx[string, int], e eventlog.Event, _ audited) error {
			tx.Put(e.Key, tx.Value(e.Key)+1)
			return nil
		})
		return t
	}
	first := audits()
	rt := b.start(t, often(1), first)
	equal(t, "one feed", first, map[string]int{"k": 2})
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	again, notes := audits(), b.notes()
	both := projection.Join("both", again, notes, func(_ string, a, n int) int { return a*10_000 + n })
	rt = b.start(t, often(1), again, notes, both)
	if s := status(t, rt, "audits-of"); s.Recovery.Source != projection.FromSnapshot {
		t.Errorf("%+v", s.Recovery)
	}
	equal(t, "at the barrier", both, map[string]int{"k": 20_002})
	at := b.append(t, "k", deposited{1})
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	equal(t, "beyond", both, map[string]int{"k": 21_002})
}
