package projection

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"github.com/tidemark-es/tidemark/snapshot"
)

type fuzzed struct{ N int }

// storedCommit is a commit as a model's snapshot and a parked row have it.
func storedCommit(f *testing.F, feed *eventlog.Feed, seq uint64) []byte {
	f.Helper()
	c, err := feed.Rehearse(eventlog.Draft{Key: "k", Events: []any{fuzzed{1}, fuzzed{2}}}, seq, time.Unix(1, 0).UTC())
	if err != nil {
		f.Fatal(err)
	}
	return c.AppendStored(nil)
}

func fuzzedFeed(f *testing.F) *eventlog.Feed {
	f.Helper()
	feed, err := eventlog.Offline("notes", eventlog.Type[fuzzed]("noted"))
	if err != nil {
		f.Fatal(err)
	}
	return feed
}

// FuzzParkedRow decodes a row of what is set aside, and the commit in it.
func FuzzParkedRow(f *testing.F) {
	feed := fuzzedFeed(f)
	row, err := eventlog.MsgPack.Append(nil, &parkedRow{Feed: "notes", Key: "k", Type: "noted", Seq: 7, Err: "x", Commit: storedCommit(f, feed, 7)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row)
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzmem.Check(t, len(data), 300, 1<<20, func() {
			var r parkedRow
			if eventlog.MsgPack.Decode(data, &r) != nil {
				return
			}
			if c, err := feed.DecodeStored(r.Commit); err == nil {
				for i := range c.Len() {
					_, _ = c.Event(i).Value()
				}
			}
		})
	})
}

// FuzzModelEvents loads a model from the entries of a snapshot: the types, and
// two commits.
func FuzzModelEvents(f *testing.F) {
	feed := fuzzedFeed(f)
	one, two := storedCommit(f, feed, 3), storedCommit(f, feed, 9)
	f.Add([]byte("notes noted\n"), commitKey("notes", 3), one, commitKey("notes", 9), two)
	f.Add([]byte("\n \nnotes\n"), []byte("notes"), one, []byte{}, []byte{})
	f.Add([]byte("notes noted\n"), commitKey("other", 3), one, commitKey("notes", 3), two)
	f.Fuzz(func(t *testing.T, types, key, value, key2, value2 []byte) {
		m := NewModel("model", func() *[]int { return new([]int) })
		OnModel(m, feed, func(model *[]int, _ eventlog.Event, d fuzzed) error {
			*model = append(*model, d.N)
			return nil
		})
		m.n.feeds = map[string]*eventlog.Feed{"notes": feed}
		entries := func(yield func(snapshot.Change, error) bool) {
			_ = yield(snapshot.Change{Key: typesKey, Value: types}, nil) &&
				yield(snapshot.Change{Key: key, Value: value}, nil) &&
				yield(snapshot.Change{Key: key2, Value: value2}, nil)
		}
		size := len(types) + len(value) + len(value2)
		fuzzmem.Check(t, size, 300, 1<<20, func() { _ = m.load(entries, nil, true) })
	})
}
