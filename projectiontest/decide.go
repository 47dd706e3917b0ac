package projectiontest

import (
	"errors"
	"runtime/debug"
	"testing"
)

// Decision is what a decider made of a command.
type Decision struct {
	t      testing.TB
	events []any
	err    error
	// panicked: the test has failed, and there is nothing else to say.
	panicked bool
}

// Decide gives a decider a state and a command: a plain function, as package
// command takes it. A panic fails the test.
func Decide[S, C any](t testing.TB, decide func(state S, cmd C) ([]any, error), given S, when C) *Decision {
	t.Helper()
	d := &Decision{t: t}
	func() {
		defer func() {
			if r := recover(); r != nil {
				d.panicked = true
				t.Errorf("the decider panicked at %+v: %v\n%s", when, r, debug.Stack())
			}
		}()
		d.events, d.err = decide(given, when)
	}()
	return d
}

// Then checks that the decider decided on these events, in this order; none
// given: that nothing happens.
func (d *Decision) Then(events ...any) {
	d.t.Helper()
	switch {
	case d.panicked:
	case d.err != nil:
		d.t.Errorf("the command was rejected: %v", d.err)
	case len(d.events)+len(events) > 0 && !alike(d.events, events):
		g, w := eventTexts(d.events, events)
		d.t.Errorf("the events are %s, want %s", g, w)
	}
}

// Rejects checks that the decider refused, with this error (errors.Is; nil:
// any), and decided on nothing.
func (d *Decision) Rejects(target error) {
	d.t.Helper()
	switch {
	case d.panicked:
	case d.err == nil:
		d.t.Errorf("the command was accepted, with the events %s", eventText(d.events))
	case target != nil && !errors.Is(d.err, target):
		d.t.Errorf("the command was rejected with %q, want %q", d.err, target)
	case len(d.events) > 0:
		d.t.Errorf("the command was rejected, with the events %s beside", eventText(d.events))
	}
}
