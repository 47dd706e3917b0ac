package projection

import (
	"fmt"
	"slices"

	"github.com/tidemark-es/tidemark/snapshot"
)

// begins says whether a snapshot is from before there was a policy to park by:
// it has the table and nothing that was set aside, since nothing was.
func (n *node) begins(c *candidate) bool {
	if n.of == nil || n.of.plan.how != restored || n.of.plan.from != c {
		return false
	}
	_, ok := c.Member(n.name)
	return !ok
}

// orphans says that a snapshot has set commits aside for a table that has no
// policy now: its rows go without them, and nobody lists them.
func (u *unit) orphans(n *node, c *candidate) (notes []string) {
	name := parkedName(n.name)
	m, ok := c.Member(name)
	if d, _ := snapshot.DigestFrom(m.Digest); !ok || d == (snapshot.Digest{}) || slices.ContainsFunc(u.nodes, func(o *node) bool { return o.name == name }) {
		return nil
	}
	return []string{fmt.Sprintf("its state goes without the commits that are set aside in %q, which this program doesn't know: projection %q has no failure policy that keeps any; give it one to list, retry or drop them, or raise its version to replay them", name, n.name)}
}

// parkedName is the name of the table of what another one has set aside.
func parkedName(projection string) string { return projection + "-parked" }
