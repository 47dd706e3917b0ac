package projection

// gatherSlice is how many rows are gathered before readers' and handlers' turn
// comes: an event waits for about a tenth of a millisecond at most.
const gatherSlice = 512

// gathering is all rows of a table, looked at one slice after another beside
// the handlers, so that a capture of the whole table keeps nobody waiting.
//
// The slices are of different moments. That is put right by the list of
// changes: what was changed after the gathering had begun is in the cut that
// follows it, with its value there, and takes the place of what was gathered.
// It holds as long as no other cut was taken between the two.
type gathering[K comparable, V any] struct {
	epoch uint32 // of the cut in which it began
	from  map[K]*row[V]
	rows  []touched[K, V]
	ended bool // set before it is handed back to the unit's goroutine
}

// gatherer is a state of which everything can be gathered. begin is called by
// the unit's goroutine, what it returns beside it; touchAll and cut then take
// what was gathered.
type gatherer interface{ gather() (run func()) }

func (t *Table[K, V]) gather() (run func()) {
	g := &gathering[K, V]{epoch: t.epoch, from: t.rows}
	t.gathered = g
	return func() { g.run(t) }
}

func (g *gathering[K, V]) run(t *Table[K, V]) {
	t.mu.RLock()
	n := len(g.from)
	t.mu.RUnlock()
	g.rows = make([]touched[K, V], 0, n)
	left := gatherSlice
	t.mu.RLock()
	defer t.mu.RUnlock()
	for k, r := range g.from { // a map may be changed between two steps of its iteration
		g.rows = append(g.rows, touched[K, V]{key: k, row: r, value: r.value})
		if left--; left == 0 {
			left = gatherSlice
			t.mu.RUnlock()
			t.mu.RLock()
		}
	}
	g.from, g.ended = nil, true
}

// takeGathered returns what was gathered where it still is the whole table
// together with the present list of changes, nil where not.
func (t *Table[K, V]) takeGathered() *gathering[K, V] {
	g := t.gathered
	t.gathered = nil
	if g == nil || !g.ended || g.epoch != t.epoch {
		return nil
	}
	return g
}

// join puts the gathered rows that weren't changed since into a cut, beside
// the reducers.
func (c *tableCut[K, V]) join() {
	g := c.gathered
	if g == nil {
		return
	}
	c.gathered = nil
	changed := make(map[*row[V]]struct{}, len(c.rows))
	for i := range c.rows {
		changed[c.rows[i].row] = struct{}{}
	}
	n := 0
	for i := range g.rows {
		if _, ok := changed[g.rows[i].row]; !ok {
			g.rows[n] = g.rows[i]
			n++
		}
	}
	c.rows = append(g.rows[:n], c.rows...)
}

// encodedWhole says that the capture was of all rows, and is encoded.
func (c *tableCut[K, V]) encodedWhole() bool { return c.whole && c.done }

func (c partedCut) encodedWhole() bool {
	for _, part := range c {
		if e, ok := part.(interface{ encodedWhole() bool }); !ok || !e.encodedWhole() {
			return false
		}
	}
	return true
}

// gather gathers one partition after another.
func (p *Partitioned[V]) gather() (run func()) {
	runs := make([]func(), len(p.parts))
	for i, t := range p.parts {
		runs[i] = t.gather()
	}
	return func() {
		for _, run := range runs {
			run()
		}
	}
}
