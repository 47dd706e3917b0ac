package projection_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

type (
	kind0 struct{ N int64 }
	kind1 struct{ N int64 }
	kind2 struct{ N int64 }
)

// kinds are the event types of all releases.
var kinds = []struct {
	name   string
	typ    eventlog.FeedOption
	value  any
	handle func(*projection.Table[string, int64], *eventlog.Feed)
}{
	{"kind0", eventlog.Type[kind0]("kind0"), kind0{}, handleKind[kind0](1)},
	{"kind1", eventlog.Type[kind1]("kind1"), kind1{}, handleKind[kind1](100)},
	{"kind2", eventlog.Type[kind2]("kind2"), kind2{}, handleKind[kind2](10_000)},
}

// handleKind's rows depend on the order of the events.
func handleKind[D any](weight int64) func(*projection.Table[string, int64], *eventlog.Feed) {
	return func(t *projection.Table[string, int64], f *eventlog.Feed) {
		projection.On(t, f, func(tx *projection.Tx[string, int64], e eventlog.Event, _ D) error {
			tx.Put(e.Key, tx.Value(e.Key)*3+weight)
			return nil
		})
	}
}

// release is a program: which types it knows and handles, and its policy.
type release struct {
	knows, handles []int // into kinds
	unknown        projection.UnknownPolicy
	raw            bool // it keeps unknown types on the feed, and counts them
}

// run starts the release over a log as a process of its own does, until it has
// caught up, and saves.
func (r release) run(t *testing.T, o eventlog.Options, feed string) (rows map[string]int64, s projection.Status, err error) {
	t.Helper()
	log := must(eventlog.Open(t.Context(), o))(t)
	defer log.Close()
	var types []eventlog.FeedOption
	for _, k := range r.knows {
		types = append(types, kinds[k].typ)
	}
	if r.raw {
		types = append(types, eventlog.Unknown(eventlog.KeepUnknown))
	}
	f := must(log.Feed(t.Context(), feed, types...))(t)
	table := projection.NewTable[string, int64](feed, projection.OnUnknown(r.unknown))
	for _, k := range r.handles {
		kinds[k].handle(table, f)
	}
	if r.raw {
		handleKind[eventlog.Raw](7)(table, f)
	}
	rt := must(projection.Start(t.Context(), log, table))(t)
	rows, err, s = contents(table), table.Err(), status(t, rt, feed)
	if err := rt.Close(); err != nil && !errors.Is(err, projection.ErrStopped) {
		t.Fatal(err)
	}
	return rows, s, err
}

// fold is what the release makes of all events, from a state on that is good up
// to a place; and whether it stops, which it does at the first event after that
// place that it may not pass.
func (r release) fold(from int, log ...int) (rows map[string]int64, stops bool) {
	rows = map[string]int64{}
	for i, k := range log {
		key, weight := fmt.Sprint("k", i%3), []int64{1, 100, 10_000}[k]
		switch {
		case !slices.Contains(r.knows, k) && r.raw:
			weight = 7
		case !slices.Contains(r.knows, k) && r.unknown == projection.StopAtUnknown && i >= from:
			return rows, true
		case !slices.Contains(r.handles, k):
			continue
		}
		rows[key] = rows[key]*3 + weight
	}
	return rows, false
}

func appendKinds(t *testing.T, f *eventlog.Feed, from int, log ...int) {
	for i, k := range log {
		must(f.Append(t.Context(), fmt.Sprint("k", (from+i)%3), eventlog.ExpectAny, kinds[k].value))(t)
	}
}

// Releases that know, handle and pass over different types run one after another
// over one log and its snapshots, forwards and back: each has the state that a
// replay by itself makes, and stops at what it may not pass. What an earlier
// release has come beyond, because it knew the type and didn't handle it either,
// isn't met again.
func TestReleasesProperty(t *testing.T) {
	log := logtest.Fresh(t)
	o := eventlog.Options{App: log.App(), Conn: log.Conn()}
	feeds := 0
	rapid.Check(t, func(rt *rapid.T) {
		feeds++
		name := fmt.Sprint("feed-", feeds)
		f := must(log.Feed(t.Context(), name, kinds[0].typ, kinds[1].typ, kinds[2].typ))(t)
		var events []int
		for range rapid.IntRange(1, 5).Draw(rt, "releases") {
			more := rapid.SliceOfN(rapid.IntRange(0, 2), 0, 4).Draw(rt, "events")
			appendKinds(t, f, len(events), more...)
			events = append(events, more...)
			r := release{
				unknown: rapid.SampledFrom([]projection.UnknownPolicy{projection.StopAtUnknown, projection.PassUnknown}).Draw(rt, "policy"),
				raw:     rapid.IntRange(0, 3).Draw(rt, "raw") == 0,
				knows:   []int{0}, handles: []int{0},
			}
			for k := 1; k < len(kinds); k++ {
				if n := rapid.IntRange(0, 2).Draw(rt, "kind"); n > 0 {
					if r.knows = append(r.knows, k); n > 1 {
						r.handles = append(r.handles, k)
					}
				}
			}
			got, s, err := r.run(t, o, name)
			from, _ := s.Recovery.From.Get(name)
			want, stops := r.fold(int(from), events...)
			if !maps.Equal(got, want) || errors.Is(err, eventlog.ErrUnknownType) != stops {
				rt.Fatalf("%+v over %d: %v, %v; want %v, stopping %v; %+v", r, events, got, err, want, stops, s.Recovery)
			}
		}
	})
}

