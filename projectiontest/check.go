package projectiontest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/projection"
)

// Result is what a commit did.
type Result struct {
	t       testing.TB
	outcome *projection.Outcome
	err     error
	asked   bool
}

// Then checks that no projection failed, and what else is given.
func (r *Result) Then(checks ...Check) {
	r.asked = true
	if r.err != nil {
		r.t.Helper()
		r.t.Errorf("it failed: %v", r.err)
		return
	}
	if problems := check(r.outcome, checks); problems != nil {
		r.t.Helper()
		report(r.t, problems)
	}
}

// Fails checks that a projection stopped at it, with this error (errors.Is;
// nil: any), and what else is given.
func (r *Result) Fails(target error, checks ...Check) {
	r.asked = true
	r.t.Helper()
	switch {
	case r.err == nil:
		r.t.Error("it didn't fail")
	case target != nil && !errors.Is(r.err, target):
		r.t.Errorf("it failed with %q, want %q", r.err, target)
	}
	report(r.t, check(r.outcome, checks))
}

// check returns what is wrong, nil for nothing.
func check(o *projection.Outcome, checks []Check) (problems []string) {
	for _, c := range checks {
		if problem := c(o); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

func report(t testing.TB, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// Check looks at the state, or at what the commit before has changed, and
// returns what is wrong, "" for nothing.
type Check func(o *projection.Outcome) (problem string)

// Row checks that a table has this value under a key. Values are compared by
// reflect.DeepEqual, and times by their instants: rows have theirs in UTC.
func Row[K comparable, V any](t *projection.Table[K, V], key K, want V) Check {
	return func(*projection.Outcome) string {
		got, ok := t.Get(key)
		switch {
		case !ok:
			return fmt.Sprintf("table %q has no %v, want %+v", t.Name(), key, want)
		case !alike(got, want):
			g, w := texts(got, want)
			return fmt.Sprintf("table %q has %s under %v, want %s", t.Name(), g, key, w)
		}
		return ""
	}
}

// NoRow checks that a table doesn't have a key.
func NoRow[K comparable, V any](t *projection.Table[K, V], key K) Check {
	return func(*projection.Outcome) string {
		if got, ok := t.Get(key); ok {
			return fmt.Sprintf("table %q has %+v under %v, want nothing", t.Name(), got, key)
		}
		return ""
	}
}

// Rows checks that a table has just these rows.
func Rows[K comparable, V any](t *projection.Table[K, V], want map[K]V) Check {
	return func(*projection.Outcome) string {
		got := maps.Collect(t.All())
		if len(got)+len(want) == 0 || alike(got, want) {
			return ""
		}
		g, w := texts(got, want)
		return fmt.Sprintf("table %q has %s, want %s", t.Name(), g, w)
	}
}

// State checks a Value's state.
func State[T any](v *projection.Value[T], want T) Check {
	return func(*projection.Outcome) string {
		if got := v.Get(); !alike(got, want) {
			g, w := texts(got, want)
			return fmt.Sprintf("%q is %s, want %s", v.Name(), g, w)
		}
		return ""
	}
}

// Move is a change without its cause: Put, Moved or Gone makes one.
type Move[K comparable, V any] struct {
	Key      K
	Old, New V
	Had, Has bool
}

// Put is a row that comes.
func Put[K comparable, V any](key K, v V) Move[K, V] {
	return Move[K, V]{Key: key, New: v, Has: true}
}

// Moved is a row whose value changes.
func Moved[K comparable, V any](key K, from, to V) Move[K, V] {
	return Move[K, V]{Key: key, Old: from, New: to, Had: true, Has: true}
}

// Gone is a row that goes.
func Gone[K comparable, V any](key K, old V) Move[K, V] {
	return Move[K, V]{Key: key, Old: old, Had: true}
}

// Changes checks that the commit changed just these rows of a table, in any
// order; none given: that it changed nothing there. It is for Result.Then.
func Changes[K comparable, V any](t *projection.Table[K, V], want ...Move[K, V]) Check {
	return func(o *projection.Outcome) string {
		if o == nil {
			return fmt.Sprintf("changes of table %q: ask behind When", t.Name())
		}
		var got []Move[K, V]
		for _, c := range t.ChangesIn(o) {
			got = append(got, Move[K, V]{Key: c.Key, Old: c.Old, New: c.New, Had: c.Had, Has: c.Has})
		}
		byKey := func(a, b Move[K, V]) int { return cmp.Compare(fmt.Sprint(a.Key), fmt.Sprint(b.Key)) }
		slices.SortStableFunc(got, byKey)
		sorted := slices.SortedStableFunc(slices.Values(want), byKey)
		if len(got)+len(sorted) == 0 || alike(got, sorted) {
			return ""
		}
		g, w := texts(got, sorted)
		return fmt.Sprintf("table %q changed by %s, want %s", t.Name(), g, w)
	}
}
