package projection

import (
	"fmt"
	"slices"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Outcome is what a commit changed, or would change, in each table: of
// Runtime.Preview and of Rehearsal.Apply. Table.ChangesIn reads it.
type Outcome struct {
	changes []outcome
	few     [1]outcome // where changes begin
	at      map[*node]timeframe.Timeframe
}

// outcome is what was changed in one table; there are few of them.
type outcome struct {
	n       *node
	changes any // []Change[K, V]
}

// add notes what a node changed, in place of what an earlier try of the step did.
func (o *Outcome) add(n *node) {
	for i := range o.changes {
		if o.changes[i].n == n {
			o.changes[i].changes = n.out.changes()
			return
		}
	}
	if o.changes == nil {
		o.changes = o.few[:0]
	}
	o.changes = append(o.changes, outcome{n, n.out.changes()})
}

// of is what a node changed, nil for nothing.
func (o *Outcome) of(n *node) any {
	if o == nil {
		return nil
	}
	for i := range o.changes {
		if o.changes[i].n == n {
			return o.changes[i].changes
		}
	}
	return nil
}

// ChangesIn returns what the commit changed in this table, in no particular
// order; nothing where the table isn't in the outcome.
func (t *Table[K, V]) ChangesIn(o *Outcome) []Change[K, V] {
	changes, _ := o.of(t.n).([]Change[K, V])
	return changes
}

// Changed lists the names of the projections that the commit changed.
func (o *Outcome) Changed() []string {
	var names []string
	for _, c := range o.changes {
		if c.n.of == nil {
			names = append(names, c.n.name)
		}
	}
	slices.Sort(names)
	return names
}

// At is what the projection included when the commit was tried on it; empty
// where it wasn't.
func (o *Outcome) At(projection string) timeframe.Timeframe {
	for n, at := range o.at {
		if n.name == projection {
			return at
		}
	}
	return timeframe.Timeframe{}
}

// HandlerError is a handler's failure at a commit that was only tried: in a
// Preview, or in a Rehearsal.
type HandlerError struct {
	Projection string
	Type       string // of the event; "" where a change was handled
	Upstream   string // the table whose change was handled; "" for an event
	Err        error
	Stack      string // of a panic
}

func (e *HandlerError) Error() string {
	if e.Upstream != "" {
		return fmt.Sprintf("projection %q, at a change of %q: %v", e.Projection, e.Upstream, e.Err)
	}
	return fmt.Sprintf("projection %q, at event %q: %v", e.Projection, e.Type, e.Err)
}

func (e *HandlerError) Unwrap() error { return e.Err }

func (t *Table[K, V]) changes() any { return slices.Clone(t.delta) }

// mark and release take back what a commit that is undone has left for the
// next save.
func (t *Table[K, V]) mark() int { return len(t.dirty) }

func (t *Table[K, V]) release(mark int) {
	for _, d := range t.dirty[mark:] {
		d.row.cut = 0 // no cut has this number
	}
	clear(t.dirty[mark:])
	t.dirty = t.dirty[:mark]
}
