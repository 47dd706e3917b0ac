package projection_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// The kinds of models: a plain one, whose events are stored; one that saves
// itself; one that does so beside the handlers.
type (
	ledger struct {
		Lines []string
		Sums  map[string]int64
	}
	savingLedger struct {
		ledger
		fail   error // of Snapshot
		writes int
	}
	capturingLedger struct{ savingLedger }
)

type book interface {
	projection.Projection
	look() (lines []string, sums map[string]int64, err error)
}

type bookOf[T any] struct {
	*projection.Model[T]
	of func(T) *ledger
}

func (b bookOf[T]) look() (lines []string, sums map[string]int64, err error) {
	err = b.View(func(m T) { lines, sums = slices.Clone(b.of(m).Lines), maps.Clone(b.of(m).Sums) })
	return lines, sums, err
}

func (l *savingLedger) Snapshot(w io.Writer) error {
	l.writes++
	if l.fail != nil {
		return l.fail
	}
	return json.NewEncoder(w).Encode(l.ledger)
}

func (l *savingLedger) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(&l.ledger) }

func (l *capturingLedger) Capture() (func(io.Writer) error, error) {
	data, err := json.Marshal(l.ledger)
	return func(w io.Writer) error { _, err := w.Write(data); return err }, err
}

func newLedger() ledger { return ledger{Sums: make(map[string]int64)} }

var errPoison = errors.New("poison")

func bookModel[T any](b *bank, name string, fresh func() T, of func(T) *ledger, opts ...projection.TableOption) book {
	m := projection.NewModel(name, fresh, opts...)
	projection.OnModel(m, b.accounts, func(l T, e eventlog.Event, d deposited) error {
		of(l).Lines = append(of(l).Lines, fmt.Sprintf("%s %s %d", e.ID(), e.Key, d.Cents))
		of(l).Sums[e.Key] += d.Cents
		if d.Cents == 666 {
			return errPoison
		}
		return nil
	})
	projection.OnModel(m, b.audits, func(l T, e eventlog.Event, d audited) error {
		of(l).Sums[e.Key] += 1_000_000
		return nil
	})
	return bookOf[T]{m, of}
}

// books makes one model of each kind.
func (b *bank) books() map[string]book {
	return map[string]book{
		"events":    bookModel(b, "events", func() *ledger { return new(newLedger()) }, func(l *ledger) *ledger { return l }),
		"bytes":     bookModel(b, "bytes", func() *savingLedger { return &savingLedger{ledger: newLedger()} }, func(l *savingLedger) *ledger { return &l.ledger }),
		"capturing": bookModel(b, "capturing", func() *capturingLedger { return &capturingLedger{savingLedger{ledger: newLedger()}} }, func(l *capturingLedger) *ledger { return &l.ledger }),
	}
}

// R0.1 to R0.5, T0.6: models of every kind and a table in one unit. All are
// saved and restored, also where the log no longer has what they consumed:
// the events of the one that can't save itself are in the snapshot.
func TestModels(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	start := func() (map[string]book, *projection.Table[string, int64], *projection.Runtime) {
		books, table := b.books(), b.balances()
		return books, table, b.start(t, often(5), projection.NewUnit("u", table, books["events"], books["bytes"], books["capturing"]))
	}
	want := newLedger()
	write := func(n int) (at eventlog.Position) {
		for i := range n {
			key := fmt.Sprintf("k%d", i%3)
			at = b.append(t, key, deposited{int64(i)}, deposited{7})
			c, _, err := b.accounts.Lookup(ctx, at.Seq)
			if err != nil {
				t.Fatal(err)
			}
			for j, cents := range []int64{int64(i), 7} {
				want.Lines = append(want.Lines, fmt.Sprintf("%s %s %d", c.Event(j).ID(), key, cents))
				want.Sums[key] += cents
			}
		}
		return at
	}
	check := func(what string, books map[string]book) {
		t.Helper()
		for name, m := range books {
			lines, sums, err := m.look()
			if err != nil || !slices.Equal(lines, want.Lines) || !maps.Equal(sums, want.Sums) {
				t.Errorf("%s: %s: %d lines, sums %v, %v; want %d, %v", what, name, len(lines), sums, err, len(want.Lines), want.Sums)
			}
		}
	}
	for round := range 3 {
		books, table, rt := start()
		check("restored", books)
		for _, s := range rt.Metrics() {
			if want := (projection.FromSnapshot); round > 0 && (s.Recovery.Source != want || s.Recovery.Replayed != 0) {
				t.Errorf("round %d: %s: %+v", round, s.Projection, s.Recovery)
			}
		}
		at := write(11)
		if round == 1 {
			at = b.audit(t, "k0", "x")
			want.Sums["k0"] += 1_000_000
		}
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		if err := rt.Wait(ctx, eventlog.Position{Feed: "accounts", Seq: must(b.accounts.State(ctx))(t).Last}); err != nil {
			t.Fatal(err)
		}
		check("live", books)
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		if st := status(t, rt, "events"); st.Snapshots.LastError != "" || st.Snapshots.Saves == 0 {
			t.Errorf("snapshots %+v", st.Snapshots)
		}
		if table.Len() != 3 {
			t.Errorf("%d rows", table.Len())
		}
		purge(t, b, must(b.accounts.State(ctx))(t).Last) // all but the anchor
	}
}

