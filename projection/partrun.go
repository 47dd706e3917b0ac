package projection

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
)

// A partitioned table as the runtime sees it: its partitions together.

func (p *Partitioned[V]) each(do func(t *Table[string, V])) {
	for _, t := range p.parts {
		do(t)
	}
}

func (p *Partitioned[V]) lock()     { p.each(func(t *Table[string, V]) { t.lock() }) }
func (p *Partitioned[V]) unlock()   { p.each(func(t *Table[string, V]) { t.unlock() }) }
func (p *Partitioned[V]) commit()   { p.each(func(t *Table[string, V]) { t.commit() }) }
func (p *Partitioned[V]) rollback() { p.each(func(t *Table[string, V]) { t.rollback() }) }
func (p *Partitioned[V]) touchAll() { p.each(func(t *Table[string, V]) { t.touchAll() }) }
func (p *Partitioned[V]) clear()    { p.each(func(t *Table[string, V]) { t.clear() }) }

func (p *Partitioned[V]) size() (n int) {
	p.each(func(t *Table[string, V]) { n += t.size() })
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

// parallel is a state whose commits can be handled at once where they are of
// different keys.
type parallel interface {
	runParallel(f *eventlog.Feed, n *node, run []eventlog.Commit)
}

// partRun is one partition's share of a run.
type partRun struct {
	commits []*eventlog.Commit
	undo    []int // length of the undo list behind each commit that was handled
	event   eventlog.Event
	failed  uint64 // sequence of the commit that failed; 0: none
	err     error
	stack   string
}

// runParallel handles a run: each partition its commits, in order, and all
// wait for the last. A failure has to leave the state of the commit before it,
// in all partitions: so each keeps what undoes the whole run, and takes back
// what comes behind the first failure of all.
func (p *Partitioned[V]) runParallel(f *eventlog.Feed, n *node, run []eventlog.Commit) {
	for i := range p.runs {
		r := &p.runs[i]
		*r = partRun{commits: r.commits[:0], undo: r.undo[:0]}
	}
	for i := range run {
		if run[i].Seq > n.step.at {
			r := &p.runs[p.partOf(run[i].Key)]
			r.commits = append(r.commits, &run[i])
		}
	}
	var first atomic.Uint64 // sequence of the first failure so far
	first.Store(math.MaxUint64)
	var wg sync.WaitGroup
	for i := range p.runs[1:] {
		if r := &p.runs[i+1]; len(r.commits) > 0 {
			wg.Go(func() { p.runPart(f, n, i+1, &first) })
		}
	}
	p.runPart(f, n, 0, &first)
	wg.Wait()
	p.settle(n, first.Load(), run)
}

// runPart handles a partition's commits up to the first failure of any.
func (p *Partitioned[V]) runPart(f *eventlog.Feed, n *node, i int, first *atomic.Uint64) {
	r, t := &p.runs[i], p.parts[i]
	for _, c := range r.commits {
		if c.Seq >= first.Load() {
			return
		}
		if r.err = r.handle(f, n, c); r.err == nil {
			r.err = t.misused()
		}
		if r.err != nil {
			r.failed = c.Seq
			for old := first.Load(); c.Seq < old && !first.CompareAndSwap(old, c.Seq); {
				old = first.Load()
			}
			return
		}
		r.undo = append(r.undo, len(t.undo))
	}
}

func (r *partRun) handle(f *eventlog.Feed, n *node, c *eventlog.Commit) (err error) {
	defer containStack(&err, &r.stack)
	return n.events(f, c, &r.event)
}

// settle keeps what is before the first failure, and takes back the rest.
func (p *Partitioned[V]) settle(n *node, failed uint64, run []eventlog.Commit) {
	for i := range p.runs {
		r, t := &p.runs[i], p.parts[i]
		keep := 0
		for k, length := range r.undo {
			if r.commits[k].Seq < failed {
				keep = length
			}
		}
		t.rollbackTo(keep)
		t.commit()
		if r.failed == failed {
			n.halt(&StoppedError{Projection: n.name, Position: r.event.Position(), Type: r.event.Type, Err: r.err, Stack: r.stack})
		}
	}
	for i := range run {
		if c := &run[i]; c.Seq > n.step.at && c.Seq < failed {
			n.step.at = c.Seq
			n.step.applied += uint64(c.Len())
		}
	}
}
