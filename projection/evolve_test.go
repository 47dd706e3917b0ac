package projection_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// What an earlier program stored: an amount of whole units, under a name of
// its own, and a transfer that is two events today.
type (
	paid  struct{ Units int64 }
	moved struct{ Cents int64 }
)

func evolved(more ...eventlog.FeedOption) []eventlog.FeedOption {
	return append([]eventlog.FeedOption{
		eventlog.Type[deposited]("deposited"), eventlog.Type[withdrawn]("withdrawn"), eventlog.Type[closed]("closed"),
		eventlog.UpcastMany("moved", func(m moved) ([]any, error) {
			return []any{deposited(m), withdrawn{m.Cents - 1}}, nil
		}, eventlog.Into[deposited](), eventlog.Into[withdrawn]()),
	}, more...)
}

func units(factor int64) eventlog.FeedOption {
	return eventlog.Upcast("paid", func(p paid) (deposited, error) { return deposited{p.Units * factor}, nil })
}

// Handlers see what upcasters make; a snapshot of another set of upcasters
// isn't trusted, and the same set is restored.
func TestUpcastEventsAreHandled(t *testing.T) {
	o := logtest.Options(t)
	log := logtest.Open(t, o)
	old := must(log.Feed(t.Context(), "accounts", eventlog.Type[paid]("paid"), eventlog.Type[moved]("moved"), eventlog.Type[closed]("closed")))(t)
	must(old.Append(t.Context(), "ada", eventlog.ExpectAny, paid{3}, moved{50}))(t)
	must(old.Append(t.Context(), "bob", eventlog.ExpectAny, paid{4}))(t)
	must(old.Append(t.Context(), "bob", eventlog.ExpectAny, closed{}))(t)
	_ = log.Close()

	run := func(source projection.Source, want map[string]int64, types ...eventlog.FeedOption) projection.Status {
		t.Helper()
		log := logtest.Open(t, o)
		b := &bank{log: log}
		b.accounts = must(log.Feed(t.Context(), "accounts", types...))(t)
		balances := b.balances(projection.Version(1))
		rt := b.start(t, projection.Config{}, balances)
		equal(t, "balances", balances, want)
		s := status(t, rt, "balances")
		if s.Recovery.Source != source {
			t.Errorf("came from %s, want %s: %v", s.Recovery.Source, source, s.Recovery.Skipped)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
		_ = log.Close()
		return s
	}
	hundred := map[string]int64{"ada": 301}
	run(projection.FromReplay, hundred, evolved(units(100))...)
	run(projection.FromSnapshot, hundred, evolved(units(100))...)
	// Another way to the same types: through a name in between.
	s := run(projection.FromReplay, hundred, evolved(
		eventlog.Upcast("paid", func(p paid) (withdrawn, error) { return withdrawn{-100 * p.Units}, nil }))...)
	if len(s.Recovery.Skipped) == 0 || !strings.Contains(s.Recovery.Skipped[0], "upcasters") {
		t.Errorf("reasons %q", s.Recovery.Skipped)
	}
}

// An upcaster that fails stops the projection at the last whole commit, with
// the position and the reason.
func TestUpcastFails(t *testing.T) {
	o := logtest.Options(t)
	log := logtest.Open(t, o)
	old := must(log.Feed(t.Context(), "accounts", eventlog.Type[paid]("paid"), eventlog.Type[closed]("closed")))(t)
	must(old.Append(t.Context(), "ada", eventlog.ExpectAny, paid{3}))(t)
	must(old.Append(t.Context(), "ada", eventlog.ExpectAny, closed{}, paid{-1}))(t)
	_ = log.Close()
	b := &bank{log: logtest.Open(t, o)}
	b.accounts = must(b.log.Feed(t.Context(), "accounts", evolved(eventlog.Upcast("paid", func(p paid) (deposited, error) {
		if p.Units < 0 {
			panic("negative")
		}
		return deposited{p.Units}, nil
	}))...))(t)
	balances := b.balances()
	rt := b.start(t, projection.Config{}, balances)
	equal(t, "balances", balances, map[string]int64{"ada": 3})
	stop, ok := errors.AsType[*projection.StoppedError](status(t, rt, "balances").Err)
	if !ok || !errors.Is(stop, eventlog.ErrUpcast) || stop.Position != (eventlog.Position{Feed: "accounts", Seq: 2, Index: 1}) || !strings.Contains(stop.Error(), "negative") {
		t.Errorf("stopped: %v", stop)
	}
}

// Events of unknown types: passed over, or handled as they are.
func TestUnknownEventsAreKept(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	b.append(t, "ada", opened{"Ada"}, deposited{5})
	b.append(t, "ada", closed{}, closed{})
	o := eventlog.Options{App: b.log.App(), Conn: b.log.Conn()}
	log := logtest.Open(t, o)
	c := &bank{log: log}
	c.accounts = must(log.Feed(t.Context(), "accounts", eventlog.Type[deposited]("deposited"), eventlog.Unknown(eventlog.KeepUnknown)))(t)
	sums, seen := projection.NewTable[string, int64]("sums"), projection.NewTable[string, int]("seen")
	projection.On(sums, c.accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	projection.On(seen, c.accounts, func(t *projection.Tx[string, int], e eventlog.Event, r eventlog.Raw) error {
		t.Put(r.Type, t.Value(r.Type)+1)
		return nil
	})
	c.start(t, projection.Config{NoSnapshots: true}, sums, seen)
	equal(t, "sums", sums, map[string]int64{"ada": 5})
	equal(t, "seen", seen, map[string]int{"opened": 1, "closed": 2})
}
