package projection_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	added   struct{ N int64 }
	removed struct{ N int64 }
)

// strayed is a feed with a message of another tool between two commits of ours,
// and two of the stray's key after it.
type strayed struct {
	log  *eventlog.Log
	feed *eventlog.Feed
	name string
	at   uint64 // of the stray
	last eventlog.Position
}

func strayedFeed(t *testing.T, log *eventlog.Log, name string, s logtest.Stray) strayed {
	t.Helper()
	b := strayed{log: log, name: name}
	b.feed = must(log.Feed(t.Context(), name, eventlog.Type[added]("added"), eventlog.Type[removed]("removed")))(t)
	put := func(key string, e any) { b.last = must(b.feed.Append(t.Context(), key, eventlog.ExpectAny, e))(t) }
	put("a", added{1})
	put("a", removed{1})
	b.at = s.Publish(t, log, b.feed)
	put("stray", added{5})
	put("b", removed{1})
	put("b", added{1})
	return b
}

func count[D any](t *projection.Table[string, int64], f *eventlog.Feed) *projection.Table[string, int64] {
	projection.On(t, f, func(tx *projection.Tx[string, int64], e eventlog.Event, _ D) error {
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	return t
}

// start starts a table that handles added with a policy, a partitioned one with
// the same, and one that handles removed and stops at failures.
func (b strayed) start(t *testing.T, then projection.FailureAction) (rt *projection.Runtime, adds, removes *projection.Table[string, int64], parts *projection.Partitioned[int64]) {
	t.Helper()
	policy := projection.OnFailure(projection.FailurePolicy{Then: then})
	adds = count[added](projection.NewTable[string, int64](b.name+"-adds", policy), b.feed)
	removes = count[removed](projection.NewTable[string, int64](b.name+"-removes"), b.feed)
	parts = projection.NewPartitioned[int64](b.name+"-parts", 2, policy)
	projection.OnRow(parts, b.feed, func(r projection.Row[int64], _ eventlog.Event, _ added) error {
		r.Put(r.Value() + 1)
		return nil
	})
	rt = must(projection.Start(t.Context(), b.log, adds, removes, parts))(t)
	t.Cleanup(func() { rt.Close() })
	return rt, adds, removes, parts
}

// A message that can't be decoded is a failing commit like any other: for each
// kind of it and each policy, the tables that may have to do with it follow
// their policies, and the others don't notice. What is set aside outlives a
// restart, and once the message is registered a table that had stopped goes on.
func TestStrayMessagesAndPolicies(t *testing.T) {
	log := logtest.Open(t, eventlog.Options{App: logtest.App(t), Dir: t.TempDir(), Listen: "127.0.0.1:-1"})
	for i, s := range logtest.Strays("added") {
		for _, then := range []projection.FailureAction{projection.Stop, projection.Skip, projection.ParkCommit, projection.ParkKey} {
			t.Run(fmt.Sprint(s.Name, "/", then), func(t *testing.T) {
				b := strayedFeed(t, log, fmt.Sprintf("f%d-%d", i, then), s)
				untyped := s.Head == nil // also of one whose headers are malformed
				rt, adds, removes, parts := b.start(t, then)
				want := map[string]int64{"a": 1, "b": 1, "stray": 1}
				switch {
				case then == projection.Stop:
					want = map[string]int64{"a": 1}
				case then == projection.ParkKey && s.Key == "stray":
					delete(want, "stray")
				}
				check := func(t *testing.T) {
					t.Helper()
					equal(t, "adds", adds, want)
					for k := range map[string]int64{"a": 0, "b": 0, "stray": 0} {
						if v, _ := parts.Get(k); v != want[k] {
							t.Errorf("parts: %q is %d, want %d", k, v, want[k])
						}
					}
					for name, err := range map[string]error{"adds": adds.Err(), "parts": parts.Err(), "removes": removes.Err()} {
						stops := then == projection.Stop && name != "removes" || untyped && name == "removes"
						e, stopped := errors.AsType[*projection.StoppedError](err)
						if stopped != stops || stops && (!errors.Is(err, eventlog.ErrCorrupt) || e.Position.Seq != b.at) {
							t.Errorf("%s: %v", name, err)
						}
					}
					if !untyped {
						equal(t, "removes", removes, map[string]int64{"a": 1, "b": 1})
					}
				}
				check(t)
				parked := rt.Parked()
				switch n := len(parked) / 2; {
				case then == projection.Stop && n != 0, then == projection.Skip && n != 1, then == projection.ParkCommit && n != 1,
					then == projection.ParkKey && n != 1+len(s.Key)/5:
					t.Errorf("parked %+v", parked)
				case n > 0 && (parked[0].Position.Seq != b.at || parked[0].Key != s.Key || parked[0].Skipped != (then == projection.Skip)):
					t.Errorf("parked %+v", parked[0])
				}
				if then >= projection.ParkCommit {
					if n, err := rt.RetryParked(t.Context(), parked[0]); n != 0 || !errors.Is(err, eventlog.ErrCorrupt) {
						t.Errorf("retried %d, %v", n, err)
					}
				}
				if err := log.Healthy(t.Context()); !errors.Is(err, eventlog.ErrCorrupt) {
					t.Errorf("healthy: %v", err)
				}
				rt.Close()

				rt, adds, removes, parts = b.start(t, then)
				check(t)
				if len(rt.Parked()) != len(parked) {
					t.Errorf("after a restart: %+v", rt.Parked())
				}
				rt.Close()

				if err := b.feed.Pass(t.Context(), eventlog.Note{Reason: "nats pub", Force: true}, b.at); err != nil {
					t.Fatal(err)
				}
				if then == projection.Stop {
					want = map[string]int64{"a": 1, "b": 1, "stray": 1}
				}
				_, adds, removes, parts = b.start(t, then)
				equal(t, "adds", adds, want)
				equal(t, "removes", removes, map[string]int64{"a": 1, "b": 1})
				if err := errors.Join(adds.Err(), removes.Err(), parts.Err(), b.feed.Check(t.Context())); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
