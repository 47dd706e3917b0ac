package equal

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"time"
)

func compareScalars(a, b reflect.Value, s *state) Verdict {
	if a.Equal(b) {
		return Identical
	}
	return s.differ(a, b)
}

func compareFloats(a, b reflect.Value, s *state) Verdict {
	return compareFloat(a.Float(), b.Float(), func() Verdict { return s.differ(a, b) })
}

func compareFloat(x, y float64, differ func() Verdict) Verdict {
	switch {
	case math.Float64bits(x) == math.Float64bits(y):
		return Identical
	case x == y || x != x && y != y:
		return Alike
	}
	return differ()
}

func compareComplex(a, b reflect.Value, s *state) Verdict {
	x, y := a.Complex(), b.Complex()
	differ := func() Verdict { return s.differ(a, b) }
	if v := compareFloat(real(x), real(y), differ); v != Identical {
		return min(v, compareFloat(imag(x), imag(y), differ))
	}
	return compareFloat(imag(x), imag(y), differ)
}

// compareTimes compares instants. Where the clock readings differ, or the
// locations, a codec may write something else.
func compareTimes(a, b reflect.Value, s *state) Verdict {
	x, y := a.Addr().Interface().(*time.Time), b.Addr().Interface().(*time.Time)
	switch {
	case *x == *y:
		return Identical
	case x.Round(0).Equal(y.Round(0)):
		return Alike
	}
	return s.differAs(func() (string, string) { return x.Format(time.RFC3339Nano), y.Format(time.RFC3339Nano) })
}

// compareReferences compares what has no value outside of this process.
func compareReferences(a, b reflect.Value, s *state) Verdict {
	if a.UnsafePointer() == b.UnsafePointer() {
		return Identical
	}
	return s.differ(a, b)
}

func (c *compiler) pointer(t reflect.Type) compare {
	elem := c.of(t.Elem())
	return func(a, b reflect.Value, s *state) Verdict {
		switch {
		case a.Pointer() == b.Pointer():
			return Identical
		case a.IsNil() || b.IsNil():
			return s.differ(a, b)
		case !s.enter(a.Pointer(), b.Pointer(), t):
			return Identical
		}
		defer s.leave()
		return elem(a.Elem(), b.Elem(), s)
	}
}

func (c *compiler) slice(t reflect.Type) compare {
	elem := c.of(t.Elem())
	raw := t.Elem().Kind() == reflect.Uint8
	return func(a, b reflect.Value, s *state) Verdict {
		n := a.Len()
		switch {
		case n != b.Len():
			return s.differAs(func() (string, string) { return fmt.Sprint(n, " elements"), fmt.Sprint(b.Len()) })
		case a.IsNil() != b.IsNil():
			return Alike
		case n == 0 || a.Pointer() == b.Pointer():
			return Identical
		case raw:
			if bytes.Equal(a.Bytes(), b.Bytes()) {
				return Identical
			}
			return s.differ(a, b)
		case !s.enter(a.Pointer(), b.Pointer(), t):
			return Identical
		}
		defer s.leave()
		return elements(a, b, n, elem, s)
	}
}

func (c *compiler) array(t reflect.Type) compare {
	elem := c.of(t.Elem())
	n := t.Len()
	return func(a, b reflect.Value, s *state) Verdict {
		return elements(a, b, n, elem, s)
	}
}

func elements(a, b reflect.Value, n int, elem compare, s *state) Verdict {
	worst := Identical
	for i := range n {
		v := elem(a.Index(i), b.Index(i), s)
		if v == Different {
			return s.within(v, func() string { return fmt.Sprintf("[%d]", i) })
		}
		worst = min(worst, v)
	}
	return worst
}

func (c *compiler) mapping(t reflect.Type) compare {
	elem := c.of(t.Elem())
	return func(a, b reflect.Value, s *state) Verdict {
		switch {
		case a.Len() != b.Len():
			return s.differAs(func() (string, string) { return fmt.Sprint(a.Len(), " entries"), fmt.Sprint(b.Len()) })
		case a.IsNil() != b.IsNil():
			return Alike
		case a.Len() == 0 || a.Pointer() == b.Pointer():
			return Identical
		case !s.enter(a.Pointer(), b.Pointer(), t):
			return Identical
		}
		defer s.leave()
		worst := Identical
		for it := a.MapRange(); it.Next(); {
			v, other := Different, b.MapIndex(it.Key())
			if other.IsValid() {
				v = elem(addressable(it.Value()), addressable(other), s)
			} else {
				s.differAs(func() (string, string) { return "an entry", "none" })
			}
			if v == Different {
				return s.within(v, func() string { return "[" + short(it.Key()) + "]" })
			}
			worst = min(worst, v)
		}
		return worst
	}
}
