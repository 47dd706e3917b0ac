package projection

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/snapshot"
)

// One projection that can't be encoded, such as a model whose Snapshot fails,
// doesn't keep the others of its unit from being saved (R0.4): the save goes
// without it, and carries forward what the snapshot before has of it.

// leaveOut leaves a node out of a save. Where that leaves nothing to save, it
// is an error.
func (j *saveJob) leaveOut(n *node, err error) error {
	if j.left == nil {
		j.left = make(map[*node]error)
	}
	j.left[n] = fmt.Errorf("projection %q: %w", n.name, err)
	if len(j.left) == len(j.nodes) {
		return j.left[n]
	}
	return nil
}

// dropLeft takes what was left out off the cut.
func (j *saveJob) dropLeft() {
	left := make(map[string]bool, len(j.left))
	for n := range j.left {
		left[n.name] = true
	}
	j.cut.Members = slices.DeleteFunc(j.cut.Members, func(m snapshot.Member) bool { return left[m.Name] })
}

// eachNode calls fn with every node of the save, its capture, and why it was
// left out, nil where it wasn't.
func (j *saveJob) eachNode(fn func(n *node, part capture, left error)) {
	for i, n := range j.nodes {
		fn(n, j.parts[i], j.left[n])
	}
}

// leftOut says which projections the save went without, and why. A model that
// is torn has told that when it stopped.
func (j *saveJob) leftOut() (why []error) {
	for _, n := range j.nodes {
		if err := j.left[n]; err != nil && !errors.Is(err, errTorn) {
			why = append(why, err)
		}
	}
	return why
}

func listed(errs []error) string {
	var s []string
	for _, err := range errs {
		s = append(s, err.Error())
	}
	return strings.Join(s, "; ")
}

// allTorn says that there is nothing that could be saved.
func (s *saver) allTorn() bool {
	for _, n := range s.u.nodes {
		if m, ok := n.state.(interface{ isTorn() bool }); !ok || !m.isTorn() {
			return false
		}
	}
	return true
}