// An old instance beside a new one: the new one appends a type that the old one
// doesn't know. With PassUnknown the old one goes on, counts, and saves; the new
// one, which handles the type, doesn't use what the old one saved, and a later
// one, which only knows the type, does.
func TestOldInstancePassesNewTypes(t *testing.T) {
	log := logtest.Fresh(t)
	o := eventlog.Options{App: log.App(), Conn: log.Conn()}
	f := must(log.Feed(t.Context(), "bank", kinds[0].typ, kinds[1].typ))(t)
	events := []int{0, 0, 1, 0}
	appendKinds(t, f, 0, events...)
	run := func(name string, r release, source projection.Source, unknown uint64) {
		t.Helper()
		got, s, err := r.run(t, o, "bank")
		if want, _ := r.fold(0, events...); !maps.Equal(got, want) || err != nil {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
		if s.Recovery.Source != source || s.Unknown != unknown {
			t.Errorf("%s: %+v, %d unknown", name, s.Recovery, s.Unknown)
		}
	}
	old := release{knows: []int{0}, handles: []int{0}}
	if _, _, err := old.run(t, o, "bank"); !errors.Is(err, eventlog.ErrUnknownType) {
		t.Errorf("without the policy it goes on: %v", err)
	}
	old.unknown = projection.PassUnknown
	run("old, with the policy", old, projection.FromSnapshot, 1) // from where it had stopped
	run("new", release{knows: []int{0, 1}, handles: []int{0, 1}}, projection.FromReplay, 0)
	run("old again", old, projection.FromSnapshot, 0) // its own
	run("a later one", release{knows: []int{0, 1}, handles: []int{0}, unknown: projection.PassUnknown}, projection.FromSnapshot, 0)
	if _, s, err := (release{knows: []int{0}, handles: []int{0}}).run(t, o, "bank"); !errors.Is(err, eventlog.ErrUnknownType) || s.Recovery.From.String() != "bank=2" {
		t.Errorf("without the policy, what passed over is used: %v, %+v", err, s.Recovery)
	}
}

// A model that is saved as its events passes over one of an unknown type in a
// commit that it handles, when it is live and when it is restored.
func TestModelPassesUnknownTypes(t *testing.T) {
	o := logtest.Options(t)
	for round := range 3 {
		log := must(eventlog.Open(t.Context(), o))(t)
		f := must(log.Feed(t.Context(), "bank", kinds[0].typ))(t)
		type counter struct{ n int }
		m := projection.NewModel("count", func() *counter { return new(counter) }, projection.OnUnknown(projection.PassUnknown))
		projection.OnModel(m, f, func(c *counter, _ eventlog.Event, _ kind0) error {
			c.n++
			return nil
		})
		rt := must(projection.Start(t.Context(), log, m))(t)
		newer := must(eventlog.Open(t.Context(), eventlog.Options{App: o.App, Conn: log.Conn()}))(t)
		g := must(newer.Feed(t.Context(), "bank", kinds[0].typ, kinds[1].typ))(t)
		at := must(g.Append(t.Context(), "k", eventlog.ExpectAny, kind0{}, kind1{}, kind0{}))(t)
		wait(t, rt, at)
		n := 0
		m.View(func(c *counter) { n = c.n })
		if s := status(t, rt, "count"); n != 2*(round+1) || m.Err() != nil || round > 0 && s.Recovery.Source != projection.FromSnapshot {
			t.Errorf("round %d: %d, %v, %+v", round, n, m.Err(), s.Recovery)
		}
		if err := errors.Join(rt.Close(), newer.Close(), log.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
