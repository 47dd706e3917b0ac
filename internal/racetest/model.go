package racetest

import (
	"fmt"
	"math/rand/v2"

	"github.com/anishathalye/porcupine"
	"github.com/tidemark-es/tidemark/eventlog"
)

const (
	keys = 4
	tags = 3
)

func key(i int) string { return fmt.Sprint("key-", i) }
func tag(i int) string { return fmt.Sprint("tag-", i) }

// call is one append, of one key or of several.
type call struct {
	plain  bool // by Append, not as a transaction
	id     string
	parts  []part
	guards []guard
}

type part struct {
	key    int
	exact  bool
	expect uint64
	tags   []int
}

type guard struct {
	tag   int
	after uint64
}

// answer is what became of a call. A call whose outcome stayed unknown, and
// that is found in the log, has no answer in time: it returns never.
type answer struct {
	stored bool // else it was a conflict
	seqs   []uint64
}

// state is what the log's conditions are about: the last commit of each key
// and tag, and of all.
type state struct {
	key  [keys]uint64
	tag  [tags]uint64
	last uint64
}

func (s state) holds(c call) bool {
	for _, p := range c.parts {
		if p.exact && p.expect != s.key[p.key] {
			return false
		}
	}
	for _, g := range c.guards {
		if s.tag[g.tag] > g.after {
			return false
		}
	}
	return true
}

// model is the log as one register: an append is stored behind everything
// that was stored before, exactly where its conditions hold.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(at, in, out any) (bool, any) {
		s, c, a := at.(state), in.(call), out.(answer)
		if !a.stored {
			return !s.holds(c), s
		}
		if !s.holds(c) || len(a.seqs) != len(c.parts) {
			return false, s
		}
		for i, p := range c.parts {
			if a.seqs[i] <= s.last {
				return false, s
			}
			s.last, s.key[p.key] = a.seqs[i], a.seqs[i]
			for _, t := range p.tags {
				s.tag[t] = a.seqs[i]
			}
		}
		return true, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// invent makes up a call of a writer that knows what it has last seen: often
// the truth, sometimes not any more.
func invent(r *rand.Rand, name string, n int, seen state) call {
	c := call{plain: r.IntN(4) == 0}
	if r.IntN(4) == 0 {
		c.id = eventlog.ActorID(name, uint64(n))
	}
	count := 1
	if !c.plain {
		count = 1 + r.IntN(3)
	}
	for _, k := range r.Perm(keys)[:count] {
		p := part{key: k, exact: r.IntN(5) > 0, expect: seen.key[k]}
		if r.IntN(3) == 0 {
			p.tags = r.Perm(tags)[:1+r.IntN(2)]
		}
		c.parts = append(c.parts, p)
	}
	if !c.plain {
		for _, t := range r.Perm(tags)[:r.IntN(3)] {
			c.guards = append(c.guards, guard{tag: t, after: seen.tag[t]})
		}
	}
	return c
}
