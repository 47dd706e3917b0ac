package dependants_test

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The server's clock of access times must belong to no bubble of fake time.
func TestMain(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

func faked(t *testing.T, f func(t *testing.T, r *dependants.Registry, log *eventlog.Log)) {
	t.Helper()
	bubble.Run(t, func(t *testing.T) {
		log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := dependants.New(dependants.Options{App: "app", JetStream: log.JetStream(), Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		f(t, r, log)
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}

func at(t *testing.T, text string) timeframe.Timeframe {
	t.Helper()
	tf, err := timeframe.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return tf
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, r *dependants.Registry) []dependants.Dependant {
	t.Helper()
	ds, err := r.List(t.Context())
	ok(t, err)
	return ds
}

// least is how far a feed may be trimmed, by the slowest dependant.
func least(t *testing.T, r *dependants.Registry, feed string) (uint64, string) {
	t.Helper()
	h := dependants.Holds(list(t, r), nil)[feed]
	if len(h) == 0 {
		return 0, ""
	}
	return h[0].After, h[0].By
}

// T2.13: a dependant at 50 holds the log at 50; when it advances, or is
// deregistered, the next one does.
func TestSlowestHolds(t *testing.T) {
	faked(t, func(t *testing.T, r *dependants.Registry, _ *eventlog.Log) {
		if ds := list(t, r); len(ds) != 0 {
			t.Errorf("at first: %v", ds)
		}
		ok(t, r.Register(t.Context(), dependants.Dependant{Name: "slow", Needs: at(t, "a=50")},
			dependants.Dependant{Name: "fast.one", Needs: at(t, "a=90,b=7")}))
		steps := []struct {
			do    func() error
			after uint64
			by    string
		}{
			{func() error { return nil }, 50, "slow"},
			{func() error { return r.Advance(t.Context(), "slow", at(t, "a=60")) }, 60, "slow"},
			{func() error { return r.Advance(t.Context(), "slow", at(t, "a=55")) }, 60, "slow"}, // never back
			{func() error { return r.Advance(t.Context(), "slow", at(t, "a=95")) }, 90, "fast.one"},
			{func() error { return r.Deregister(t.Context(), "fast.one") }, 95, "slow"},
			{func() error { return r.Deregister(t.Context(), "fast.one") }, 95, "slow"},
			{func() error { return r.Deregister(t.Context(), "slow") }, 0, ""},
		}
		for i, s := range steps {
			ok(t, s.do())
			if after, by := least(t, r, "a"); after != s.after || by != s.by {
				t.Errorf("step %d: %d by %q, want %d by %q", i, after, by, s.after, s.by)
			}
		}
		if err := r.Advance(t.Context(), "slow", at(t, "a=99")); !errors.Is(err, dependants.ErrUnknown) {
			t.Errorf("advance of nobody: %v", err)
		}
	})
}

// R2.27: what an upstream needs is held for all that is derived from it, and
// it can't go before them.
func TestTransitive(t *testing.T) {
	faked(t, func(t *testing.T, r *dependants.Registry, _ *eventlog.Log) {
		ok(t, r.Register(t.Context(),
			dependants.Dependant{Name: "base", Needs: at(t, "a=10,b=3"), Expiry: time.Minute},
			dependants.Dependant{Name: "middle", Upstream: []string{"base"}, Needs: at(t, "a=20")},
			dependants.Dependant{Name: "top", Upstream: []string{"middle", "top-too"}},
			dependants.Dependant{Name: "top-too", Upstream: []string{"top"}, Needs: at(t, "c=1")})) // a circle
		err := r.Deregister(t.Context(), "base")
		if e, is := errors.AsType[*dependants.NeededError](err); !is || !slices.Equal(e.By, []string{"middle"}) {
			t.Errorf("deregister: %v", err)
		}
		bubble.Pass(time.Hour) // base expires; middle and top still need what it needs
		holds := dependants.Holds(list(t, r), nil)
		want := []dependants.Hold{{By: "middle", After: 10}, {By: "top", After: 10}, {By: "top-too", After: 10}}
		if !slices.Equal(holds["a"], want) || len(holds["b"]) != 3 || len(holds["c"]) != 2 {
			t.Errorf("holds %v", holds)
		}
	})
}

// R2.29: who gives no sign of life expires, by the server's clock; the next
// trim drops it, and it learns that when it comes back.
func TestExpiry(t *testing.T) {
	faked(t, func(t *testing.T, r *dependants.Registry, _ *eventlog.Log) {
		ok(t, r.Register(t.Context(), dependants.Dependant{Name: "gone", Needs: at(t, "a=5"), Expiry: time.Hour}))
		bubble.Pass(50 * time.Minute)
		ok(t, r.Register(t.Context(), dependants.Dependant{Name: "here", Needs: at(t, "a=9"), Expiry: time.Hour}))
		ok(t, r.Register(t.Context(), dependants.Dependant{Name: "ever", Needs: at(t, "b=1")}))
		bubble.Pass(20 * time.Minute)
		if after, by := least(t, r, "a"); after != 9 || by != "here" {
			t.Errorf("%d by %s", after, by)
		}
		// Until a trim it may come back.
		ok(t, r.Advance(t.Context(), "gone", at(t, "a=6")))
		if after, by := least(t, r, "a"); after != 6 || by != "gone" {
			t.Errorf("%d by %s", after, by)
		}
		bubble.Pass(10 * time.Hour)
		ok(t, r.Trim(t.Context(), func(ds []dependants.Dependant) (map[string]dependants.Mark, error) {
			return map[string]dependants.Mark{"a": {Incarnation: "i", From: 20}}, nil
		}))
		err := r.Advance(t.Context(), "gone", at(t, "a=30"))
		if !errors.Is(err, dependants.ErrUnknown) {
			t.Errorf("advance: %v", err)
		}
		err = r.Register(t.Context(), dependants.Dependant{Name: "gone", Needs: at(t, "a=18")})
		if e, is := errors.AsType[*dependants.TooLateError](err); !is || e.From != 20 || !errors.Is(err, dependants.ErrTooLate) {
			t.Errorf("register: %v", err)
		}
		ok(t, r.Register(t.Context(), dependants.Dependant{Name: "gone", Needs: at(t, "a=19")}))
		if ds := list(t, r); len(ds) != 2 {
			t.Errorf("%v", ds)
		}
	})
}

// A stream that was created again begins anew, and so do its marks.
func TestMarks(t *testing.T) {
	faked(t, func(t *testing.T, r *dependants.Registry, _ *eventlog.Log) {
		mark := func(inc string, from uint64) {
			ok(t, r.Trim(t.Context(), func([]dependants.Dependant) (map[string]dependants.Mark, error) {
				return map[string]dependants.Mark{"a": {Incarnation: inc, From: from}}, nil
			}))
		}
		mark("one", 30)
		mark("one", 20) // never back
		if m, err := r.Trimmed(t.Context()); err != nil || m["a"].From != 30 {
			t.Errorf("%v, %v", m, err)
		}
		ok(t, r.Current(t.Context(), map[string]string{"a": "one", "b": "x"}))
		d := dependants.Dependant{Name: "reader", Needs: at(t, "a=1")}
		if err := r.Register(t.Context(), d); !errors.Is(err, dependants.ErrTooLate) {
			t.Errorf("%v", err)
		}
		ok(t, r.Current(t.Context(), map[string]string{"a": "two"}))
		ok(t, r.Register(t.Context(), d))
		mark("two", 2)
		if m, err := r.Trimmed(t.Context()); err != nil || m["a"] != (dependants.Mark{Incarnation: "two", From: 2}) {
			t.Errorf("%v, %v", m, err)
		}
		no := errors.New("no")
		if err := r.Trim(t.Context(), func([]dependants.Dependant) (map[string]dependants.Mark, error) { return nil, no }); !errors.Is(err, no) {
			t.Errorf("%v", err)
		}
	})
}

// Who registers and who trims can't miss each other: after any race, either
// the mark leaves the reader's position, or the reader was refused.
func TestRegisterRacesTrim(t *testing.T) {
	faked(t, func(t *testing.T, r *dependants.Registry, _ *eventlog.Log) {
		for i := range uint64(40) {
			after := 10 * (i + 1)
			var wg sync.WaitGroup
			var refused error
			wg.Go(func() {
				refused = r.Register(t.Context(), dependants.Dependant{Name: "reader", Needs: at(t, "a="+strconv.FormatUint(after, 10))})
			})
			wg.Go(func() {
				err := r.Trim(t.Context(), func(ds []dependants.Dependant) (map[string]dependants.Mark, error) {
					from := after + 10
					for _, h := range dependants.Holds(ds, nil)["a"] {
						from = min(from, h.After)
					}
					return map[string]dependants.Mark{"a": {Incarnation: "i", From: from}}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			m, err := r.Trimmed(t.Context())
			ok(t, err)
			if (refused == nil) == (m["a"].From > after+1) {
				t.Fatalf("round %d: reader at %d: %v; trimmed to %d", i, after, refused, m["a"].From)
			}
			ok(t, r.Deregister(t.Context(), "reader"))
		}
	})
}

func TestInvalid(t *testing.T) {
	if _, err := dependants.New(dependants.Options{App: "No"}); !errors.Is(err, dependants.ErrInvalid) {
		t.Error(err)
	}
	faked(t, func(t *testing.T, r *dependants.Registry, log *eventlog.Log) {
		for _, d := range []dependants.Dependant{
			{Name: "No", Needs: at(t, "a=1")}, {Name: "x"}, {Name: "x", Needs: at(t, "a=1"), Expiry: -1},
			{Name: "x", Upstream: []string{"x"}}, {Name: "x", Unit: "a.b", Needs: at(t, "a=1")},
		} {
			if err := r.Register(t.Context(), d); !errors.Is(err, dependants.ErrInvalid) {
				t.Errorf("%+v: %v", d, err)
			}
		}
		ok(t, r.Register(t.Context(), dependants.Dependant{Name: "x", Needs: at(t, "a=1")}))
		kv, err := log.JetStream().KeyValue(t.Context(), "app_dependants")
		ok(t, err)
		for _, bad := range []string{"{", `{"version":2}`} {
			_, err = kv.PutString(t.Context(), "register", bad)
			ok(t, err)
			if _, err := r.List(t.Context()); !errors.Is(err, dependants.ErrCorrupt) {
				t.Errorf("%s: %v", bad, err)
			}
			err = r.Trim(t.Context(), func([]dependants.Dependant) (map[string]dependants.Mark, error) {
				t.Error("planned without knowing the dependants")
				return nil, nil
			})
			if !errors.Is(err, dependants.ErrCorrupt) {
				t.Errorf("%s: trim: %v", bad, err)
			}
		}
	})
}
