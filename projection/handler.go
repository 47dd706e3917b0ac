package projection

import (
	"reflect"

	"github.com/tidemark-es/tidemark/eventlog"
)

// addHandler lets a node handle the events of type D of a feed. What is wrong
// is kept for Start to report, or logged where the node runs already.
func addHandler[D any](n *node, feed *eventlog.Feed, isNil bool, fn func(e eventlog.Event, d D) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	problem := n.problemLocked
	what := reflect.TypeFor[D]().String()
	switch {
	case n.started:
		problem("handler of %s was added after the start, and is not called", what)
		return
	case feed == nil:
		problem("handler of %s: nil feed", what)
		return
	case isNil:
		problem("handler of %s on feed %q: nil function", what, feed.Name())
		return
	}
	name, err := eventlog.NameOf[D](feed)
	if err != nil {
		problem("%v", err)
		return
	}
	if old := n.feeds[feed.Name()]; old != nil && old != feed {
		problem("feed %q comes from two logs", feed.Name())
		return
	}
	byType := n.handlers[feed.Name()]
	if byType == nil {
		byType = make(map[string]handler)
		n.handlers[feed.Name()] = byType
	}
	if byType[name] != nil {
		problem("two handlers of %s on feed %q", what, feed.Name())
		return
	}
	n.feeds[feed.Name()] = feed
	byType[name] = func(e eventlog.Event) error {
		d, err := eventlog.Decode[D](e)
		if err != nil {
			return err
		}
		return fn(e, d)
	}
}
