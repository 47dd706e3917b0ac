package projection

import (
	"hash/maphash"
	"iter"
	"runtime"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

// Partitioned is a table with one row for each key of its feeds, whose events
// are decoded and handled in several partitions at once: those of one key in
// their order, in one of them. It is worth it where handling takes
// microseconds; where it takes less, handing events over costs as much.
//
// Its state, its digest and its snapshots are those of a Table[string, V] with
// the same handlers, however many partitions there are: either may be restored
// from the other's. Readers and snapshots see whole runs of commits, in all
// partitions. Other tables can read its changes (OnChange, and the operators
// that take a Relation): they are told commit by commit, as by a Table. It can't
// be watched, viewed, or read by Reads and the joins, and it reads no tables.
type Partitioned[V any] struct {
	n     *node
	parts []*Table[string, V]
	seed  maphash.Seed

	ahead ahead[V]
	delta []Change[string, V] // of the step
	marks []int
}

// NewPartitioned makes an empty table of so many partitions; 0 is as many as
// there are processors to use (GOMAXPROCS). There is no goroutine for a key,
// nor for an idle partition. Names and options are those of NewTable.
func NewPartitioned[V any](name string, partitions int, opts ...TableOption) *Partitioned[V] {
	if partitions == 0 {
		partitions = runtime.GOMAXPROCS(0)
	}
	p := &Partitioned[V]{seed: maphash.MakeSeed()}
	for range max(1, partitions) {
		p.parts = append(p.parts, NewTable[string, V](name, opts...))
	}
	p.n = p.parts[0].n
	for _, t := range p.parts {
		t.n = p.n
	}
	p.n.state, p.n.out, p.n.par = p, p, p
	if p.n.derived || p.n.history > 0 {
		p.n.problem("it is partitioned, and neither Derived nor watched")
	}
	if partitions < 0 {
		p.n.problem("%d partitions", partitions)
	}
	p.ahead.parts = make([]partRun[V], len(p.parts))
	return p
}

// Row is the row of the key that an event belongs to, while a handler runs.
type Row[V any] struct {
	tx  *Tx[string, V]
	key string
}

// Get returns the row's value, and whether there is one.
func (r Row[V]) Get() (V, bool) { return r.tx.Get(r.key) }

// Value returns the row's value, zero where there is none.
func (r Row[V]) Value() V { return r.tx.Value(r.key) }

// Put sets the row's value. The table keeps v: don't change what it points to.
func (r Row[V]) Put(v V) { r.tx.Put(r.key, v) }

// Delete removes the row.
func (r Row[V]) Delete() { r.tx.Delete(r.key) }

// OnRow lets a partitioned table handle one type of event of a feed: fn is
// called for each such event with the row of its key, on several goroutines at
// a time for different keys. Its duties are those of On's; beside, it shares
// nothing with other calls.
func OnRow[V, D any](p *Partitioned[V], feed *eventlog.Feed, fn func(r Row[V], e eventlog.Event, d D) error) {
	if p == nil {
		return // Start says so
	}
	addHandler(p.n, feed, fn == nil, func(e eventlog.Event, d D) error {
		return fn(Row[V]{&p.part(e.Key).tx, e.Key}, e, d)
	})
}

func (p *Partitioned[V]) partOf(key string) int {
	if len(p.parts) == 1 {
		return 0
	}
	return int(maphash.String(p.seed, key) % uint64(len(p.parts)))
}

func (p *Partitioned[V]) part(key string) *Table[string, V] { return p.parts[p.partOf(key)] }

func (p *Partitioned[V]) projections() (string, []*node) {
	if p == nil {
		return "", nil
	}
	return p.n.name, p.n.withParking()
}

func (p *Partitioned[V]) boundedBy(c eventlog.Codec) {
	for _, t := range p.parts {
		t.boundedBy(c)
	}
}

// Name is the projection's name.
func (p *Partitioned[V]) Name() string { return p.n.name }

// Err is nil while the projection runs, else why it stopped.
func (p *Partitioned[V]) Err() error { return p.n.err() }

// Get returns a key's value, and whether there is one.
func (p *Partitioned[V]) Get(key string) (V, bool) {
	t := p.part(key)
	p.n.lazy.touch()
	t.mu.read(p.n, "Partitioned.Get")
	defer t.mu.RUnlock()
	return t.get(key)
}

// Len is the number of keys.
func (p *Partitioned[V]) Len() (n int) {
	p.n.lazy.touch()
	p.rlock("Partitioned.Len")
	defer p.runlock()
	for _, t := range p.parts {
		n += len(t.rows)
	}
	return n
}

// All yields every key and value of one moment, in no particular order. It
// copies them first, so the loop's body may take its time.
func (p *Partitioned[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		p.n.lazy.touch()
		all := make(map[string]V)
		p.rlock("Partitioned.All")
		for _, t := range p.parts {
			for k, r := range t.rows {
				all[k] = r.value
			}
		}
		p.runlock()
		for k, v := range all {
			if !yield(k, v) {
				return
			}
		}
	}
}

func (p *Partitioned[V]) rlock(call string) {
	for _, t := range p.parts {
		t.rlock(call)
	}
}

func (p *Partitioned[V]) runlock() {
	for _, t := range p.parts {
		t.runlock()
	}
}

// partedCut is the captures of all partitions: of one moment, since the unit's
// goroutine takes them between two runs.
type partedCut []capture

func (c partedCut) len() (n int) {
	for _, part := range c {
		n += part.len()
	}
	return n
}

// encode merges the partitions. A table's digest is the sum of its rows', so
// that of all is the sum of the partitions'.
func (c partedCut) encode() (all []snapshot.Change, sum snapshot.Digest, err error) {
	for _, part := range c {
		changes, digest, err := part.encode()
		if err != nil {
			return nil, sum, err
		}
		all, sum = append(all, changes...), sum.Plus(digest)
	}
	return sorted(all), sum, nil
}

func (c partedCut) release() {
	for _, part := range c {
		if r, ok := part.(releaser); ok {
			r.release()
		}
	}
}

func (c partedCut) digest() (sum snapshot.Digest, err error) {
	for _, part := range c {
		digest, err := part.digest()
		if err != nil {
			return sum, err
		}
		sum = sum.Plus(digest)
	}
	return sum, nil
}

// expect is Table.expect.
func (p *Partitioned[V]) expect(m snapshot.MemberState) {
	p.parts[0].expect(m)
	share := p.parts[0].expected / len(p.parts)
	p.parted(func(t *Table[string, V]) { t.expected = share })
}

// load fills all partitions at once. They are swapped in together: not some of
// one snapshot, and some of another.
func (p *Partitioned[V]) load(entries iter.Seq2[snapshot.Change, error], m migration, clean bool) (err error) {
	defer contain(&err)
	fillers := make([]*filler[string, V], len(p.parts))
	for i, t := range p.parts {
		fillers[i] = newFiller(t, clean)
		defer fillers[i].stop()
	}
	migrate, _ := m.(migrateRow[string, V])
	for e, err := range entries {
		if err == nil {
			err = fillers[p.partOf(string(e.Key))].add(e, migrate) // a string's stored form is itself
		}
		if err != nil {
			return err
		}
	}
	for _, f := range fillers {
		if err := f.finish(); err != nil {
			return err
		}
	}
	for i, t := range p.parts {
		t.take(fillers[i])
	}
	return nil
}
