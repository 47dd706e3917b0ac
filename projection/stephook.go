package projection

import (
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/internal/stephook"
)

func init() { stephook.Apply = applyFromMemory }

// applyFromMemory is stephook.Apply.
func applyFromMemory(projection any, feed *eventlog.Feed, commits []eventlog.Commit) error {
	p, ok := projection.(Projection)
	if !ok {
		return fmt.Errorf("%T is no projection", projection)
	}
	name, nodes := p.projections()
	var problems problem.List
	components := link([]part{{name, nodes}}, &problems)
	if err := problems.Err("projection", ErrInvalid); err != nil {
		return err
	}
	components[0].connect()
	for _, nodes := range components[0].groups {
		g := newGroup(nodes)
		if !g.begin(feed.Name()) {
			return fmt.Errorf("%q doesn't read feed %q", name, feed.Name())
		}
		for rest := commits; len(rest) > 0; {
			run := rest[:min(g.runLength(), len(rest))]
			rest = rest[len(run):]
			for _, n := range nodes {
				n.state.lock()
			}
			g.run(&unit{}, feed, run)
			for _, n := range nodes {
				n.state.unlock()
			}
		}
		for _, n := range nodes {
			if n.step.stop != nil {
				return n.step.stop
			}
		}
	}
	return nil
}
