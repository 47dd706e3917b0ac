package projection

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
)

// parallel is a state whose rows are handled at once where they are different
// ones: ahead of the walk of its group (step.go), which then passes commit by
// commit, and takes what each of them changed. So the tables that read it are
// stepped as behind any other; and what failed ahead of the walk is a failure
// where the walk comes to it.
type parallel interface {
	beginRun()
	// handle handles commits from this one on, up to the first failure; where
	// that has been done, nothing.
	handle(f *eventlog.Feed, run []eventlog.Commit, from int, observed bool)
	// result is the failure at a commit that was handled, nil for none.
	result(at int) *partFailure
	// pass makes what a commit changed the changes of the step.
	pass(at int)
	// backTo takes back what was handled from a commit on.
	backTo(at int)
	// reach is behind the last commit that was handled.
	reach() int
	endRun()
}

func isParallel(n *node) bool {
	_, ok := n.state.(parallel)
	return ok
}

// ahead is where the run of a partitioned table is. Its commits are counted
// from the run's first one.
type ahead[V any] struct {
	on     bool
	until  int          // reach
	failed *partFailure // of the commit at until; nil: none
	parts  []partRun[V]
	moves  []Change[string, V]
	ends   []int // of the moves of each commit up to until
}

type partFailure struct {
	at    int
	event eventlog.Event // that was handled
	err   error
	stack string
}

// partRun is one partition's share of a run.
type partRun[V any] struct {
	tasks  []partTask
	done   []partDone // undo list behind each commit that was handled
	moves  []partMove[V]
	taken  int // of moves
	at     int // commit that is being handled
	event  eventlog.Event
	failed *partFailure
	_      [64]byte // keeps what two processors write in lines of their own
}

// partTask is a commit whose key is of the partition.
type partTask struct {
	at     int
	commit *eventlog.Commit
}

type partDone struct{ at, undo int }

type partMove[V any] struct {
	at int
	c  Change[string, V]
}

func (p *Partitioned[V]) beginRun() {
	a := &p.ahead
	a.on, a.until, a.failed, a.ends = true, 0, nil, a.ends[:0]
	for i := range a.parts {
		r := &a.parts[i]
		*r = partRun[V]{tasks: r.tasks[:0], done: r.done[:0], moves: r.moves[:0]}
	}
}

// endRun keeps what the run changed.
func (p *Partitioned[V]) endRun() {
	a := &p.ahead
	a.on, a.failed, p.delta = false, nil, nil
	clear(a.moves) // values may be large
	a.moves = a.moves[:0]
	for i := range a.parts {
		clear(a.parts[i].moves)
		clear(a.parts[i].tasks)
	}
	p.parted(func(t *Table[string, V]) { t.commit() })
}

func (p *Partitioned[V]) reach() int { return p.ahead.until }

// handle hands the commits out, and waits for all partitions. A failure has to
// leave the state of the commit before it, in all of them: so each keeps what
// undoes the whole run, and takes back what comes behind the first failure.
func (p *Partitioned[V]) handle(f *eventlog.Feed, run []eventlog.Commit, from int, observed bool) {
	a := &p.ahead
	if from < a.until || a.failed != nil && a.failed.at == from {
		return
	}
	p.deal(run, from)
	var failed *partFailure
	var first atomic.Int64 // commit of the first failure so far
	first.Store(math.MaxInt64)
	var wg sync.WaitGroup
	mine := -1 // a partition that this goroutine handles: a lone commit costs no other
	for i := range a.parts {
		switch {
		case len(a.parts[i].tasks) == 0:
		case mine < 0:
			mine = i
		default:
			wg.Go(func() { p.runPart(f, i, &first, observed) })
		}
	}
	if mine >= 0 {
		p.runPart(f, mine, &first, observed)
	}
	wg.Wait()
	for i := range a.parts {
		if e := a.parts[i].failed; e != nil && (failed == nil || e.at <= failed.at) {
			failed = e
		}
	}
	limit := len(run)
	if failed != nil {
		limit = failed.at
	}
	p.rewind(limit)
	a.failed = failed
	p.collect(limit)
}

// deal hands out commits from one on, each to the partition of its key.
func (p *Partitioned[V]) deal(run []eventlog.Commit, from int) {
	a, n := &p.ahead, p.n
	for i := range a.parts {
		a.parts[i].tasks, a.parts[i].failed = a.parts[i].tasks[:0], nil
	}
	if n.step.on == nil {
		return
	}
	for at := from; at < len(run); at++ {
		c := &run[at]
		if c.Seq <= n.step.at || n.park != nil && n.park.holds(c) {
			continue
		}
		r := &a.parts[p.partOf(c.Key)]
		r.tasks = append(r.tasks, partTask{at, c})
	}
}

