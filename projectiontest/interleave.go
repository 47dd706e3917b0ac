package projectiontest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// Rounds is how many interleavings are tried unless a call says otherwise.
const Rounds = 100

// placed is a commit with its place in its feed and its time, which are the
// same in every interleaving.
type placed struct {
	Commit
	seq uint64
	at  time.Time
}

func (p placed) String() string {
	return fmt.Sprintf("%s@%d %s %+v", p.Feed.Name(), p.seq, p.Key, p.Events)
}

// text is for people; String is what histories are recorded with.
func (p placed) text() string {
	return fmt.Sprintf("%s@%d %s %s", p.Feed.Name(), p.seq, p.Key, eventText(p.Events))
}

func place(commits []Commit) []placed {
	seq := make(map[*eventlog.Feed]uint64)
	out := make([]placed, len(commits))
	now := Epoch
	for i, c := range commits {
		seq[c.Feed]++
		if !c.Time.IsZero() {
			now = c.Time
		}
		out[i] = placed{c, seq[c.Feed], now}
		now = now.Add(time.Second)
	}
	return out
}

// Interleavings checks that the projections come to one state from these
// commits, in whatever way those of different feeds are interleaved: between
// feeds there is no order. Within a feed they are in the order given. It tries
// Rounds random interleavings; the seed is fixed, so a failure comes again.
// Commits of one feed alone have no other order, and are refused.
// A counter-example is made as small as it gets: two commits of different
// feeds, one behind the other and the other way round, and of the rest what is
// needed.
func Interleavings(t testing.TB, commits []Commit, projections ...projection.Projection) {
	t.Helper()
	r, err := newRun(projections)
	if err != nil {
		t.Fatal(err)
	}
	found, err := interleave(r, place(commits), rand.New(rand.NewPCG(1, uint64(len(commits)))))
	switch {
	case err != nil:
		t.Fatal(err)
	case found != nil:
		t.Error(found.String())
	}
}

// clash is two orders of the same commits that lead to different states.
type clash struct {
	a, b []placed
	diff string
}

func (c *clash) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "the interleaving of feeds shows. %d commits in two orders:\n", len(c.a))
	for i := range c.a {
		mark := ""
		if c.a[i].String() != c.b[i].String() {
			mark = "   | " + c.b[i].text()
		}
		fmt.Fprintf(&s, "\t%s%s\n", c.a[i].text(), mark)
	}
	s.WriteString("lead to:" + c.diff)
	return s.String()
}

func interleave(r *run, commits []placed, rnd *rand.Rand) (*clash, error) {
	if len(commits) == 0 || !slices.ContainsFunc(commits, func(c placed) bool { return c.Feed != commits[0].Feed }) {
		return nil, errors.New("commits of two feeds are needed: those of one have one order, so nothing would be tried")
	}
	want, err := play(r, commits)
	if err != nil {
		return nil, err
	}
	for range Rounds {
		other := shuffled(commits, rnd)
		got, err := play(r, other)
		if err != nil {
			return nil, err
		}
		if difference(want, got) != "" {
			return shrink(r, commits, other)
		}
	}
	return nil, nil
}

// shuffled is a random interleaving that keeps each feed's order.
func shuffled(commits []placed, rnd *rand.Rand) []placed {
	queues := make(map[*eventlog.Feed][]placed)
	feeds := make([]*eventlog.Feed, len(commits))
	for i, c := range commits {
		queues[c.Feed] = append(queues[c.Feed], c)
		feeds[i] = c.Feed
	}
	rnd.Shuffle(len(feeds), func(i, j int) { feeds[i], feeds[j] = feeds[j], feeds[i] })
	out := make([]placed, len(feeds))
	for i, f := range feeds {
		out[i], queues[f] = queues[f][0], queues[f][1:]
	}
	return out
}

// shrink makes a counter-example small. Swaps of neighbours lead from one order
// to the other: one of them makes the difference, which is found by bisection.
// Then it leaves out what that doesn't need.
func shrink(r *run, a, b []placed) (*clash, error) {
	before, err := play(r, a)
	if err != nil {
		return nil, err
	}
	after, err := play(r, b)
	if err != nil {
		return nil, err
	}
	same, differs := 0, swaps(a, b) // so many of them lead to the state of a; to another
	c := &clash{swapped(a, b, differs-1), b, difference(before, after)}
	for differs-same > 1 {
		mid := (same + differs) / 2
		order := swapped(a, b, mid)
		if after, err = play(r, order); err != nil {
			return nil, err
		}
		if diff := difference(before, after); diff == "" {
			same = mid
		} else {
			differs, c = mid, &clash{swapped(a, b, mid-1), order, diff}
		}
	}
	for i := 0; i < len(c.a); {
		smaller, err := c.without(r, c.a[i].String())
		if err != nil {
			return nil, err
		}
		if smaller == nil {
			i++
			continue
		}
		c, i = smaller, 0
	}
	return c, nil
}

// ranks are the places in b of what is in a.
func ranks(a, b []placed) []int {
	at := make(map[string]int, len(b))
	for i, c := range b {
		at[c.String()] = i
	}
	out := make([]int, len(a))
	for i, c := range a {
		out[i] = at[c.String()]
	}
	return out
}

// swaps is how many swaps of neighbours lead from a to b.
func swaps(a, b []placed) (n int) {
	rank := ranks(a, b)
	for i := range rank {
		for _, later := range rank[i+1:] {
			if rank[i] > later {
				n++
			}
		}
	}
	return n
}

// swapped is a behind the first n of them.
func swapped(a, b []placed, n int) []placed {
	out, rank := slices.Clone(a), ranks(a, b)
	for i := 0; n > 0; {
		if rank[i] < rank[i+1] {
			i++
			continue
		}
		rank[i], rank[i+1] = rank[i+1], rank[i]
		out[i], out[i+1] = out[i+1], out[i]
		n, i = n-1, max(0, i-1)
	}
	return out
}

// without is the clash with one commit fewer, nil where that isn't one.
func (c *clash) without(r *run, name string) (*clash, error) {
	drop := func(all []placed) []placed {
		return slices.DeleteFunc(slices.Clone(all), func(p placed) bool { return p.String() == name })
	}
	smaller := &clash{a: drop(c.a), b: drop(c.b)}
	x, err := play(r, smaller.a)
	if err != nil {
		return nil, err
	}
	y, err := play(r, smaller.b)
	if err != nil {
		return nil, err
	}
	if smaller.diff = difference(x, y); smaller.diff == "" {
		return nil, nil
	}
	return smaller, nil
}
