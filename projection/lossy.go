package projection

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/tidemark-es/tidemark/internal/equal"
	"github.com/tidemark-es/tidemark/internal/panics"
)

// ErrLossy: what is stored of a value doesn't come back as it was.
var ErrLossy = errors.New("what is stored doesn't come back")

// LossError is an ErrLossy: a row that a snapshot wouldn't bring back, although
// its type may be stored. A type that encodes itself and leaves something out,
// a codec, or what an `any` holds can do that, and only a value shows it.
//
// The projection goes on, its snapshots don't: a table that has such a row isn't
// saved any more, so a restart replays and restores nothing that is wrong, and
// no log is trimmed for it. To mend it, let the type encode all that counts;
// tag what needn't be stored (`msgpack:"-"`); or, where the type keeps
// something that follows from the rest, give it a method Equal(T) bool that says
// so. Then raise the projection's Version, since its older snapshots may hold
// rows like this one.
type LossError struct {
	Projection string
	Key        string // of the row, as text; "" for a Value and a Model
	Path       string // into its value, as ".Lines[2].Cents"; "" for the value as a whole
	Stored     string // what is there, shortened
	Back       string // what comes back, or why nothing does
}

func (e *LossError) Error() string {
	what := "it is"
	if e.Path != "" {
		what = e.Path + " is"
	}
	if e.Key != "" {
		what = fmt.Sprintf("row %q: %s", e.Key, what)
	}
	return fmt.Sprintf("projection %q: %v: %s %s, and comes back as %s (LossError says what to do)", e.Projection, ErrLossy, what, e.Stored, e.Back)
}

func (e *LossError) Unwrap() error { return ErrLossy }

// loss says how what comes back of a value differs from it, nil where it
// doesn't. encoded is what is stored of it.
func (c valueCodec[V]) loss(v *V, encoded []byte) (lost *equal.Difference) {
	defer func() {
		if r := recover(); r != nil {
			lost = &equal.Difference{A: shown(*v), B: fmt.Sprintf("a panic at %s: %v", panics.Place(), r)}
		}
	}()
	var back V
	if err := c.decode(encoded, &back); err != nil {
		return &equal.Difference{A: shown(*v), B: "an error: " + err.Error()}
	}
	if d := c.difference(v, &back); d != nil {
		return d
	}
	again, err := c.append(nil, &back)
	if err != nil || !bytes.Equal(encoded, again) {
		return &equal.Difference{A: fmt.Sprintf("stored as %x", shortBytes(encoded)), B: fmt.Sprintf("a value that is stored as %x, so that digests differ", shortBytes(again))}
	}
	return nil
}

// difference is where two values aren't alike.
func (c valueCodec[V]) difference(a, b *V) *equal.Difference {
	return c.equality().Difference(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem())
}

const shortest = 64

func shortBytes(b []byte) []byte { return b[:min(len(b), shortest)] }

func shown(v any) string {
	s := fmt.Sprintf("%+v", v)
	if len(s) > shortest {
		s = s[:shortest] + "…"
	}
	return s
}

const (
	// firstTried is how many rows of a table are tried as its first ones are
	// saved, and laterTried of each save after that.
	firstTried = 256
	laterTried = 4
)

// try decodes some of the rows that were encoded, and compares them with what
// they were. It runs where they are encoded, beside the handlers.
func (c *tableCut[K, V]) try(value func(i int) []byte) {
	n, t := len(c.rows), c.t
	first := min(n, max(firstTried-t.tried, 0))
	t.tried += first
	step := max((n-first)/laterTried, 1)
	for i := 0; i < n && c.lost == nil; i++ {
		if row := &c.rows[i]; !row.gone && (i < first || (i-first)%step == 0) {
			c.lost = t.lossOf(row.key, t.values.loss(&row.value, value(i)))
		}
	}
}

// lossOf is an error for a row that differs; nil where it doesn't.
func (t *Table[K, V]) lossOf(key K, d *equal.Difference) *LossError {
	if d == nil {
		return nil
	}
	return &LossError{Projection: t.n.name, Key: keyText(key), Path: d.Path, Stored: d.A, Back: d.B}
}

// lossy is a capture that knows whether its rows come back.
type lossy interface{ loss() *LossError }

func (c *tableCut[K, V]) loss() *LossError { return c.lost }

func (c partedCut) loss() *LossError {
	for _, part := range c {
		if l, ok := part.(lossy); ok && l.loss() != nil {
			return l.loss()
		}
	}
	return nil
}

// lossOf is what is known of a node that rows of its don't come back: found in
// this capture, or before. The first that is found is told.
func (u *unit) lossOf(n *node, part capture) *LossError {
	var found *LossError
	if l, ok := part.(lossy); ok {
		found = l.loss()
	}
	return u.lossFound(n, found)
}

func (u *unit) lossFound(n *node, found *LossError) *LossError {
	u.mu.Lock()
	fresh := n.lost == nil && found != nil
	if fresh {
		n.lost = found
	}
	lost := n.lost
	u.mu.Unlock()
	if fresh {
		u.rt.cfg.Logger.Error().Err(found).Str("unit", u.name).Str("projection", n.name).Msg("projection: a row doesn't come back from a snapshot, so the table isn't saved")
	}
	return lost
}
