package projection

import (
	"github.com/tidemark-es/tidemark/internal/problem"
	"maps"
	"slices"
	"strings"
)

// part is a unit as it was given to Start.
type part struct {
	name  string
	nodes []*node
}

// missing reports tables that are read and weren't given to Start.
func missing(parts []part, p *problem.List) {
	given := make(map[*node]bool)
	for _, pt := range parts {
		for _, n := range pt.nodes {
			given[n] = true
		}
	}
	for _, pt := range parts {
		for _, n := range pt.nodes {
			for _, e := range n.ups {
				if !given[e.from] {
					p.Add("%q reads the %s of %q, which isn't started: give that to Start as well", n.name, e.kind, e.from.name)
				}
			}
		}
	}
}

// topological sorts nodes so that each comes behind those that it reads, and
// else in the order given. Where it can't, it returns the path of a cycle.
func topological(nodes []*node) (sorted []*node, cycle []string) {
	const (
		open = 1
		done = 2
	)
	mark := make(map[*node]int)
	var path []*node
	var visit func(n *node) bool
	visit = func(n *node) bool {
		switch mark[n] {
		case done:
			return true
		case open:
			for _, m := range path[slices.Index(path, n):] {
				cycle = append(cycle, m.name)
			}
			cycle = append(cycle, n.name)
			// As data flows: a table comes before the one that reads it.
			slices.Reverse(cycle)
			return false
		}
		mark[n] = open
		path = append(path, n)
		for _, e := range n.ups {
			if !visit(e.from) {
				return false
			}
		}
		path = path[:len(path)-1]
		mark[n] = done
		sorted = append(sorted, n)
		return true
	}
	for _, n := range nodes {
		if !visit(n) {
			return nil, cycle
		}
	}
	return sorted, nil
}

// linked sorts nodes into the sets that are connected by what they read,
// each in the order given.
func linked(nodes []*node) [][]*node {
	leader := make(map[*node]*node, len(nodes))
	var find func(n *node) *node
	find = func(n *node) *node {
		if leader[n] == nil || leader[n] == n {
			return n
		}
		leader[n] = find(leader[n])
		return leader[n]
	}
	for _, n := range nodes {
		for _, e := range n.ups {
			leader[find(n)] = find(e.from)
		}
	}
	var order []*node
	sets := make(map[*node][]*node)
	for _, n := range nodes {
		l := find(n)
		if sets[l] == nil {
			order = append(order, l)
		}
		sets[l] = append(sets[l], n)
	}
	out := make([][]*node, len(order))
	for i, l := range order {
		out[i] = sets[l]
	}
	return out
}

// component is what becomes one unit.
type component struct {
	name    string
	aliases []string // names under which parts of it may have been saved before
	nodes   []*node  // sorted topologically
	groups  [][]*node
}

// join makes units of what was given: parts between which anything is read
// become one, since what is stepped together has to be saved together.
//
// The unit is called as the part that holds the first table of all, the one
// that reads no other, is; of several, the one that is first by name. So it
// keeps its name, and its snapshots, when tables are added that read it.
func join(parts []part) []component {
	of := make(map[*node]int)
	var all []*node
	for i, pt := range parts {
		for _, n := range pt.nodes {
			of[n] = i
		}
		all = append(all, pt.nodes...)
	}
	// Parts are connected by what is read between their nodes, and nodes of
	// one part by being in it.
	into := make([]int, len(parts))
	for i := range into {
		into[i] = i
	}
	var root func(i int) int
	root = func(i int) int {
		if into[i] != i {
			into[i] = root(into[i])
		}
		return into[i]
	}
	for _, n := range all {
		for _, e := range n.ups {
			into[root(of[n])] = root(of[e.from])
		}
	}
	var order []int
	members := make(map[int][]int)
	for i := range parts {
		r := root(i)
		if members[r] == nil {
			order = append(order, r)
		}
		members[r] = append(members[r], i)
	}
	var out []component
	for _, r := range order {
		out = append(out, newComponent(parts, members[r]))
	}
	return out
}

func newComponent(parts []part, members []int) component {
	var c component
	var names, roots []string
	for _, i := range members {
		c.nodes = append(c.nodes, parts[i].nodes...)
		names = append(names, parts[i].name)
		if slices.ContainsFunc(parts[i].nodes, func(n *node) bool { return len(n.ups) == 0 }) {
			roots = append(roots, parts[i].name)
		}
	}
	c.name = slices.Min(roots) // without a cycle there is one
	for _, name := range names {
		if name != c.name {
			c.aliases = append(c.aliases, name)
		}
	}
	slices.Sort(c.aliases)
	c.nodes, _ = topological(c.nodes)
	c.groups = linked(c.nodes)
	return c
}

// connect lets the nodes of a component know each other, and the feeds behind
// what they read.
func (c *component) connect() {
	for _, n := range c.nodes {
		n.mu.Lock()
		for _, e := range n.ups {
			maps.Copy(n.feeds, e.from.feeds) // sorted: that has its own already
			if !slices.Contains(e.from.downs, n) {
				e.from.downs = append(e.from.downs, n)
			}
		}
		n.means = n.meaning()
		n.mu.Unlock()
	}
}

// below calls visit for all nodes that read n, directly or not.
func (n *node) below(visit func(*node)) {
	seen := make(map[*node]bool)
	var walk func(*node)
	walk = func(m *node) {
		for _, d := range m.downs {
			if !seen[d] {
				seen[d] = true
				visit(d)
				walk(d)
			}
		}
	}
	walk(n)
}

// link orders what was given to Start: units of connected nodes.
func link(parts []part, p *problem.List) []component {
	missing(parts, p)
	var all []*node
	for _, pt := range parts {
		all = append(all, pt.nodes...)
	}
	if _, cycle := topological(all); cycle != nil {
		p.Add("the tables read each other in a circle: %s", strings.Join(cycle, " -> "))
	}
	if len(*p) > 0 {
		return nil
	}
	return join(parts)
}
