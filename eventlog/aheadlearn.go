package eventlog

import (
	"math"
	"reflect"
	"sync/atomic"
	"time"
)

// learned is what a reader knows of who handles its events: which types are
// decoded, and what that takes. It looks at one large batch of many, the
// first one among them, so the others pay nothing for it.
type learned struct {
	reg      *registry
	batches  int  // large ones, so far
	learning bool // the present one is looked at
	costs    map[string]*aheadCost
	on       map[*eventType]bool // what is decoded ahead
}

// aheadCost is what is noted of a type; by several goroutines, where those
// who handle a batch share it.
type aheadCost struct {
	typ   *eventType
	asked atomic.Int64
	least atomic.Int64 // ns an event; the least, since other work only adds to it
}

const (
	aheadEvery = 64 // large batches between two looks
	aheadAsked = 16 // events of a type in one of them
	// aheadPays is where decoding on another processor begins to gain more
	// than handing over costs (BenchmarkAhead).
	aheadPays = 500 * time.Nanosecond
)

func newAhead(f *Feed, limit int) *ahead {
	reg := f.reg
	a := &ahead{count: &f.stats.ahead, limit: limit, learned: learned{
		reg: reg, costs: make(map[string]*aheadCost), on: make(map[*eventType]bool),
	}}
	for name, t := range reg.byName {
		a.costs[name] = &aheadCost{typ: t}
	}
	return a
}

// any says whether anything is decoded ahead.
func (l *learned) any() bool { return len(l.on) > 0 }

// review begins a large batch.
func (l *learned) review() {
	l.learning = l.batches%aheadEvery == 0
	l.batches++
	if l.learning {
		for _, c := range l.costs {
			c.asked.Store(0)
			c.least.Store(math.MaxInt64)
		}
	}
}

// note is called for each event that is decoded while learning.
func (l *learned) note(typ string, into reflect.Type, took time.Duration) {
	c := l.costs[typ]
	if c == nil || into != c.typ.goType {
		return
	}
	c.asked.Add(1)
	for {
		least := c.least.Load()
		if int64(took) >= least || c.least.CompareAndSwap(least, int64(took)) {
			return
		}
	}
}

// weigh ends a batch: what it taught counts from the next one on.
func (a *ahead) weigh() {
	if !a.learning {
		return
	}
	ready, taken := 0, 0
	for i := range a.cells {
		switch a.cells[i].state.Load() {
		case cellReady:
			ready++
		case cellTaken:
			taken++
		}
	}
	if ready > taken {
		clear(a.on) // who handles them has stopped decoding them
		return
	}
	for _, c := range a.costs {
		switch pays := c.least.Load() >= int64(aheadPays); {
		case pays && c.asked.Load() >= aheadAsked:
			a.on[c.typ] = true
		case !pays:
			delete(a.on, c.typ)
		}
	}
}
