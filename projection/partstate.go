package projection

import (
	"bytes"
	"iter"
	"slices"

	"github.com/tidemark-es/tidemark/snapshot"
)

// A partitioned table as the runtime and its readers see it: its partitions
// together.

func (p *Partitioned[V]) parted(do func(t *Table[string, V])) {
	for _, t := range p.parts {
		do(t)
	}
}

func (p *Partitioned[V]) lock()     { p.parted(func(t *Table[string, V]) { t.lock() }) }
func (p *Partitioned[V]) unlock()   { p.parted(func(t *Table[string, V]) { t.unlock() }) }
func (p *Partitioned[V]) commit()   { p.parted(func(t *Table[string, V]) { t.commit() }) }
func (p *Partitioned[V]) touchAll() { p.parted(func(t *Table[string, V]) { t.touchAll() }) }
func (p *Partitioned[V]) clear()    { p.parted(func(t *Table[string, V]) { t.clear() }) }

// rollback undoes a commit. In a run, handle and backTo have done that.
func (p *Partitioned[V]) rollback() {
	if !p.ahead.on {
		p.parted(func(t *Table[string, V]) { t.rollback() })
	}
}

func (p *Partitioned[V]) size() (n int) {
	p.parted(func(t *Table[string, V]) { n += t.size() })
	return n
}

func (p *Partitioned[V]) misused() error {
	for _, t := range p.parts {
		if err := t.misused(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Partitioned[V]) cut() capture {
	c := make(partedCut, len(p.parts))
	for i, t := range p.parts {
		c[i] = t.cut()
	}
	return c
}

func (p *Partitioned[V]) peek() capture {
	c := make(partedCut, len(p.parts))
	for i, t := range p.parts {
		c[i] = t.peek()
	}
	return c
}

func (p *Partitioned[V]) requeue(c capture) {
	for i, part := range c.(partedCut) {
		p.parts[i].requeue(part)
	}
}

// mark and release: see Table's.
func (p *Partitioned[V]) mark() int {
	p.marks = p.marks[:0]
	p.parted(func(t *Table[string, V]) { p.marks = append(p.marks, t.mark()) })
	return 0
}

func (p *Partitioned[V]) release(int) {
	for i, t := range p.parts {
		t.release(p.marks[i])
	}
}

// ChangesIn returns what the commit changed in this table, in no particular
// order; nothing where the table isn't in the outcome.
func (p *Partitioned[V]) ChangesIn(o *Outcome) []Change[string, V] {
	changes, _ := o.of(p.n).([]Change[string, V])
	return changes
}

// Its changes, for the tables that read it. In a run they are those of the
// commit that the walk is at, which pass has set.

func (p *Partitioned[V]) net(cause *Cause) bool {
	if !p.ahead.on {
		for _, t := range p.parts {
			t.net(cause)
			p.delta = append(p.delta, t.delta...)
			t.forget()
		}
	}
	return len(p.delta) > 0
}

func (p *Partitioned[V]) changes() any { return slices.Clone(p.delta) }
func (p *Partitioned[V]) forget()      { p.delta = nil }

// Nobody watches it.

func (p *Partitioned[V]) publish(Cause)            {}
func (p *Partitioned[V]) notify()                  {}
func (p *Partitioned[V]) replaced()                {}
func (p *Partitioned[V]) rebase(map[string]uint64) {}

func (p *Partitioned[V]) loadPrior(entries iter.Seq2[snapshot.Change, error]) error {
	split, err := p.split(entries)
	if err != nil {
		return err
	}
	for i, t := range p.parts {
		if err := t.loadPrior(split[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *Partitioned[V]) netPrior() bool {
	for _, t := range p.parts {
		t.netPrior()
		p.delta = append(p.delta, t.delta...)
		t.forget()
	}
	return len(p.delta) > 0
}

// split deals out what was saved.
func (p *Partitioned[V]) split(entries iter.Seq2[snapshot.Change, error]) ([]iter.Seq2[snapshot.Change, error], error) {
	split := make([][]snapshot.Change, len(p.parts))
	for e, err := range entries {
		if err != nil {
			return nil, err
		}
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value) // lent
		i := p.partOf(string(e.Key))                              // a string's stored form is itself
		split[i] = append(split[i], e)
	}
	out := make([]iter.Seq2[snapshot.Change, error], len(split))
	for i, part := range split {
		out[i] = func(yield func(snapshot.Change, error) bool) {
			for _, e := range part {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	return out, nil
}
