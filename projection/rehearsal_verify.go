package projection

import (
	"bytes"
	"errors"
	"slices"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Verify looks for what handlers must not do, and what wouldn't come back,
// after each Apply or Step: values that were changed in place, in the rows that
// the commit has put and in others (all of them where all, or where a table has
// few), or in the commit's own bytes; and values that a snapshot would not bring
// back, where the type doesn't tell. Types whose values can't be changed in
// place, and always come back, cost nothing.
//
// Errors: *InPlaceError and *LossError, joined.
func (r *Rehearsal) Verify(all bool) error {
	c := &r.batch[0]
	var found []error
	if !sameData(r.given, c) {
		found = append(found, &InPlaceError{})
		r.given = appendData(r.given[:0], c)
	}
	for _, n := range r.watched {
		found = append(found, n.state.(verifier).verify(all)...)
	}
	if len(found) == 0 {
		return nil
	}
	for _, err := range found {
		if e, ok := errors.AsType[*InPlaceError](err); ok {
			e.Commit, e.Types = c.Position(), typesOf(c)
		}
	}
	return errors.Join(found...)
}

// appendData appends the bytes of a commit's events.
func appendData(dst []byte, c *eventlog.Commit) []byte {
	for i := range c.Len() {
		dst = append(dst, c.Event(i).Data()...)
	}
	return dst
}

func sameData(data []byte, c *eventlog.Commit) bool {
	for i := range c.Len() {
		d := c.Event(i).Data()
		if !bytes.HasPrefix(data, d) {
			return false
		}
		data = data[len(d):]
	}
	return true
}

func typesOf(c *eventlog.Commit) (types []string) {
	for i := range c.Len() {
		if t := c.Event(i).Type; !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}
