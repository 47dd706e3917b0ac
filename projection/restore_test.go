package projection_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// T0.1, T0.14 as a property: a snapshot after every event; restoring after
// any of them and applying the rest always equals a plain fold of the log.
func TestSnapshotAfterEveryEvent(t *testing.T) {
	log := logtest.Open(t, inMemory(t))
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		b := &bank{log: log}
		ctx := context.Background()
		name := func(s string) string { return fmt.Sprintf("%s-%d", s, run) }
		b.accounts = must(log.Feed(ctx, name("accounts"), eventlog.Type[deposited]("deposited"), eventlog.Type[withdrawn]("withdrawn"), eventlog.Type[closed]("closed")))(t)
		b.audits = must(log.Feed(ctx, name("audits"), eventlog.Type[audited]("audited")))(t)
		wantBalances, wantNotes := map[string]int64{}, map[string]int{}
		last := map[string]eventlog.Position{}
		write := func(rt *rapid.T) {
			key := rapid.SampledFrom([]string{"ada", "bob", "eve"}).Draw(rt, "key")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				last["audits"] = b.audit(t, key, "x")
				wantNotes[key]++
			case 1:
				last["accounts"] = b.append(t, key, closed{})
				delete(wantBalances, key)
			default:
				n := rapid.IntRange(1, 3).Draw(rt, "n")
				var events []any
				for range n {
					events = append(events, deposited{int64(n)})
				}
				last["accounts"] = b.append(t, key, events...)
				wantBalances[key] += int64(n * n)
				wantNotes[key] += 1000 * n
			}
		}
		for range rapid.IntRange(2, 4).Draw(rt, "restarts") {
			for range rapid.IntRange(0, 4).Draw(rt, "before") {
				write(rt)
			}
			balances, notes := b.balances(), b.notes()
			var ps []projection.Projection
			if rapid.Bool().Draw(rt, "unit") {
				ps = append(ps, projection.NewUnit(name("unit"), balances, notes))
			} else {
				ps = append(ps, projection.NewUnit(name("one"), balances), projection.NewUnit(name("two"), notes))
			}
			cfg := often(1)
			cfg.Snapshots.NotOnClose = rapid.Bool().Draw(rt, "crash")
			r := must(cfg.Start(ctx, log, ps...))(t)
			for range rapid.IntRange(0, 6).Draw(rt, "after") {
				write(rt)
				if rapid.Bool().Draw(rt, "wait") {
					for _, at := range last {
						if err := r.Wait(ctx, at); err != nil {
							rt.Fatal(err)
						}
					}
				}
			}
			for _, at := range last {
				if err := r.Wait(ctx, at); err != nil {
					rt.Fatal(err)
				}
			}
			if got := contents(balances); !maps.Equal(got, wantBalances) {
				rt.Fatalf("balances %v, want %v", got, wantBalances)
			}
			if got := contents(notes); !maps.Equal(got, wantNotes) {
				rt.Fatalf("notes %v, want %v", got, wantNotes)
			}
			if err := r.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// saved runs a bank once, so that there is a snapshot, and returns its last
// position.
func saved(t *testing.T, b *bank, n int) eventlog.Position {
	t.Helper()
	var at eventlog.Position
	for i := range n {
		at = b.append(t, fmt.Sprintf("k%d", i%3), deposited{1})
	}
	rt := must(projection.Start(logtest.Context(t), b.log, b.balances(projection.Version(1))))(t)
	if err := rt.Wait(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	return at
}

// R0.15: another version, or another meaning of the same version, is
// replayed, and the reason is told; a registered migration is used.
func TestVersions(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	saved(t, b, 9)
	type row struct{ Cents, Events int64 }
	rows := func(opts ...projection.TableOption) *projection.Table[string, row] {
		tab := projection.NewTable[string, row]("balances", opts...)
		projection.On(tab, b.accounts, func(tx *projection.Tx[string, row], e eventlog.Event, d deposited) error {
			r := tx.Value(e.Key)
			tx.Put(e.Key, row{r.Cents + d.Cents, r.Events + 1})
			return nil
		})
		return tab
	}
	quiet := projection.Config{Snapshots: projection.Policy{NotOnClose: true}}
	for _, c := range []struct {
		name   string
		opts   []projection.TableOption
		source projection.Source
		reason string
	}{
		{"same version, another state", []projection.TableOption{projection.Version(1)}, projection.FromReplay, "its version 1 has not"},
		{"another version", []projection.TableOption{projection.Version(2)}, projection.FromReplay, "it holds version 1 of projection \"balances\", this program has 2"},
		{"older program", nil, projection.FromReplay, "this program has 0"},
		{"another codec", []projection.TableOption{projection.Version(1), projection.Codec(eventlog.JSON)}, projection.FromReplay, "codec"},
		{"migrated", []projection.TableOption{projection.Version(2), projection.Migrate(1, func(_ string, old int64) (row, bool) { return row{old, old}, true })}, projection.FromSnapshot, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := rows(c.opts...)
			rt := b.start(t, quiet, tab)
			r := status(t, rt, "balances").Recovery
			if r.Source != c.source || (c.reason == "") != (len(r.Skipped) == 0) || !strings.Contains(strings.Join(r.Skipped, "\n"), c.reason) {
				t.Errorf("recovery %+v", r)
			}
			if r.Migrated != (c.source == projection.FromSnapshot) {
				t.Errorf("migrated: %v", r.Migrated)
			}
			equal(t, "state", tab, map[string]row{"k0": {3, 3}, "k1": {3, 3}, "k2": {3, 3}})
			if err := rt.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	// What was migrated is saved whole, and restored as it is.
	tab := rows(projection.Version(2), projection.Migrate(1, func(_ string, old int64) (row, bool) { return row{old, old}, old > 0 }))
	rt := b.start(t, projection.Config{}, tab)
	b.append(t, "k0", deposited{1})
	if err := rt.Wait(t.Context(), b.append(t, "new", deposited{5})); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	tab = rows(projection.Version(2))
	rt = b.start(t, projection.Config{}, tab)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Errorf("recovery %+v", r)
	}
	equal(t, "state", tab, map[string]row{"k0": {4, 4}, "k1": {3, 3}, "k2": {3, 3}, "new": {5, 1}})
}

// T0.8: a unit holds a projection that this process doesn't know: the others
// restore, and it reaches its full state when it is known again, from what was
// carried forward: by then every manifest that it was saved with is gone.
func TestUnknownProjectionInUnit(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	run := func(want projection.Source, ps ...projection.Projection) *projection.Runtime {
		rt := b.start(t, projection.Config{}, projection.NewUnit("u", ps...))
		last := b.append(t, "ada", deposited{1})
		b.audit(t, "ada", "x")
		if err := rt.Wait(ctx, last); err != nil {
			t.Fatal(err)
		}
		for _, s := range rt.Metrics() {
			if s.Recovery.Source != want {
				t.Errorf("%s: %+v", s.Projection, s.Recovery)
			}
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		return rt
	}
	run(projection.FromNothing, b.balances(), b.notes())
	was := must(b.audits.State(ctx))(t).Last
	for range 6 { // twice what is retained
		run(projection.FromSnapshot, b.balances())
	}
	notes := b.notes()
	rt := run(projection.FromSnapshot, b.balances(), notes)
	for _, s := range rt.Metrics() {
		if from, _ := s.Recovery.From.Get("audits"); s.Projection == "notes" && from != was && from != was-1 {
			t.Errorf("notes were restored as of audits=%d, and were saved at %d", from, was)
		}
	}
	st := must(b.audits.State(ctx))(t)
	if got, want := contents(notes)["ada"], 8000+int(st.Last); got != want && got != want-1 {
		t.Errorf("notes %d, want %d", got, want)
	}
}

// T0.9: whatever is damaged in the bucket costs time, never state: the
// newest readable snapshot serves, else a replay.
func TestDamagedSnapshots(t *testing.T) {
	for _, what := range []string{"chunk.", "manifest.", "head."} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprint(what, " all=", all), func(t *testing.T) {
				b := openBank(t, logtest.Options(t))
				saved(t, b, 10)
				saved(t, b, 10)
				kv := must(b.log.JetStream().KeyValue(t.Context(), b.log.App()+"_snapshots"))(t)
				var newest jetstream.KeyValueEntry
				lister := must(kv.ListKeys(t.Context()))(t)
				for key := range lister.Keys() {
					if !strings.HasPrefix(key, what) {
						continue
					}
					e := must(kv.Get(t.Context(), key))(t)
					if all {
						flip(t, kv, e)
					} else if newest == nil || e.Revision() > newest.Revision() {
						newest = e
					}
				}
				if !all {
					flip(t, kv, newest)
				}
				balances := b.balances(projection.Version(1))
				rt := b.start(t, projection.Config{}, balances)
				r := status(t, rt, "balances").Recovery
				if len(r.Skipped) == 0 {
					t.Errorf("nothing was skipped: %+v", r)
				}
				if want := projection.FromReplay; (all && what != "head.") && r.Source != want {
					t.Errorf("source %s, want %s", r.Source, want)
				}
				equal(t, "state", balances, map[string]int64{"k0": 8, "k1": 6, "k2": 6})
				// What follows is saved again.
				if err := rt.Wait(t.Context(), b.append(t, "k0", deposited{1})); err != nil {
					t.Fatal(err)
				}
				if err := rt.Close(); err != nil {
					t.Fatal(err)
				}
				balances = b.balances(projection.Version(1))
				rt = b.start(t, projection.Config{}, balances)
				if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
					t.Errorf("after the repair: %+v", r)
				}
				equal(t, "state", balances, map[string]int64{"k0": 9, "k1": 6, "k2": 6})
			})
		}
	}
}

func flip(t *testing.T, kv jetstream.KeyValue, e jetstream.KeyValueEntry) {
	t.Helper()
	v := append([]byte(nil), e.Value()...)
	v[len(v)/2] ^= 1
	must(kv.Put(t.Context(), e.Key(), v))(t)
}
