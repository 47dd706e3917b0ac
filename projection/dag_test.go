package projection_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// A random graph of tables, and what it comes to by plain loops. All tables
// are of strings and integers; a node may need a second table on the way.

type (
	rows   = map[string]int64
	number = *projection.Table[string, int64]
)

// vertex is one node: what it does, to which earlier nodes, how.
type vertex struct {
	kind    string
	a, b    int
	p       int64 // what fn does; the version goes with it
	version uint64
	unsaved bool
	history int // changes kept for watchers
}

// What nodes do. Those after the bar depend on how their rows came to be, so
// they are only asked of nodes behind one feed.
var vertexKinds = strings.Fields("map filter aggregate distinct topn topnby sum join leftjoin joinby joinby | count lookup")

const fedNodes = 3 // accounts, audits, both

type plan []vertex

// feeds says which feeds a node derives from: a set of bits.
func (p plan) feeds(i int) int {
	switch v := p[i]; {
	case i < fedNodes:
		return i + 1
	case v.two():
		return p.feeds(v.a) | p.feeds(v.b)
	default:
		return p.feeds(v.a)
	}
}

func (v vertex) two() bool {
	return slices.Contains([]string{"sum", "join", "leftjoin", "joinby", "lookup"}, v.kind)
}

func (v vertex) derived() bool { return v.kind != "source" && v.kind != "count" && v.kind != "lookup" }

// trap makes a node fail at a value, once it is armed: what a bug does that is
// gone in the next life.
type trap struct {
	at    int // the node; 0: none
	armed atomic.Bool
}

func trapped(x int64) bool { return x%11 == 3 }

// springs says whether a node runs into it, of a kind that looks.
func (tr *trap) springs(i int, kind string, changes map[string]projection.Change[string, int64]) bool {
	if !tr.armed.Load() || tr.at != i || kind != "map" && kind != "filter" && kind != "count" {
		return false
	}
	for _, c := range changes {
		if c.Has && trapped(c.New) {
			return true
		}
	}
	return false
}

// grow adds a node, where there is one of the kind that was drawn.
func (p plan) grow(t *rapid.T) plan {
	v := vertex{kind: rapid.SampledFrom(vertexKinds).Draw(t, "kind"), a: rapid.IntRange(0, len(p)-1).Draw(t, "a"), b: rapid.IntRange(0, len(p)-1).Draw(t, "b")}
	v.redraw(t)
	v.unsaved = v.derived() && rapid.IntRange(0, 3).Draw(t, "unsaved") == 0
	grown := append(slices.Clone(p), v)
	if v.kind == "|" || v.two() && v.a == v.b || !v.derived() && grown.feeds(len(p)) == 3 {
		return p
	}
	return grown
}

// meanings makes versions: another meaning never has an earlier one's, also
// where a node was left out and another one has its name.
var meanings atomic.Uint64

func (v *vertex) redraw(t *rapid.T) {
	v.version = meanings.Add(1)
	v.p = rapid.Int64Range(2, 4).Draw(t, "p")
	v.history = rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "history")
}

// tables makes the program.
func (p plan) tables(b *bank, tr *trap) (nodes []number, all []projection.Projection) {
	for i, v := range p {
		name := fmt.Sprintf("n%d-%s", i, v.kind)
		opts := []projection.TableOption{projection.Version(v.version), projection.History(v.history)}
		if v.unsaved {
			opts = append(opts, projection.Unsaved())
		}
		var t number
		var via projection.Projection
		if i < fedNodes {
			t = v.source(b, name, i, opts)
		} else {
			t, via = v.table(name, nodes, opts, func(x int64) bool { return i == tr.at && tr.armed.Load() && trapped(x) })
		}
		nodes, all = append(nodes, t), append(all, t)
		if via != nil {
			all = append(all, via)
		}
	}
	return nodes, all
}

