package eventlog

import (
	"reflect"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// ahead decodes the events of a reader's batch on idle processors, in front
// of the goroutine that handles them, which takes what is ready and decodes
// the rest itself. It never waits for a worker, so where no processor is idle
// reading is as fast as without.
//
// Workers claim runs of events, from a little in front of the handler on. One
// that the handler has caught up with leaves its run to it and claims another
// further on: two that decode side by side at the same speed would do the
// same events twice.
//
// Order is the handler's own. Only what was decoded well is kept: where a
// worker got an error or a panic, the handler decodes the event again and
// gets it at that event, as without workers. A value is handed out once.
//
// What a reader handles and what that costs it is learned (aheadlearn.go);
// all other events are left alone. No worker outlives the batch, whose memory
// is lent.
type ahead struct {
	count *atomic.Uint64 // events decoded ahead
	limit int            // of workers; more than there are processors: as many as there are
	learned
	crew []*aheadWorker

	// Of the present batch:
	batch   []Commit    // those that have cells; nil between two batches
	cells   []aheadCell // one for each event, in order
	stopped atomic.Bool
	wg      sync.WaitGroup

	// What workers and handler write, in cache lines of their own.
	_    [64]byte
	next atomic.Int64 // from here on nothing is claimed
	_    [56]byte
	pos  atomic.Int64 // where the handler is, to within aheadStride events
	_    [56]byte
}

const (
	aheadLeast  = 64      // events in a batch for it to be worth while
	aheadLead   = 16      // events between the handler and what is claimed next
	aheadRun    = 16      // events that are claimed at a time
	aheadStride = 4       // events between two looks at each other
	aheadEvents = 1 << 14 // of a batch at most, and
	aheadBytes  = 8 << 20 // their payloads, so that memory is bounded
)

// The states of a cell: free, then claimed, then ready or free for good
// (left); taken where the handler came first, or when it has the value.
const (
	cellFree = iota
	cellClaimed
	cellLeft
	cellReady
	cellTaken
)

// aheadCell is where an event's value waits.
type aheadCell struct {
	state atomic.Uint32
	// Written by who claimed the cell, and read behind cellReady.
	value any   // a pointer to the registered type
	data  *byte // what it was decoded from
}

// aheadBusy counts the workers of all readers of the process.
var aheadBusy atomic.Int32

// hire takes up to n workers of those that the process has left: one for each
// processor but the handler's.
func hire(n int) (got int) {
	for {
		busy := aheadBusy.Load()
		got = min(n, runtime.GOMAXPROCS(0)-1-int(busy))
		if got <= 0 {
			return 0
		}
		if aheadBusy.CompareAndSwap(busy, busy+int32(got)) {
			return got
		}
	}
}

// lookAhead starts to decode a batch ahead where it is large.
func (r *Reader) lookAhead(batch []Commit) {
	if r.cfg.ahead == 0 {
		return
	}
	events := 0
	for i := range batch {
		events += batch[i].Len()
	}
	if events < aheadLeast {
		return
	}
	if r.ahead == nil {
		if runtime.GOMAXPROCS(0) == 1 {
			return
		}
		r.ahead = newAhead(r.f, r.cfg.ahead)
	}
	r.ahead.begin(batch, events)
}

// endAhead is called before a batch's loan ends.
func (r *Reader) endAhead() {
	if r.ahead != nil {
		r.ahead.end()
	}
}

// begin starts to decode a batch, of so many events, where that pays.
func (a *ahead) begin(batch []Commit, events int) {
	a.review()
	if !a.learning && !a.any() {
		return
	}
	total, size := 0, 0
	for i := range batch {
		c := &batch[i]
		if size += c.Size(); total+c.Len() > aheadEvents || size > aheadBytes {
			break
		}
		c.ahead, c.first = a, total
		total += c.Len()
		a.batch = batch[:i+1]
	}
	workers := 0
	if a.any() && total >= aheadLeast {
		workers = hire(min(a.limit, total/aheadLeast))
	}
	if workers == 0 {
		return
	}
	if cap(a.cells) < total {
		a.cells = make([]aheadCell, max(total, min(events, aheadEvents)))
	}
	a.cells = a.cells[:total]
	for i := range a.cells {
		a.cells[i].state.Store(cellFree)
	}
	a.pos.Store(-aheadStride)
	a.next.Store(0)
	a.stopped.Store(false)
	for len(a.crew) < workers {
		a.crew = append(a.crew, &aheadWorker{slabs: make(map[*eventType]slab)})
	}
	for _, w := range a.crew[:workers] {
		a.wg.Go(func() {
			defer aheadBusy.Add(-1)
			w.work(a)
		})
	}
}

// end is called before the batch's loan ends: nobody reads its memory behind.
func (a *ahead) end() {
	if a.batch == nil {
		return
	}
	a.stopped.Store(true)
	a.wg.Wait()
	a.weigh()
	for i := range a.batch {
		a.batch[i].ahead = nil
	}
	a.batch, a.cells = nil, a.cells[:0]
}

// claim returns the next run of events for a worker; empty at the end.
func (a *ahead) claim() (from, to int) {
	for {
		next := a.next.Load()
		lo := max(next, a.pos.Load()+aheadStride+aheadLead)
		if lo >= int64(len(a.cells)) {
			return 0, 0
		}
		hi := min(lo+aheadRun, int64(len(a.cells)))
		if a.next.CompareAndSwap(next, hi) {
			return int(lo), int(hi)
		}
	}
}

// cell is the cell of an event, or nil; the handler is there.
func (a *ahead) cell(e Event) *aheadCell {
	i := e.commit.first + e.Index
	if e.Index >= len(e.commit.parts) || i >= len(a.cells) || len(e.data) == 0 {
		return nil
	}
	if int64(i) >= a.pos.Load()+aheadStride {
		a.pos.Store(int64(i))
	}
	c := &a.cells[i]
	if c.state.Load() == cellReady {
		if c.data == &e.data[0] {
			return c
		}
		return nil
	}
	c.state.CompareAndSwap(cellFree, cellTaken) // it is decoded here
	return nil
}

// take says whether the value is the caller's.
func (c *aheadCell) take() bool { return c.state.CompareAndSwap(cellReady, cellTaken) }

// decodeAhead is Decode for an event of a batch that is decoded ahead.
func decodeAhead[T any](a *ahead, e Event) (T, error) {
	if c := a.cell(e); c != nil {
		if p, ok := c.value.(*T); ok && c.take() {
			return *p, nil
		}
	}
	if a.learning {
		return decodeTimed[T](a, e)
	}
	var v T
	err := e.Decode(&v)
	return v, err
}

func decodeTimed[T any](a *ahead, e Event) (v T, err error) {
	began := time.Now()
	err = e.Decode(&v)
	a.note(e.Type, reflect.TypeFor[T](), time.Since(began))
	return v, err
}

// aheadWorker is what a worker keeps from batch to batch.
type aheadWorker struct {
	slabs map[*eventType]slab
	typ   string // of the last event, and
	slab  slab   // its slab; nil where the type isn't decoded ahead
	done  uint64 // events decoded in this batch
}

func (w *aheadWorker) work(a *ahead) {
	w.typ, w.done = "", 0
	defer func() { a.count.Add(w.done) }()
	for _, s := range w.slabs {
		s.reset()
	}
	for {
		from, to := a.claim()
		if from == to {
			return
		}
		ci := sort.Search(len(a.batch), func(i int) bool { return a.batch[i].first > from }) - 1
		for i := from; i < to; i++ {
			c := &a.batch[ci]
			for i >= c.first+c.Len() {
				ci++
				c = &a.batch[ci]
			}
			if (i-from)%aheadStride == 0 {
				if a.stopped.Load() {
					return
				}
				if a.pos.Load()+aheadStride >= int64(i) {
					break // the handler is here
				}
			}
			w.decode(a, c, i-c.first, &a.cells[i])
		}
	}
}

// decode fills the cell of event j of a commit.
func (w *aheadWorker) decode(a *ahead, c *Commit, j int, cell *aheadCell) {
	p := &c.parts[j]
	if p.typ != w.typ {
		w.typ, w.slab = p.typ, w.slabOf(a, p.typ)
	}
	if w.slab == nil || len(p.data) == 0 || (c.evolved != nil && c.evolved.origins[j].err != nil) {
		return
	}
	if !cell.state.CompareAndSwap(cellFree, cellClaimed) {
		return
	}
	state := uint32(cellLeft)
	defer func() { cell.state.Store(state) }() // also where a codec ends the goroutine
	if v, err := w.slab.decode(c.codec, p.data); err == nil {
		cell.value, cell.data, state = v, &p.data[0], cellReady
		w.done++
	}
}

func (w *aheadWorker) slabOf(a *ahead, typ string) slab {
	t := a.reg.byName[typ]
	if t == nil || !a.on[t] {
		return nil
	}
	s := w.slabs[t]
	if s == nil {
		s = t.values.slab()
		w.slabs[t] = s
	}
	return s
}
