package eventlog

import (
	"fmt"
	"reflect"
	"slices"
)

// What a log holds is never rewritten, and a program's types change. A feed's
// evolution says how names and shapes that were stored once are read today:
// by aliases (another name), upcasters (another shape), and a policy for what
// nobody knows. It is checked as a whole when the feed is opened, since an old
// event may come years later; and it is applied when a commit is decoded, so
// that everything behind sees present events alone.
//
// A commit stays the unit. What its events become stands in it at their
// place, and its position and identity are what they were.

// Alias lets a feed read events that were stored under another name of T, a
// type that has a name of its own (Type) or is the old one of an upcaster.
// They are read as T's; nothing is appended under an alias.
func Alias[T any](name string) FeedOption {
	return feedOption(func(c *feedConfig) {
		c.steps = append(c.steps, &upcaster{name: name, from: reflect.TypeFor[T](), alias: true, into: []reflect.Type{reflect.TypeFor[T]()}, decode: decodeAs[T]})
	})
}

// Upcast reads events that were stored under the name, with the shape of Old,
// as the New that fn makes of them. New is registered (Type), or the Old of
// another upcaster, which goes on from there. The events get New's name.
//
// Register a new shape under a new name, and keep what is stored under the
// old one by its upcaster. fn depends on nothing but its argument, and is
// safe for concurrent use. Its error or panic is an ErrUpcast where the event
// is decoded or handled; reading goes on.
func Upcast[Old, New any](name string, fn func(Old) (New, error)) FeedOption {
	s := &upcaster{name: name, from: reflect.TypeFor[Old](), into: []reflect.Type{reflect.TypeFor[New]()}, decode: decodeAs[Old]}
	if fn != nil {
		s.up = func(v any) ([]any, error) {
			n, err := fn(v.(Old))
			return []any{n}, err
		}
	}
	return feedOption(func(c *feedConfig) { c.steps = append(c.steps, s) })
}

// UpcastMany is Upcast to any number of events, of the types that are named
// by Into. Where fn returns none, the event is left out of what is read.
func UpcastMany[Old any](name string, fn func(Old) ([]any, error), into ...Target) FeedOption {
	s := &upcaster{name: name, from: reflect.TypeFor[Old](), decode: decodeAs[Old]}
	for _, t := range into {
		s.into = append(s.into, t.t)
	}
	if fn != nil {
		s.up = func(v any) ([]any, error) { return fn(v.(Old)) }
	}
	return feedOption(func(c *feedConfig) { c.steps = append(c.steps, s) })
}

// Target is a type that an upcaster makes.
type Target struct{ t reflect.Type }

// Into names a type that UpcastMany may return.
func Into[T any]() Target { return Target{reflect.TypeFor[T]()} }

// UnknownPolicy says what becomes of events whose type isn't registered.
type UnknownPolicy int

// The policies for unknown types of events.
const (
	// RefuseUnknown: such an event is an ErrUnknownType where it is decoded,
	// and stops a projection. It is the default.
	RefuseUnknown UnknownPolicy = iota
	// SkipUnknown leaves such events out of what is read, and counts them
	// (Metrics.Unknown).
	SkipUnknown
	// KeepUnknown reads such events as Raw; projections pass over them unless
	// they handle Raw.
	KeepUnknown
)

// Unknown sets a feed's policy for events whose type isn't registered.
func Unknown(p UnknownPolicy) FeedOption {
	return feedOption(func(c *feedConfig) {
		if p < RefuseUnknown || p > KeepUnknown {
			c.problems.Add("unknown policy %d", p)
		}
		c.unknown = p
	})
}

// Raw is an event whose type isn't registered, on a feed with KeepUnknown.
type Raw struct {
	Type  string // the name it was stored under
	Codec string // the name of the codec that wrote it
	Data  []byte // as it is stored; a copy
}

// AnyUnknown is the name that stands for all events of a feed with
// KeepUnknown whose type isn't registered (NameOf[Raw]).
const AnyUnknown = "*"

// UpcastError is an ErrUpcast: an old event that can't be turned into present
// ones.
type UpcastError struct {
	Position Position
	Name     string // that it is stored under
	Err      error
}

func (e *UpcastError) Error() string {
	return fmt.Sprintf("eventlog: %s, event %q: %v: %v: correct the upcaster, which has to take everything that was ever stored so", e.Position, e.Name, ErrUpcast, e.Err)
}

func (e *UpcastError) Unwrap() []error { return []error{ErrUpcast, e.Err} }

// Problem says why no handler can be expected for the event: an ErrUnknownType
// whose policy is to refuse it, an ErrUpcast, or the Problem of its commit. It
// is nil for registered types.
func (e Event) Problem() error {
	if e.commit == nil {
		return fmt.Errorf("%w: the zero Event", ErrInvalid)
	}
	if e.commit.problem != nil {
		return e.commit.problem
	}
	if ev := e.commit.evolved; ev != nil && ev.origins[e.Index].err != nil {
		return ev.origins[e.Index].err
	}
	if !e.unregistered() || e.commit.reg.keeps() {
		return nil
	}
	return &TypeError{Feed: e.Feed, Type: e.Type, class: ErrUnknownType,
		Reason: fmt.Sprintf("found at %s and not registered: open the feed with eventlog.Type for it, or Alias or Upcast where it is an old name", e.Position())}
}

// IsRaw says whether the event's type isn't registered, and it is read as Raw.
func (e Event) IsRaw() bool { return e.Problem() == nil && e.unregistered() }

func (e Event) unregistered() bool { return e.commit.reg.byName[e.Type] == nil }

// keeps says whether unknown events are read as Raw.
func (r *registry) keeps() bool { return r.evolution != nil && r.evolution.unknown == KeepUnknown }

func (e Event) raw() Raw {
	return Raw{Type: e.Type, Codec: e.commit.codec.Name(), Data: slices.Clone(e.data)}
}

// decodeEvolved is Decode where an event isn't what was stored; done is false
// where it is decoded as any other.
func (e Event) decodeEvolved(v any) (done bool, err error) {
	if ev := e.commit.evolved; ev != nil && ev.origins[e.Index].err != nil {
		return true, ev.origins[e.Index].err
	}
	if raw, ok := v.(*Raw); ok && e.IsRaw() {
		*raw = e.raw()
		return true, nil
	}
	return false, nil
}
