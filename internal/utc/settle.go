package utc

import (
	"reflect"
	"time"
)

type compiler struct {
	made map[reflect.Type]*later
}

// later is a settler that may still be in the making: of a type inside itself.
type later struct{ settler }

func (c *compiler) of(t reflect.Type) settler {
	if known, ok := c.made[t]; ok {
		return known
	}
	made := &later{}
	c.made[t] = made
	made.settler = c.compile(t)
	return made
}

func (c *compiler) compile(t reflect.Type) settler {
	switch {
	case t == timeType:
		return instants{}
	case !may(t, nil):
		return nothing{}
	}
	switch t.Kind() {
	case reflect.Interface:
		return dynamic{}
	case reflect.Pointer:
		return pointers{c.of(t.Elem())}
	case reflect.Slice:
		return slicesOf{c.of(t.Elem())}
	case reflect.Array:
		return arrays{c.of(t.Elem())}
	case reflect.Map:
		return maps{c.of(t.Elem())}
	}
	var s structs
	for i := range t.NumField() {
		if f := t.Field(i); reachable(f) && may(f.Type, nil) {
			s = append(s, field{i, c.of(f.Type)})
		}
	}
	return s
}

type nothing struct{}

func (nothing) settled(reflect.Value, *walk) bool { return true }
func (nothing) settle(reflect.Value, *walk)       {}

type instants struct{}

func (instants) settled(v reflect.Value, _ *walk) bool {
	t := at(v)
	return *t == t.Round(0).UTC()
}

func (instants) settle(v reflect.Value, _ *walk) {
	t := at(v)
	*t = t.Round(0).UTC()
}

// at is the time in a value, which is addressable.
func at(v reflect.Value) *time.Time { return v.Addr().Interface().(*time.Time) }

type dynamic struct{}

func (dynamic) settled(v reflect.Value, w *walk) bool {
	if v.IsNil() {
		return true
	}
	x := Of(v.Elem().Type())
	return x == nil || x.in.settled(addressable(v.Elem()), w)
}

func (dynamic) settle(v reflect.Value, w *walk) {
	if v.IsNil() {
		return
	}
	x := Of(v.Elem().Type())
	if x == nil || w.shared && x.in.settled(addressable(v.Elem()), &walk{}) {
		return
	}
	held := addressable(v.Elem())
	x.in.settle(held, w)
	v.Set(held)
}

// addressable is a copy that can be set.
func addressable(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

type pointers struct{ elem settler }

func (p pointers) settled(v reflect.Value, w *walk) bool {
	if v.IsNil() || !w.enter(v) {
		return true
	}
	defer w.leave()
	return p.elem.settled(v.Elem(), w)
}

func (p pointers) settle(v reflect.Value, w *walk) {
	if v.IsNil() || !w.enter(v) {
		return
	}
	defer w.leave()
	if w.shared {
		if p.elem.settled(v.Elem(), &walk{}) {
			return
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(v.Elem())
		v.Set(c)
	}
	p.elem.settle(v.Elem(), w)
}

type slicesOf struct{ elem settler }

func (s slicesOf) settled(v reflect.Value, w *walk) bool {
	if v.Len() == 0 || !w.enter(v) {
		return true
	}
	defer w.leave()
	return arrays(s).settled(v, w)
}

func (s slicesOf) settle(v reflect.Value, w *walk) {
	if v.Len() == 0 || !w.enter(v) {
		return
	}
	defer w.leave()
	if w.shared {
		if arrays(s).settled(v, &walk{}) {
			return
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
	}
	arrays(s).settle(v, w)
}

type arrays struct{ elem settler }

func (a arrays) settled(v reflect.Value, w *walk) bool {
	for i := range v.Len() {
		if !a.elem.settled(v.Index(i), w) {
			return false
		}
	}
	return true
}

func (a arrays) settle(v reflect.Value, w *walk) {
	for i := range v.Len() {
		a.elem.settle(v.Index(i), w)
	}
}

type maps struct{ elem settler }

func (m maps) settled(v reflect.Value, w *walk) bool {
	if v.Len() == 0 || !w.enter(v) {
		return true
	}
	defer w.leave()
	for it := v.MapRange(); it.Next(); {
		if !m.elem.settled(addressable(it.Value()), w) {
			return false
		}
	}
	return true
}

func (m maps) settle(v reflect.Value, w *walk) {
	if v.Len() == 0 || !w.enter(v) {
		return
	}
	defer w.leave()
	to := v
	if w.shared {
		if m.settled(v, &walk{}) {
			return
		}
		to = reflect.MakeMapWithSize(v.Type(), v.Len())
	}
	for it := v.MapRange(); it.Next(); {
		e := addressable(it.Value())
		m.elem.settle(e, w)
		to.SetMapIndex(it.Key(), e) // of a key that is there: also while it is walked
	}
	if w.shared {
		v.Set(to)
	}
}

type structs []field

type field struct {
	index int
	settler
}

func (s structs) settled(v reflect.Value, w *walk) bool {
	for _, f := range s {
		if !f.settler.settled(v.Field(f.index), w) {
			return false
		}
	}
	return true
}

func (s structs) settle(v reflect.Value, w *walk) {
	for _, f := range s {
		f.settler.settle(v.Field(f.index), w)
	}
}
