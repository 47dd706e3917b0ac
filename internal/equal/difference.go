package equal

import "reflect"

// Difference is where two values aren't alike, and what is there.
type Difference struct {
	Path string // from the value on, as ".Lines[2].Cents"; "" for the value itself
	A, B string // shortened
}

func (d *Difference) String() string {
	if d.Path == "" {
		return d.A + ", and " + d.B
	}
	return d.Path + ": " + d.A + ", and " + d.B
}

// Difference says where two addressable values of the type aren't alike, nil
// where they are.
func (t *Type) Difference(a, b reflect.Value) *Difference {
	s := state{trace: true}
	if t.cmp(a, b, &s) != Different {
		return nil
	}
	return s.found()
}
