package eventlog

import (
	"github.com/tidemark-es/tidemark/internal/problem"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// compile checks a feed's evolution as a whole, and links its steps. What it
// finds wrong is reported all at once.
func (r *registry) compile(cfg *feedConfig) {
	p := &cfg.problems
	if len(cfg.steps) == 0 && cfg.unknown == RefuseUnknown {
		return
	}
	ev := &evolution{steps: make(map[string]*upcaster), types: r.byName, unknown: cfg.unknown}
	for _, s := range cfg.steps {
		if s.sound(p) {
			ev.add(s, p)
		}
	}
	// The types in the middle of chains, by who goes on from them.
	from := make(map[reflect.Type][]*upcaster)
	for _, name := range slices.Sorted(maps.Keys(ev.steps)) {
		if s := ev.steps[name]; !s.alias {
			from[s.from] = append(from[s.from], s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ev.steps)) {
		ev.steps[name].link(r, from, p)
	}
	ev.acyclic(p)
	r.evolution = ev
}

// sound checks what can be said of a step by itself.
func (s *upcaster) sound(p *problem.List) bool {
	before := len(*p)
	if !typeNameRE.MatchString(s.name) {
		p.Add("%s: use letters, digits and ._:/- (1 to 128 of them, a letter or digit first)", s)
	}
	if !s.alias && s.up == nil {
		p.Add("%s has no function", s)
	}
	if k := s.from.Kind(); k == reflect.Pointer || k == reflect.Interface {
		p.Add("%s reads %s: name a concrete type that isn't a pointer", s, s.from)
	}
	return len(*p) == before
}

func (ev *evolution) add(s *upcaster, p *problem.List) {
	if t := ev.types[s.name]; t != nil {
		p.Add("%s: the name is that of %s: what is appended as it would be read as an old one", s, t.goType)
		return
	}
	if o := ev.steps[s.name]; o != nil {
		p.Add("%s: there is %s too", s, o)
		return
	}
	ev.steps[s.name] = s
}

// link finds out where each type that the step makes leads.
func (s *upcaster) link(r *registry, from map[reflect.Type][]*upcaster, p *problem.List) {
	s.next = make(map[reflect.Type]target)
	for _, t := range s.into {
		onward := from[t]
		switch {
		case r.byType[t] != nil:
			s.next[t] = target{typ: r.byType[t]}
		case len(onward) == 1:
			s.next[t] = target{step: onward[0]}
		case len(onward) > 1:
			names := make([]string, len(onward))
			for i, o := range onward {
				names[i] = o.String()
			}
			p.Add("%s leads to %s, and on from there by %s: name its type apart", s, t, strings.Join(names, " and by "))
		default:
			p.Add("%s leads to %s, which is neither registered nor read by an upcaster: open the feed with eventlog.Type[%s](\"a-stable-name\")", s, t, t)
		}
	}
}

// acyclic reports each cycle of steps once, and cuts it.
func (ev *evolution) acyclic(p *problem.List) {
	const (
		open = iota + 1
		done
	)
	state := make(map[*upcaster]int)
	var visit func(s *upcaster, path []string)
	visit = func(s *upcaster, path []string) {
		state[s] = open
		path = append(path, s.name)
		for t, next := range s.next {
			switch {
			case next.step == nil || state[next.step] == done:
			case state[next.step] == open:
				round := path[slices.Index(path, next.step.name):]
				p.Add("upcasters lead in a circle: %s > %s", strings.Join(round, " > "), next.step.name)
				delete(s.next, t)
			default:
				visit(next.step, path)
			}
		}
		state[s] = done
	}
	for _, name := range slices.Sorted(maps.Keys(ev.steps)) {
		if s := ev.steps[name]; state[s] == 0 {
			visit(s, nil)
		}
	}
}

// String names a step in a list of problems.
func (s *upcaster) String() string {
	if s.alias {
		return "alias \"" + s.name + "\" of " + s.from.String()
	}
	return "upcaster of \"" + s.name + "\""
}

// same says whether two evolutions read old events alike, as far as can be
// told: functions can't be compared.
func (ev *evolution) same(o *evolution) bool {
	if ev == nil || o == nil {
		return ev == o
	}
	return ev.unknown == o.unknown && maps.EqualFunc(ev.steps, o.steps, func(a, b *upcaster) bool {
		return a.from == b.from && a.alias == b.alias && slices.Equal(a.into, b.into)
	})
}
