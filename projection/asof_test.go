package projection_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

func frame(t testing.TB, m map[string]uint64) timeframe.Timeframe {
	t.Helper()
	return must(timeframe.FromMap(m))(t)
}

// Time travel as a property: at any timeframe, and at the time of any event,
// the state is a plain fold of the log up to there, from whichever snapshot;
// and the live projection stays what it is.
func TestAsOf(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	cfg := often(7)
	live, liveNotes := b.balances(), b.notes()
	rt := b.start(t, cfg, projection.NewUnit("u", live, liveNotes))
	type moment struct {
		balances map[string]int64
		time     time.Time
	}
	history := []moment{{balances: map[string]int64{}}} // by sequence of accounts
	notes := []map[string]int{{}}                       // of the audits alone
	for i := range 60 {
		key := fmt.Sprintf("k%d", i%5)
		if i%4 == 3 {
			b.audit(t, key, "x")
			next := maps.Clone(notes[len(notes)-1])
			next[key]++
			notes = append(notes, next)
			continue
		}
		at := b.append(t, key, deposited{int64(i)}, deposited{1})
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		next := maps.Clone(history[len(history)-1].balances)
		next[key] += int64(i) + 1
		c, _, err := b.accounts.Lookup(ctx, at.Seq)
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, moment{next, c.Time})
	}
	before := contents(live)
	fromSnapshot := 0
	rapid.Check(t, func(r *rapid.T) {
		seq := rapid.IntRange(0, len(history)-1).Draw(r, "accounts")
		audits := rapid.IntRange(0, len(notes)-1).Draw(r, "audits")
		m := map[string]uint64{"accounts": uint64(seq)}
		if audits > 0 || rapid.Bool().Draw(r, "zero") {
			m["audits"] = uint64(audits)
		}
		balances, noted := b.balances(), b.notes()
		past, err := cfg.AsOf(ctx, b.log, frame(t, m), projection.NewUnit("u", balances, noted))
		if err != nil {
			r.Fatal(err)
		}
		if got := contents(balances); !maps.Equal(got, history[seq].balances) {
			r.Fatalf("at %d: %v, want %v", seq, got, history[seq].balances)
		}
		for key, n := range contents(noted) {
			if n%1000 != notes[audits][key] {
				r.Fatalf("notes at %d: %s has %d, want %d", audits, key, n%1000, notes[audits][key])
			}
		}
		if past.Recovery["balances"].Source == projection.FromSnapshot {
			fromSnapshot++
		}
		if seq > 0 {
			again := b.balances()
			past, err := cfg.AsOfTime(ctx, b.log, history[seq].time, again)
			if err != nil {
				r.Fatal(err)
			}
			if got, _ := past.At.Get("accounts"); got != uint64(seq) || !maps.Equal(contents(again), history[seq].balances) {
				r.Fatalf("at %s: %s, want %d", history[seq].time, past.At, seq)
			}
		}
	})
	// The drawn moments may all be before the snapshots that are kept; the
	// last one isn't.
	awaitStatus(t, rt, "a save", func(s projection.SnapshotStatus) bool { return s.Saves > 0 })
	last := frame(t, map[string]uint64{"accounts": uint64(len(history) - 1), "audits": uint64(len(notes) - 1)})
	past, err := cfg.AsOf(ctx, b.log, last, projection.NewUnit("u", b.balances(), b.notes()))
	if err != nil {
		t.Fatal(err)
	}
	if past.Recovery["balances"].Source != projection.FromSnapshot {
		t.Errorf("%d of the drawn ones were from a snapshot, and the last one is from %v", fromSnapshot, past.Recovery["balances"].Source)
	}
	if got := contents(live); !maps.Equal(got, before) {
		t.Errorf("the live table changed to %v", got)
	}
	if err := rt.Wait(ctx, b.append(t, "k0", deposited{1})); err != nil {
		t.Errorf("the live table doesn't go on: %v", err)
	}
	if err := rt.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// T3.15 and what else can't be answered: loud, typed, and never a wrong state.
func TestAsOfUnreachable(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	saved(t, b, 20) // a snapshot at 20
	for range 10 {
		b.append(t, "k0", deposited{1})
	}
	at := func(seq uint64) timeframe.Timeframe { return frame(t, map[string]uint64{"accounts": seq}) }
	try := func(seq uint64) (*projection.Table[string, int64], projection.Past, error) {
		table := b.balances(projection.Version(1))
		past, err := projection.AsOf(ctx, b.log, at(seq), table)
		return table, past, err
	}
	if _, _, err := try(31); !errors.Is(err, projection.ErrAhead) {
		t.Errorf("ahead of the log: %v", err)
	}
	first := must(b.log.JetStream().Stream(ctx, b.accounts.Stream()))(t)
	begun := must(first.Info(ctx))(t).State.FirstTime
	table := b.balances(projection.Version(1))
	if past, err := projection.AsOfTime(ctx, b.log, begun.Add(-time.Second), table); err != nil || table.Len() != 0 {
		t.Errorf("before the log began: %+v, %d rows, %v", past, table.Len(), err)
	}
	purge(t, b, 21)
	if _, _, err := try(10); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Errorf("trimmed: %v", err)
	} else if e, ok := errors.AsType[*projection.UnreachableError](err); !ok || e.Want != 1 || e.First != 21 || e.Feed != "accounts" || len(e.Passed) == 0 {
		t.Errorf("trimmed: %+v", e)
	}
	table, past, err := try(25)
	if err != nil || past.Recovery["balances"].Source != projection.FromSnapshot || past.Recovery["balances"].Replayed != 5 {
		t.Errorf("%+v, %v", past, err)
	}
	equal(t, "at 25", table, map[string]int64{"k0": 7 + 5, "k1": 7, "k2": 6})
	if _, err := projection.AsOfTime(ctx, b.log, begun, b.balances(projection.Version(1))); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Errorf("a time that was trimmed: %v", err)
	}
	past, err = projection.AsOfTime(ctx, b.log, time.Now().Add(time.Hour), b.balances(projection.Version(1)))
	if got, _ := past.At.Get("accounts"); err != nil || got != 30 {
		t.Errorf("now: %+v, %v", past, err)
	}
	b.append(t, "k0", withdrawn{1 << 40})
	quiet := projection.Config{Stopped: func(e *projection.StoppedError) { t.Errorf("the hook of what runs was told: %v", e) }}
	if _, err := quiet.AsOf(ctx, b.log, at(31), b.balances(projection.Version(1))); !errors.Is(err, projection.ErrStopped) {
		t.Errorf("an event that can't be applied: %v", err)
	}
	if _, err := projection.AsOf(ctx, nil, at(1)); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("nil log: %v", err)
	}
	if _, err := projection.AsOf(ctx, b.log, at(1), table); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("used before: %v", err)
	}
}
