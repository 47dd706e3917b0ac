package projection

// regrouping is what a partitioned table reads of another one: its changes,
// under other keys.
type regrouping[V any] interface {
	node() *node
	// stage keeps what a commit of the run changed, and tells put under which
	// keys; handle handles one of them, on any goroutine.
	stage(at int, put func(group string, staged int))
	handle(tx *Tx[string, V], staged int) error
	reset()
}

// OnGroup lets a partitioned table handle the changes of another table under
// other keys: group says which row a row of src belongs to, or that it belongs
// to none. fn is called with that row for each change: where a row of src
// changes its group, twice, as one that goes from the old group and as one that
// comes to the new one. It is how an aggregate by another key is made:
//
//	projection.OnGroup(byCity, customers, cityOf, func(r projection.Row[int], c projection.Change[string, Customer]) error {
//		n := r.Value()
//		if c.Had {
//			n--
//		}
//		if c.Has {
//			n++
//		}
//		r.Put(n)
//		return nil
//	})
//
// For each row of dst, the changes come in the order of the commits that caused
// them. Where src is a Partitioned that handles nothing but events, or others
// like it, the groups are handled in parallel; where it is a Table, one after
// another. The rules are those of OnChange, and for fn those of OnRow. dst can't
// be Derived: without a snapshot, src is replayed for it.
func OnGroup[V, SV any, SK comparable](dst *Partitioned[V], src Relation[SK, SV], group func(key SK, v SV) (string, bool), fn func(r Row[V], c Change[SK, SV]) error) {
	if dst == nil {
		return
	}
	if group == nil || fn == nil {
		dst.n.problem("handler of grouped changes: nil function")
		return
	}
	s := &splitter[SK, SV]{group: group}
	connect(dst.n, sourceNode(src), &edge{
		kind: readsDeltas,
		deltas: func() error {
			for _, c := range src.step() {
				for _, part := range s.split(c) {
					if err := fn(Row[V]{&dst.part(part.group).tx, part.group}, part.c); err != nil {
						return err
					}
				}
			}
			return nil
		},
	})
	if from, ok := any(src).(*Partitioned[SV]); ok && from != nil {
		// Then SK is string.
		dst.regroup = append(dst.regroup, &grouped[V, SK, SV]{
			from: from.n, moves: any(from.movesOf).(func(int) []Change[SK, SV]), split: s.split, fn: fn,
		})
	} else {
		dst.serial = true
	}
}

type splitter[K comparable, V any] struct {
	group func(key K, v V) (string, bool)
	buf   []groupChange[K, V]
}

type groupChange[K comparable, V any] struct {
	group string
	c     Change[K, V]
}

// split is a change as its groups see it; lent until the next call.
func (s *splitter[K, V]) split(c Change[K, V]) []groupChange[K, V] {
	s.buf = s.buf[:0]
	var old, now string
	var left, came bool
	if c.Had {
		old, left = s.group(c.Key, c.Old)
	}
	if c.Has {
		now, came = s.group(c.Key, c.New)
	}
	if left && came && old == now {
		return append(s.buf, groupChange[K, V]{old, c})
	}
	if left {
		s.buf = append(s.buf, groupChange[K, V]{old, Change[K, V]{Key: c.Key, Old: c.Old, Had: true, Cause: c.Cause}})
	}
	if came {
		s.buf = append(s.buf, groupChange[K, V]{now, Change[K, V]{Key: c.Key, New: c.New, Has: true, Cause: c.Cause}})
	}
	return s.buf
}

// grouped is a regrouping of a partitioned table.
type grouped[V any, K comparable, SV any] struct {
	from   *node
	moves  func(at int) []Change[K, SV]
	split  func(Change[K, SV]) []groupChange[K, SV]
	fn     func(r Row[V], c Change[K, SV]) error
	staged []groupChange[K, SV]
}

func (g *grouped[V, K, SV]) node() *node { return g.from }

func (g *grouped[V, K, SV]) stage(at int, put func(group string, staged int)) {
	for _, c := range g.moves(at) {
		for _, part := range g.split(c) {
			g.staged = append(g.staged, part)
			put(part.group, len(g.staged)-1)
		}
	}
}

func (g *grouped[V, K, SV]) handle(tx *Tx[string, V], staged int) error {
	part := &g.staged[staged]
	return g.fn(Row[V]{tx, part.group}, part.c)
}

func (g *grouped[V, K, SV]) reset() {
	clear(g.staged)
	g.staged = g.staged[:0]
}