// errGoexit is the failure of a handler that nothing came back from.
var errGoexit = errors.New("the handler ended its goroutine (runtime.Goexit, as testing.T.FailNow does)")

// runPart handles a partition's tasks up to the first failure of any.
func (p *Partitioned[V]) runPart(f *eventlog.Feed, i int, first *atomic.Int64, observed bool) {
	r, back := &p.ahead.parts[i], false
	defer func() {
		if !back { // what is left of the tasks must not pass as handled
			r.fail(first, errGoexit, "")
		}
	}()
	r.handle(p, f, p.parts[i], first, observed)
	back = true
}

func (r *partRun[V]) handle(p *Partitioned[V], f *eventlog.Feed, t *Table[string, V], first *atomic.Int64, observed bool) {
	for _, task := range r.tasks {
		c, begun := task.commit, len(t.undo)
		t.begun = begun
		if r.at = task.at; int64(r.at) >= first.Load() {
			return
		}
		var stack string
		err := func() (err error) {
			defer containStack(&err, &stack)
			if err := p.n.events(f, c, &r.event); err != nil {
				return err
			}
			return t.misused()
		}()
		if err != nil {
			r.fail(first, err, stack)
			return
		}
		r.done = append(r.done, partDone{r.at, len(t.undo)})
		if observed && len(t.undo) > begun {
			r.note(t, begun, r.at, c)
		}
	}
}

// fail ends the run at the commit that is being handled, for all partitions.
func (r *partRun[V]) fail(first *atomic.Int64, err error, stack string) {
	r.failed = &partFailure{at: r.at, event: r.event, err: err, stack: stack}
	for old := first.Load(); int64(r.at) < old && !first.CompareAndSwap(old, int64(r.at)); {
		old = first.Load()
	}
}

// note keeps the net changes of a commit.
func (r *partRun[V]) note(t *Table[string, V], begun, at int, c *eventlog.Commit) {
	all := t.undo
	t.undo = all[begun:]
	cause := causeOf(c)
	t.net(&cause)
	t.undo = all
	for i := range t.delta {
		r.moves = append(r.moves, partMove[V]{at, t.delta[i]})
	}
	t.forget()
}

// rewind takes back what the partitions did of commits from one on.
func (p *Partitioned[V]) rewind(at int) {
	for i := range p.ahead.parts {
		r, t := &p.ahead.parts[i], p.parts[i]
		for len(r.done) > 0 && r.done[len(r.done)-1].at >= at {
			r.done = r.done[:len(r.done)-1]
		}
		keep := 0
		if len(r.done) > 0 {
			keep = r.done[len(r.done)-1].undo
		}
		if keep < len(t.undo) {
			t.rollbackTo(keep)
			clear(t.undo[keep:])
			t.undo = t.undo[:keep]
		}
	}
}

// collect puts what the partitions changed in the order of the commits.
func (p *Partitioned[V]) collect(limit int) {
	a := &p.ahead
	for at := len(a.ends); at < limit; at++ {
		for i := range a.parts {
			r := &a.parts[i]
			for ; r.taken < len(r.moves) && r.moves[r.taken].at == at; r.taken++ {
				a.moves = append(a.moves, r.moves[r.taken].c)
			}
		}
		a.ends = append(a.ends, len(a.moves))
	}
	for i := range a.parts {
		r := &a.parts[i]
		r.moves, r.taken = r.moves[:0], 0 // of those behind the limit nothing is left
	}
	a.until = max(a.until, limit)
}

// movesOf is what a commit of the run changed.
func (p *Partitioned[V]) movesOf(at int) []Change[string, V] {
	a := &p.ahead
	if at >= len(a.ends) {
		return nil
	}
	begin := 0
	if at > 0 {
		begin = a.ends[at-1]
	}
	return a.moves[begin:a.ends[at]]
}

func (p *Partitioned[V]) result(at int) *partFailure {
	if e := p.ahead.failed; e != nil && e.at == at {
		return e
	}
	return nil
}

func (p *Partitioned[V]) pass(at int) { p.delta = p.movesOf(at) }

func (p *Partitioned[V]) backTo(at int) {
	a := &p.ahead
	if at >= a.until {
		a.failed = nil // it is tried again
		return
	}
	p.rewind(at)
	a.until, a.failed, p.delta = at, nil, nil
	a.ends = a.ends[:at]
	end := 0
	if at > 0 {
		end = a.ends[at-1]
	}
	clear(a.moves[end:])
	a.moves = a.moves[:end]
}
