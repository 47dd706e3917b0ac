//go:build integration

package integration

import (
	"context"
	"hash/fnv"
	"maps"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// added is the event of all of these tests: one of the Of events of a
// writer's N-th append.
type added struct {
	Writer   string
	N        int    // from 1
	Part, Of int    // Part from 1
	Prev     uint64 // the key's last sequence, as far as the writer expected one
}

// tally is what is derived for a key. Chain depends on every event and on
// their order.
type tally struct {
	Events int
	Last   uint64
	Chain  uint64
}

func (s tally) with(seq uint64, a added) tally {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.Writer))
	return tally{Events: s.Events + 1, Last: seq, Chain: s.Chain*1_000_003 + h.Sum64() + uint64(a.N)*31 + uint64(a.Part)}
}

// openBook opens the feed that the tests use.
func openBook(ctx context.Context, log *eventlog.Log) (*eventlog.Feed, error) {
	return log.Feed(ctx, "book", eventlog.Type[added]("added"))
}

// openLog opens a log and its book; the log is closed when the test ends.
func openLog(ctx context.Context, t testing.TB, o eventlog.Options) (*eventlog.Log, *eventlog.Feed) {
	t.Helper()
	log := must(eventlog.Open(ctx, o))(t)
	t.Cleanup(func() { _ = log.Close() })
	return log, must(openBook(ctx, log))(t)
}

const tallies = "tallies" // the projection's name

func tallyTable(book *eventlog.Feed) *projection.Table[string, tally] {
	t := projection.NewTable[string, tally](tallies)
	projection.On(t, book, func(tx *projection.Tx[string, tally], e eventlog.Event, a added) error {
		tx.Put(e.Key, tx.Value(e.Key).with(e.Seq, a))
		return nil
	})
	return t
}

// everyFew is a policy that saves as often as it can.
func everyFew(events uint64) projection.Config {
	return projection.Config{Snapshots: projection.Policy{Events: events, MinInterval: 1}}
}

// readOnly restores, and saves nothing.
func readOnly() projection.Config {
	return projection.Config{Snapshots: projection.Policy{Events: 1 << 50, Bytes: 1 << 50, NotOnClose: true}}
}

// record is a commit of the book, kept.
type record struct {
	seq     uint64
	key, id string
	events  []added
}

func (r record) writer() string { return r.events[0].Writer }
func (r record) n() int         { return r.events[0].N }
func (r record) prev() uint64   { return r.events[0].Prev }

func recordOf(c *eventlog.Commit) (record, error) {
	r := record{seq: c.Seq, key: c.Key, id: c.ID}
	for i := range c.Len() {
		a, err := eventlog.Decode[added](c.Event(i))
		if err != nil {
			return r, err
		}
		r.events = append(r.events, a)
	}
	return r, nil
}

// readBook reads all that the log has now.
func readBook(ctx context.Context, t testing.TB, book *eventlog.Feed) []record {
	t.Helper()
	var records []record
	for c, err := range book.Commits(ctx) {
		if err != nil {
			t.Fatalf("read behind %d commits: %v", len(records), err)
		}
		records = append(records, must(recordOf(c))(t))
	}
	return records
}

// fold is the plain oracle beside the projection.
func fold(records []record) map[string]tally {
	state := make(map[string]tally)
	for _, r := range records {
		for _, a := range r.events {
			state[r.key] = state[r.key].with(r.seq, a)
		}
	}
	return state
}

// sameState fails unless the state is what the records fold to.
func sameState(t testing.TB, what string, got map[string]tally, records []record) {
	t.Helper()
	want := fold(records)
	if maps.Equal(got, want) {
		return
	}
	t.Errorf("%s: it has %d keys, the fold of %d commits has %d", what, len(got), len(records), len(want))
	for key, w := range want {
		if g := got[key]; g != w {
			t.Errorf("%s: key %q is %+v, want %+v", what, key, g, w)
			return
		}
	}
}

// must returns a value, and fails the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