func (v vertex) source(b *bank, name string, i int, opts []projection.TableOption) number {
	t := projection.NewTable[string, int64](name, opts...)
	type tx = *projection.Tx[string, int64]
	if i != 1 {
		projection.On(t, b.accounts, func(t tx, e eventlog.Event, d deposited) error {
			t.Put(e.Key, t.Value(e.Key)+d.Cents+v.p)
			return nil
		})
		if i == 0 {
			projection.On(t, b.accounts, func(t tx, e eventlog.Event, _ closed) error {
				t.Delete(e.Key)
				return nil
			})
		}
	}
	if i != 0 {
		projection.On(t, b.audits, func(t tx, e eventlog.Event, a audited) error {
			t.Put(e.Key, t.Value(e.Key)+v.p*int64(len(a.Note)))
			return nil
		})
	}
	return t
}

// table makes node v of the nodes before, and a table on the way to it.
func (v vertex) table(name string, nodes []number, opts []projection.TableOption, bad func(int64) bool) (t number, via projection.Projection) {
	a, b := nodes[v.a], nodes[v.b]
	on := name + "-on"
	type change = projection.Change[string, int64]
	type tx = *projection.Tx[string, int64]
	switch v.kind {
	case "map":
		return projection.Map(name, a, func(k string, x int64) int64 {
			if bad(x) {
				panic("trap")
			}
			return v.mapped(k, x)
		}, opts...), nil
	case "filter":
		return projection.Filter(name, a, func(_ string, x int64) bool {
			if bad(x) {
				panic("trap")
			}
			return v.keeps(x)
		}, opts...), nil
	case "aggregate":
		g := projection.Aggregate(on, a, func(_ string, x int64) (string, bool) { return v.group(x) },
			func(sum int64, _ string, x int64) int64 { return sum + x }, func(sum int64, _ string, x int64) int64 { return sum - x }, opts...)
		return projection.Map(name, g, func(_ string, g projection.Group[int64]) int64 { return g.Value*10 + int64(g.Rows) }, opts...), g
	case "distinct":
		d := projection.Distinct(on, a, func(_ string, x int64) (string, bool) { return v.group(x) }, opts...)
		return projection.Map(name, d, func(k string, _ int) int64 { return int64(len(k)) }, opts...), d
	case "topn":
		top := projection.TopN(on, a, v.first(), func(a, b int64) bool { return a > b }, opts...)
		t := projection.NewTable[string, int64](name, append(opts, projection.Derived())...)
		projection.OnChange(t, top, func(tx tx, c projection.Change[int, projection.Ranked[string, int64]]) error {
			if k := fmt.Sprint(c.Key); c.Has {
				tx.Put(k, ranked(c.New))
			} else {
				tx.Delete(k)
			}
			return nil
		})
		return t, top
	case "topnby":
		top := projection.TopNBy(on, a, v.first(), func(_ string, x int64) (string, bool) { return v.group(x) }, func(a, b int64) bool { return a > b }, opts...)
		return projection.Map(name, top, func(_ string, rows []projection.Ranked[string, int64]) int64 { return podium(rows) }, opts...), top
	case "join":
		return projection.Join(name, a, b, func(_ string, l, r int64) int64 { return v.joined(l, r, true) }, opts...), nil
	case "leftjoin":
		return projection.LeftJoin(name, a, b, func(_ string, l, r int64, ok bool) int64 { return v.joined(l, r, ok) }, opts...), nil
	case "joinby":
		return projection.JoinBy(name, a, b, func(_ string, l int64) (string, bool) { return v.names(l) },
			func(_ string, l, r int64) int64 { return v.joined(l, r, true) }, opts...), nil
	}
	if v.derived() {
		opts = append(opts, projection.Derived())
	}
	t = projection.NewTable[string, int64](name, opts...)
	switch v.kind {
	case "sum":
		add := func(tx tx, c change) error {
			if sum := tx.Value(c.Key) + c.New - c.Old; sum != 0 {
				tx.Put(c.Key, sum)
			} else {
				tx.Delete(c.Key)
			}
			return nil
		}
		projection.OnChange(t, a, add)
		projection.OnChange(t, b, add)
	case "count":
		projection.OnChange(t, a, func(tx tx, c change) error {
			tx.Put(c.Key, tx.Value(c.Key)+1)
			if c.Has && bad(c.New) {
				return errors.New("trap") // what it has done is undone
			}
			return nil
		})
	case "lookup":
		look := projection.Reads(t, b)
		projection.OnChange(t, a, func(tx tx, c change) error {
			tx.Put(c.Key, look.Value(c.Key))
			return nil
		})
	}
	return t, nil
}
