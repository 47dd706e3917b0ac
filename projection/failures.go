package projection

import (
	"errors"
	"github.com/tidemark-es/tidemark/internal/problem"
	"slices"
	"time"
)

// FailureAction is what becomes of a commit that a table's handler fails at,
// when all tries have failed.
type FailureAction int

// The actions. In each of them the commit changes nothing in the table: it is
// applied whole or not at all.
const (
	// Stop stops the table before the commit, and those that read it.
	Stop FailureAction = iota
	// Skip passes the commit over and keeps a record of it; it can't be
	// retried.
	Skip
	// ParkCommit sets the commit aside, and goes on with the next one.
	// RetryParked handles it later, behind others of its key: it is for
	// handlers to which the order doesn't matter.
	ParkCommit
	// ParkKey sets the commit aside, and with it all that its feed has of the
	// same key from there on, so that the key's order holds. Other keys go on.
	// Of a message that has no key, only itself.
	ParkKey
)

func (a FailureAction) String() string {
	switch a {
	case Skip:
		return "skip"
	case ParkCommit:
		return "park the commit"
	case ParkKey:
		return "park the key"
	}
	return "stop"
}

// FailurePolicy says what becomes of a commit whose handling fails by an
// error or a panic. Its zero value stops the table at the first failure.
type FailurePolicy struct {
	// Retries is how often it is tried again (0 to 100), before Then. While it
	// waits, the unit's tables don't go on, and can be read: the state behind
	// the commit before.
	Retries int
	// Backoff is the wait before the first retry; each further one is twice as
	// long, up to MaxBackoff (defaults 10 ms and 1 s).
	Backoff, MaxBackoff time.Duration
	// Then is what follows when all tries have failed.
	Then FailureAction
	// MaxKept is how many parked commits and records the table keeps (default
	// 10,000). A table that would need more stops: nothing is dropped. Of two
	// policies the greater number counts.
	MaxKept int
}

// The defaults of a policy, and its bounds.
const (
	defaultBackoff    = 10 * time.Millisecond
	defaultMaxBackoff = time.Second
	defaultMaxKept    = 10_000
	maxRetries        = 100
)

var (
	// ErrParkedFull: as many commits are parked as the policy allows.
	ErrParkedFull = errors.New("too many parked commits")
	// ErrParked: the table lacks commits of the key, which it has parked; retry
	// or drop them (Runtime.RetryParked, DropParked).
	ErrParked = errors.New("commits of the key are parked")
)

// OnFailure sets what becomes of commits that the table's handlers fail at;
// default: the table stops. What is set aside is a table of its own,
// <name>-parked, which is saved with this one, at the same cut.
//
// Tables that read changes of others (OnChange) can't park, since a change
// can't be handled again later, and Derived ones can't skip either: they stop.
func OnFailure(p FailurePolicy) TableOption {
	return tableOption(func(n *node) { n.failures.live, n.failures.given = &p, true })
}

// OnRebuildFailure is OnFailure for the time in which the table catches up
// with what the log held at the start, where it differs.
func OnRebuildFailure(p FailurePolicy) TableOption {
	return tableOption(func(n *node) { n.failures.rebuild, n.failures.given = &p, true })
}

// failing is a node's policies.
type failing struct {
	live, rebuild *FailurePolicy
	given         bool
}

// of is the policy of a phase.
func (f *failing) of(live bool) *FailurePolicy {
	if !live && f.rebuild != nil {
		return f.rebuild
	}
	if f.live != nil {
		return f.live
	}
	return &FailurePolicy{}
}

func (f *failing) each() []*FailurePolicy {
	return slices.DeleteFunc([]*FailurePolicy{f.live, f.rebuild}, func(p *FailurePolicy) bool { return p == nil })
}

// keeps says whether anything may have to be kept.
func (f *failing) keeps() bool {
	return slices.ContainsFunc(f.each(), func(p *FailurePolicy) bool { return p.Then != Stop })
}

// most is how many commits are kept.
func (f *failing) most() (most int) {
	for _, p := range f.each() {
		most = max(most, p.MaxKept)
	}
	return most
}

// validate fills the defaults in.
func (f *failing) validate(p *problem.List) {
	for _, fp := range f.each() {
		if fp.Retries < 0 || fp.Retries > maxRetries {
			p.Add("failure policy: %d retries, where 0 to %d are possible", fp.Retries, maxRetries)
		}
		if fp.Backoff < 0 || fp.MaxBackoff < 0 || fp.MaxKept < 0 {
			p.Add("failure policy: a negative Backoff, MaxBackoff or MaxKept")
		}
		if fp.Then < Stop || fp.Then > ParkKey {
			p.Add("failure policy: unknown action %d", fp.Then)
		}
		orElse(&fp.Backoff, defaultBackoff)
		orElse(&fp.MaxBackoff, defaultMaxBackoff)
		orElse(&fp.MaxKept, defaultMaxKept)
	}
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// wait is how long to wait before the retry of this number, from 1.
func (p *FailurePolicy) wait(retry int) time.Duration {
	wait := p.Backoff
	for range retry - 1 {
		if wait >= p.MaxBackoff {
			break
		}
		wait *= 2
	}
	return min(wait, p.MaxBackoff)
}

// validFailures checks a node's policies against what it reads.
func (n *node) validFailures(p *problem.List) {
	for _, fp := range n.failures.each() {
		switch {
		case fp.Then == Skip && n.derived:
			p.Add("%q is Derived, and may skip: it wouldn't follow from the rows that it reads any more; use Stop", n.name)
		case fp.Then >= ParkCommit && n.reads(readsDeltas) != "":
			p.Add("%q reads the changes of %q, and may park: those can't be handled again later; use Skip or Stop, or park where the events are handled", n.name, n.reads(readsDeltas))
		}
	}
}
