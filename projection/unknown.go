package projection

import (
	"errors"

	"github.com/tidemark-es/tidemark/eventlog"
)

// UnknownPolicy says what a projection does at an event whose type the program
// hasn't registered, on a feed that refuses such events (eventlog.RefuseUnknown):
// one that a newer release appends, or whose name was given up.
type UnknownPolicy int

// The policies for events of unknown types.
const (
	// StopAtUnknown makes such an event a failure, as one of a handler: the
	// FailurePolicy decides, by default the projection stops. So a name that was
	// changed without an Alias can't take events away in silence. It is the
	// default.
	StopAtUnknown UnknownPolicy = iota
	// PassUnknown passes such events over and counts them (Status.Unknown).
	PassUnknown
)

// OnUnknown sets the policy for events of unknown types; default StopAtUnknown.
// It is for rolling releases, in which instances of the old release meet types
// of the new one (docs/releases.md).
//
// It is part of what the state means. A release that registers a type and
// handles it doesn't use snapshots of one that passed it over, since the handled
// types differ; nor does a projection with StopAtUnknown use those of one with
// PassUnknown. The other way round it does: up to there nothing was unknown.
func OnUnknown(p UnknownPolicy) TableOption {
	return tableOption(func(n *node) {
		if p < StopAtUnknown || p > PassUnknown {
			n.problem("unknown policy %d for unknown types", p)
		}
		n.passes = p == PassUnknown
	})
}

// passable says whether an event without a handler is passed over, although
// there is a problem with it.
func (n *node) passable(problem error) bool {
	return n.passes && errors.Is(problem, eventlog.ErrUnknownType)
}

// pass is passable, and counts.
func (n *node) pass(problem error) bool {
	if !n.passable(problem) {
		return false
	}
	n.unknown.Add(1)
	return true
}

// unreadable lets a node handle a commit that can't be decoded: it is a failure
// where the commit names a type that the node handles, or may be of one. at is
// the event at hand.
func (n *node) unreadable(f *eventlog.Feed, c *eventlog.Commit, at *eventlog.Event) error {
	for j := range c.Len() {
		*at = c.Event(j)
		switch {
		case n.step.on[at.Type] != nil, at.Type == "":
			return c.Problem()
		case f.Knows(at.Type):
		case n.step.on[eventlog.AnyUnknown] != nil:
			return c.Problem()
		case f.KeepsUnknown():
		case !n.pass(eventlog.ErrUnknownType):
			return c.Problem()
		}
	}
	return nil
}
