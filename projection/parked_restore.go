package projection

// begins says whether a snapshot is from before there was a policy to park by:
// it has the table and nothing that was set aside, since nothing was.
func (n *node) begins(c *candidate) bool {
	if n.of == nil || n.of.plan.how != restored || n.of.plan.from != c {
		return false
	}
	_, ok := c.Member(n.name)
	return !ok
}
