package projection

import (
	"fmt"
	"iter"
	"slices"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Snapshot is several tables at one moment; see View.
type Snapshot struct {
	nodes []*node
	at    timeframe.Timeframe
	done  bool
	wrong string
}

// At is what the tables include, all of them.
func (s *Snapshot) At() timeframe.Timeframe { return s.at }

// View lets fn read several tables at one cut: each shows exactly the commits
// of the timeframe that Snapshot.At says. The tables are of one unit: tables
// that read one another always are, others are put into a NewUnit. They don't
// go on while fn runs, so it should take what it needs and return. It must not
// use the tables' own methods, but those of Table.In.
//
// Errors: ErrInvalid where the tables aren't of one unit or not started;
// ErrDormant where they are Lazy and asleep; a *StoppedError where one has
// stopped, and ErrNotReady where one still catches up with the others (after a
// start with Config.Background), so that there is no common moment; and fn's
// own.
func View(fn func(s *Snapshot) error, tables ...Projection) (err error) {
	s := &Snapshot{}
	for _, p := range tables {
		if p != nil {
			_, nodes := p.projections()
			s.nodes = append(s.nodes, nodes...)
		}
	}
	if fn == nil || len(s.nodes) == 0 {
		return fmt.Errorf("projection: view: %w: it needs a function and tables", ErrInvalid)
	}
	u := s.nodes[0].unitOf()
	for _, n := range s.nodes {
		switch v := n.unitOf(); {
		case n.out == nil || isParallel(n):
			return fmt.Errorf("projection: view: %w: %q isn't a table", ErrInvalid, n.name)
		case v == nil:
			return fmt.Errorf("projection: view: %w: %q isn't started", ErrInvalid, n.name)
		case v != u:
			return fmt.Errorf("projection: view: %w: %q and %q are of two units, which have no common moment: put them into one by NewUnit", ErrInvalid, s.nodes[0].name, n.name)
		}
	}
	for _, n := range s.nodes {
		n.lazy.touch()
	}
	if u.asleep() {
		return fmt.Errorf("projection: view: %w: use Runtime.Need first", ErrDormant)
	}
	for _, n := range u.nodes { // in the order in which the unit locks them
		if slices.Contains(s.nodes, n) {
			n.out.rlock("View")
			defer n.out.runlock()
		}
	}
	if err := s.moment(u); err != nil {
		return err
	}
	defer func() {
		s.done = true
		if err == nil && s.wrong != "" {
			err = fmt.Errorf("projection: view: %w: %s", ErrInvalid, s.wrong)
		}
	}()
	defer contain(&err)
	return viewing(s, fn)
}

// viewing is what tells a View's function on the stack; see onStack.
func viewing(s *Snapshot, fn func(s *Snapshot) error) error { return fn(s) }

// moment finds out what the tables include.
func (s *Snapshot) moment(u *unit) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := make(map[string]uint64)
	for _, n := range s.nodes {
		switch {
		case n.stopped != nil:
			return n.stopped
		case n.dormant:
			return fmt.Errorf("projection: view: %q: %w: use Runtime.Need first", n.name, ErrDormant)
		}
		for f := range n.feeds {
			at[f] = max(at[f], n.pos[f])
		}
	}
	for _, n := range s.nodes {
		if !u.isWhole || !sameOn(n, n.pos, at) {
			return fmt.Errorf("projection: view: %w: %q catches up with the others: wait for it by Runtime.Ready or Runtime.Need", ErrNotReady, n.name)
		}
	}
	s.at = timeframeOf(at)
	return nil
}

// Rows is a table within a View.
type Rows[K comparable, V any] struct {
	t *Table[K, V]
	s *Snapshot
}

// In is the table as a View sees it, for as long as the View's function runs.
func (t *Table[K, V]) In(s *Snapshot) Rows[K, V] {
	if s != nil && !slices.Contains(s.nodes, t.n) {
		s.wrong = fmt.Sprintf("table %q was read and not named to View", t.n.name)
		return Rows[K, V]{}
	}
	return Rows[K, V]{t, s}
}

func (r Rows[K, V]) usable() bool { return r.t != nil && r.s != nil && !r.s.done }

// Get returns a key's value, and whether there is one.
func (r Rows[K, V]) Get(key K) (v V, ok bool) {
	if !r.usable() {
		return v, false
	}
	if row := r.t.rows[key]; row != nil {
		return row.value, true
	}
	return v, false
}

// Value returns a key's value, the zero value where there is none.
func (r Rows[K, V]) Value(key K) V {
	v, _ := r.Get(key)
	return v
}

// Len is the number of keys.
func (r Rows[K, V]) Len() int {
	if !r.usable() {
		return 0
	}
	return len(r.t.rows)
}

// All yields every key and value, in no particular order.
func (r Rows[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if !r.usable() {
			return
		}
		for k, row := range r.t.rows {
			if !yield(k, row.value) {
				return
			}
		}
	}
}
