package projection_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemark-es/tidemark/projection"
)

// Functions that both the tables and the loops use.
func (v vertex) mapped(k string, x int64) int64 { return x*v.p + int64(len(k)) }
func (v vertex) keeps(x int64) bool             { return x%v.p != 0 }
func (v vertex) group(x int64) (string, bool) {
	return fmt.Sprint("g", x%v.p), (x+1)%5 != 0
}
func (v vertex) joined(l, r int64, ok bool) int64 {
	if !ok {
		return -l
	}
	return l*v.p + r
}
func (v vertex) names(x int64) (string, bool) {
	x = max(x, -x)
	return [...]string{"ada", "bob", "ada", "g0"}[x%4], x%7 != 0
}
func (v vertex) first() int                           { return int(v.p) - 1 }
func ranked(r projection.Ranked[string, int64]) int64 { return r.Value*100 + int64(r.Key[0]) }

// podium is a number that tells rows in their order.
func podium(rows []projection.Ranked[string, int64]) (n int64) {
	for _, r := range rows {
		n = n*10_007 + ranked(r)
	}
	return n
}

// after is what all nodes hold behind a commit, by plain loops from what they
// held before: the derived ones from their inputs alone.
func (p plan) after(before []rows, f folded) []rows {
	now := make([]rows, len(p))
	for i, v := range p {
		switch {
		case i < fedNodes:
			now[i] = v.fed(before[i], i, f)
		case v.derived():
			now[i] = v.computed(now[v.a], now[v.b])
		default:
			now[i] = maps.Clone(before[i])
			for k := range differences(before[v.a], now[v.a]) {
				if v.kind == "count" {
					now[i][k]++
				} else {
					now[i][k] = now[v.b][k]
				}
			}
		}
	}
	return now
}

func (v vertex) fed(before rows, i int, f folded) rows {
	now := maps.Clone(before)
	for _, e := range f.events {
		switch e := e.(type) {
		case deposited:
			if i != 1 {
				now[f.key] += e.Cents + v.p
			}
		case closed:
			if i == 0 {
				delete(now, f.key)
			}
		case audited:
			if i != 0 {
				now[f.key] += v.p * int64(len(e.Note))
			}
		}
	}
	return now
}

func (v vertex) computed(a, b rows) rows {
	now, n := make(rows), make(rows)
	var all []projection.Ranked[string, int64]
	for k, x := range a {
		g, in := v.group(x)
		other, there := b[k]
		switch v.kind {
		case "map":
			now[k] = v.mapped(k, x)
		case "filter":
			if v.keeps(x) {
				now[k] = x
			}
		case "aggregate":
			if in {
				n[g]++
				now[g] += x*10 + 1
			}
		case "distinct":
			if in {
				now[g] = int64(len(g))
			}
		case "topn", "topnby":
			all = append(all, projection.Ranked[string, int64]{Key: k, Value: x})
		case "join", "leftjoin":
			if there || v.kind == "leftjoin" {
				now[k] = v.joined(x, other, there)
			}
		case "joinby":
			name, names := v.names(x)
			if r, ok := b[name]; ok && names {
				now[k] = v.joined(x, r, true)
			}
		case "sum":
			now[k] += x
		}
	}
	if v.kind == "sum" {
		for k, x := range b {
			now[k] += x
		}
		maps.DeleteFunc(now, func(_ string, x int64) bool { return x == 0 })
	}
	slices.SortFunc(all, func(a, b projection.Ranked[string, int64]) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Key, b.Key))
	})
	if v.kind == "topn" {
		for i, r := range all[:min(v.first(), len(all))] {
			now[fmt.Sprint(i+1)] = ranked(r)
		}
		return now
	}
	groups := make(map[string][]projection.Ranked[string, int64])
	for _, r := range all {
		if g, in := v.group(r.Value); in {
			groups[g] = append(groups[g], r)
		}
	}
	for g, rows := range groups {
		now[g] = podium(rows[:min(v.first(), len(rows))])
	}
	return now
}

// differences are the keys that differ, with what they had and have.
func differences(before, now rows) map[string]projection.Change[string, int64] {
	d := make(map[string]projection.Change[string, int64])
	for _, m := range []rows{before, now} {
		for k := range m {
			c := projection.Change[string, int64]{Key: k}
			c.Old, c.Had = before[k], has(before, k)
			c.New, c.Has = now[k], has(now, k)
			if c.Had != c.Has || c.Old != c.New {
				d[k] = c
			}
		}
	}
	return d
}

func has(m rows, k string) bool { _, ok := m[k]; return ok }
