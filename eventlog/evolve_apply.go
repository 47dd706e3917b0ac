package eventlog

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// upcaster leads from a stored name, or from the type in the middle of a chain,
// towards registered types.
type upcaster struct {
	name   string
	from   reflect.Type
	into   []reflect.Type
	alias  bool // a name alone: nothing is made anew
	decode func(c Codec, data []byte) (any, error)
	up     func(v any) ([]any, error)

	next map[reflect.Type]target // of each type in into; set when compiled
}

// target is where a type leads: registered, or to a further step.
type target struct {
	typ  *eventType
	step *upcaster
}

// evolution is a registry's, compiled; nil where there is nothing to do.
type evolution struct {
	steps   map[string]*upcaster // by stored name
	types   map[string]*eventType
	unknown UnknownPolicy
	skipped atomic.Uint64
}

// evolved is how a commit's events came to be, where they aren't read as they
// were stored.
type evolved struct {
	stored  int // events in the stored commit
	origins []origin
}

// origin is where an event of a commit comes from.
type origin struct {
	index int   // of the stored event
	sub   int   // among those that were made of it, from 0
	err   error // why it could not be made; the stored event stands here
}

// apply turns the decoded parts of a commit into present ones.
func (ev *evolution) apply(c *Commit) {
	if !slices.ContainsFunc(c.parts, func(p part) bool { return ev.changes(p.typ) }) {
		return
	}
	e := &evolved{stored: len(c.parts)}
	parts := make([]part, 0, len(c.parts))
	for i, p := range c.parts {
		s := ev.steps[p.typ]
		switch {
		case s == nil && ev.changes(p.typ):
			ev.skipped.Add(1)
			continue
		case s == nil, s.alias && s.next[s.from].typ != nil:
			if s != nil {
				p.typ = s.next[s.from].typ.name
			}
			parts, e.origins = append(parts, p), append(e.origins, origin{index: i})
			continue
		}
		made, err := s.run(c.codec, p.data)
		if err != nil {
			at := Position{Feed: c.Feed, Seq: c.Seq, Index: len(parts)}
			e.origins = append(e.origins, origin{index: i, err: &UpcastError{Position: at, Name: p.typ, Err: err}})
			parts = append(parts, p)
			continue
		}
		for sub := range made {
			e.origins = append(e.origins, origin{index: i, sub: sub})
		}
		parts = append(parts, made...)
	}
	c.parts, c.evolved = parts, e
}

// changes says whether events of a stored name are not read as they are.
func (ev *evolution) changes(name string) bool {
	if ev.steps[name] != nil {
		return true
	}
	return ev.unknown == SkipUnknown && ev.types[name] == nil
}

// run makes present events of a stored one. They are encoded again, with the
// codec that the commit has: who decodes them gets values of his own, and
// everything that holds for stored events holds for them.
func (s *upcaster) run(c Codec, data []byte) ([]part, error) {
	v, err := s.decode(c, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	var made []part
	err = s.lead(v, func(t *eventType, v any) error {
		b, err := t.encode(c, nil, v)
		made = append(made, part{typ: t.name, data: b})
		return err
	})
	return made, err
}

// lead follows the steps from a value to registered types. It ends, since the
// steps have no cycle.
func (s *upcaster) lead(v any, emit func(*eventType, any) error) error {
	vs, err := s.call(v)
	if err != nil {
		return err
	}
	for _, v := range vs {
		next, ok := s.next[reflect.TypeOf(v)]
		switch {
		case !ok:
			return fmt.Errorf("it made a %T, which isn't among its types: name it with eventlog.Into", v)
		case next.typ != nil:
			err = emit(next.typ, v)
		default:
			err = next.step.lead(v, emit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *upcaster) call(v any) (vs []any, err error) {
	if s.alias {
		return []any{v}, nil
	}
	defer guard("the upcaster", &err)
	return s.up(v)
}

// Evolved lists, in order, the stored names that the feed reads as something
// else, each with the registered names that it leads to: "old > new other".
// It is part of what a projection's state means.
func (f *Feed) Evolved() []string {
	if f.reg.evolution == nil {
		return nil
	}
	var list []string
	for name, s := range f.reg.evolution.steps {
		to := slices.Compact(slices.Sorted(slices.Values(s.ends(nil))))
		list = append(list, name+" > "+strings.Join(to, " "))
	}
	slices.Sort(list)
	return list
}

// ends appends the registered names that a step leads to.
func (s *upcaster) ends(names []string) []string {
	for _, t := range s.next {
		if t.typ != nil {
			names = append(names, t.typ.name)
		} else {
			names = t.step.ends(names)
		}
	}
	return names
}

// evolvedID is the identity of the stored event, with "~" and a number behind
// it for all but the first that an upcaster made of it. So it stays what it is
// when other events of the commit get an upcaster.
func (c *Commit) evolvedID(index int) string {
	o := c.evolved.origins[index]
	id := c.storedID(o.index, c.evolved.stored)
	if o.sub > 0 {
		id += "~" + strconv.Itoa(o.sub)
	}
	return id
}

// Stored says which event of the stored commit this one is, from 0, and which
// of those that an upcaster made of that: (Index, 0) where there is none. It
// stays what it is when other events of the commit get an upcaster, as ID does;
// Index doesn't.
func (e Event) Stored() (index, sub int) {
	if e.commit == nil || e.commit.evolved == nil {
		return e.Index, 0
	}
	o := e.commit.evolved.origins[e.Index]
	return o.index, o.sub
}

// storedID is the identity of a stored event among n of its commit.
func (c *Commit) storedID(index, n int) string {
	if n == 1 {
		return c.ID
	}
	return c.eventID(index)
}
