package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/timeframe"
)

// A message that another tool has published to a feed's subjects, or that is
// damaged, is a commit that can't be decoded. It has a position, a time and a
// fingerprint as any other; its key is empty where its subject isn't an encoded
// key, which no commit of ours has. Its events are one for each type that its
// header names, or a single one without a type: their types are all that is
// known of them. Each of them fails to decode with the commit's Problem. So who
// handles events meets a failure, and decides on it as on others.

// CorruptError is an ErrCorrupt: the message at a position isn't a commit that
// this program can decode.
type CorruptError struct {
	Feed    string
	Seq     uint64
	Subject string
	Print   timeframe.Fingerprint
	Err     error // what is wrong with it
}

func (e *CorruptError) Error() string {
	why := e.Err.Error()
	if !errors.Is(e.Err, ErrCorrupt) {
		why = ErrCorrupt.Error() + ": " + why
	}
	return fmt.Sprintf("eventlog: %s@%d, subject %q: %s: Feed.Stored shows it, Feed.Pass has it passed over for good, and After(%d) reads on", e.Feed, e.Seq, e.Subject, why, e.Seq)
}

func (e *CorruptError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// errUnknownCodec: another release may be able to read it.
var errUnknownCodec = errors.New("unknown codec")

// Problem is nil for a commit that could be decoded, else a *CorruptError: then
// the commit is delivered to those alone that ask for such ones (Unreadable).
func (c *Commit) Problem() error {
	if c.problem == nil {
		return nil
	}
	return c.problem
}

// unreadable makes a commit of a message that can't be decoded.
func (d *decoder) unreadable(c *Commit, m *message, h *commitHeaders, err error) error {
	f := d.f
	problem := &CorruptError{Feed: f.name, Seq: m.seq, Subject: strings.Clone(m.subject), Print: m.fingerprint(), Err: err}
	key := ""
	if enc, ok := strings.CutPrefix(m.subject, f.prefix); ok {
		key, _ = decodeKey(strings.Clone(enc))
	}
	c.Feed, c.Seq, c.Time, c.Key, c.ID = f.name, m.seq, m.time(), key, d.id(h.id, m.seq)
	c.msg, c.reg, c.codec, c.evolved, c.unnamed, c.problem = *m, f.reg, MsgPack, nil, len(h.id) == 0, problem
	c.parts = c.parts[:0]
	for _, name := range f.reg.presentNames(string(h.typ)) {
		c.parts = append(c.parts, part{typ: name, data: m.data})
	}
	return problem
}

// presentNames are the types that a type header names, as they are read today:
// without those that the feed leaves out, and the empty one where the header
// names nothing that could be a type.
func (r *registry) presentNames(header string) (names []string) {
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	ev, any := r.evolution, false
	for name := range strings.SplitSeq(header, ",") {
		if !typeNameRE.MatchString(name) {
			continue
		}
		any = true
		switch {
		case ev != nil && ev.steps[name] != nil:
			for _, to := range ev.steps[name].ends(nil) {
				add(to)
			}
		case ev == nil || !ev.changes(name):
			add(name)
		}
	}
	if !any {
		add("")
	}
	return names
}