// R0.4: a model whose Snapshot fails doesn't keep the others of its unit from
// being saved; what it had saved before stays, and the next start goes on
// from there.
func TestModelFailsToSave(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	disk := errors.New("out of ink")
	for round, fail := range []error{nil, disk, nil} {
		table := b.balances()
		saving := &savingLedger{}
		m := bookModel(b, "bytes", func() *savingLedger {
			saving = &savingLedger{ledger: newLedger(), fail: fail}
			return saving
		}, func(l *savingLedger) *ledger { return &l.ledger })
		rt := b.start(t, projection.Config{}, projection.NewUnit("u", table, m))
		at := b.append(t, "a", deposited{1})
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		err := rt.Close()
		if (err != nil) != (fail != nil) || (fail != nil && !strings.Contains(err.Error(), disk.Error())) {
			t.Errorf("round %d: close: %v", round, err)
		}
		if st := status(t, rt, "balances"); st.Snapshots.Saves != 1 {
			t.Errorf("round %d: %+v", round, st.Snapshots)
		}
		wantReplayed := []map[string]uint64{{}, {}, {"bytes": 1}}[round]
		for _, s := range rt.Metrics() {
			if s.Recovery.Replayed != wantReplayed[s.Projection] {
				t.Errorf("round %d: %s: %+v", round, s.Projection, s.Recovery)
			}
		}
		_, sums, err := m.look()
		if err != nil || sums["a"] != int64(round+1) {
			t.Errorf("round %d: %v, %v", round, sums, err)
		}
	}
}

// A model that an event has left half changed isn't shown and isn't saved;
// the others are. The next start restores it from before, and stops at the
// same event.
func TestModelStopsTorn(t *testing.T) {
	for _, kind := range []string{"events", "bytes", "capturing"} {
		for _, alone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s alone=%v", kind, alone), func(t *testing.T) {
				b := openBank(t, logtest.Options(t))
				ctx := logtest.Context(t)
				b.append(t, "a", deposited{1})
				for round := range 2 {
					table, m := b.balances(), b.books()[kind]
					parts := []projection.Projection{m}
					if !alone {
						parts = append(parts, table)
					}
					rt := b.start(t, projection.Config{}, projection.NewUnit("u", parts...))
					if round == 0 {
						if _, _, err := m.look(); err != nil {
							t.Fatal(err)
						}
						if err := rt.Close(); err != nil { // a snapshot of the good state
							t.Fatal(err)
						}
						b.append(t, "a", deposited{2}, deposited{666})
						continue
					}
					at := b.append(t, "a", deposited{4})
					stop, ok := errors.AsType[*projection.StoppedError](rt.Wait(ctx, at))
					if !ok || stop.Position.Seq != 2 || stop.Position.Index != 1 || !errors.Is(stop, errPoison) {
						t.Errorf("stopped: %v", stop)
					}
					if _, _, err := m.look(); !errors.Is(err, errPoison) {
						t.Errorf("a torn model was shown: %v", err)
					}
					if st := status(t, rt, kind); st.State != projection.Stopped || st.Recovery.Source != projection.FromSnapshot {
						t.Errorf("%+v", st)
					}
					if err := rt.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// T0.14 for models: random writes, restarts, crashes and saves by another
// process: always the plain fold.
func TestModelProperty(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: many restarts")
	}
	log := logtest.Open(t, inMemory(t))
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		ctx := context.Background()
		b := &bank{log: log}
		b.accounts = must(log.Feed(ctx, fmt.Sprintf("accounts-%d", run), eventlog.Type[deposited]("deposited")))(t)
		b.audits = must(log.Feed(ctx, fmt.Sprintf("audits-%d", run), eventlog.Type[audited]("audited")))(t)
		want, lines := map[string]int64{}, 0
		last := map[string]eventlog.Position{}
		for restart := range rapid.IntRange(2, 4).Draw(rt, "restarts") {
			cfg := often(rapid.Uint64Range(1, 5).Draw(rt, "every"))
			cfg.Snapshots.NotOnClose = rapid.Bool().Draw(rt, "crash")
			kinds := b.books()
			var parts []projection.Projection
			for _, k := range []string{"bytes", "capturing", "events"} {
				if restart == 0 || rapid.IntRange(0, 3).Draw(rt, k) > 0 { // T0.8: not known for a while
					parts = append(parts, kinds[k])
				} else {
					delete(kinds, k)
				}
			}
			if len(parts) == 0 {
				continue
			}
			r := must(cfg.Start(ctx, log, projection.NewUnit(fmt.Sprintf("u-%d", run), parts...)))(t)
			for range rapid.IntRange(0, 6).Draw(rt, "writes") {
				key := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key")
				if rapid.IntRange(0, 3).Draw(rt, "feed") == 0 {
					last["audits"] = b.audit(t, key, "x")
					want[key] += 1_000_000
					continue
				}
				var events []any
				for range rapid.IntRange(1, 3).Draw(rt, "n") {
					events = append(events, deposited{1})
					want[key]++
					lines++
				}
				last["accounts"] = b.append(t, key, events...)
			}
			for _, at := range last {
				if err := r.Wait(ctx, at); err != nil {
					rt.Fatal(err)
				}
			}
			for k, m := range kinds {
				l, sums, err := m.look()
				if err != nil || len(l) != lines || !maps.Equal(sums, want) {
					rt.Fatalf("%s: %d lines, %v, %v; want %d, %v", k, len(l), sums, err, lines, want)
				}
			}
			if err := r.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}
