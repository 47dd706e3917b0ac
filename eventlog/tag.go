package eventlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// A tag is what a condition across keys is about (a dynamic consistency
// boundary): each commit with a tag writes an empty message, the tag's
// marker, in the same atomic batch, so that the tag has a subject of its own,
// whose head says when it was last used. That head is a literal subject, so
// the server checks an expectation on it safely. A condition on a pattern of
// subjects would be the obvious alternative, and isn't safe: on a replicated
// stream the server lets writes through that race under overlapping patterns.

// tagToken begins the subjects of markers, behind the feed's prefix. The
// encoding of a key never yields a '$'.
const tagToken = "$tag."

const (
	headerMarker = "Tm-Marker" // the marker's kind
	headerTagged = "Tm-Tagged" // where the tag's last commit is

	markerTag = "tag"
)

// Guard is a condition: no commit with the tag has come after the sequence.
// Tags are literal. After is what the decision is based on: the sequence up
// to which the feed had been read, or the position of the tag's last commit.
type Guard struct {
	Tag   string
	After uint64
}

// TagConflictError is an ErrConflict: a commit with the tag has come after
// the sequence that a guard names. Actual is its sequence.
type TagConflictError struct {
	Feed   string
	Tag    string
	After  uint64
	Actual uint64
}

func (e *TagConflictError) Error() string {
	after := "" // anywhere
	if e.After > 0 {
		after = fmt.Sprintf(" after %d", e.After)
	}
	return fmt.Sprintf("eventlog: conflict on tag %.200q of feed %s: nothing tagged so was expected%s, but %d is: read on and decide anew", e.Tag, e.Feed, after, e.Actual)
}

func (e *TagConflictError) Unwrap() error { return ErrConflict }

// markerSubject is where a tag's markers are stored.
func (f *Feed) markerSubject(tag string) (string, error) {
	if strings.ContainsAny(tag, "*>") {
		return "", fmt.Errorf("eventlog: tag %q: %w: tags are literal: '*' and '>' are refused, since conditions on patterns can't be checked safely: name each tag", tag, ErrInvalid)
	}
	enc, err := encodeKey(tag)
	if err != nil {
		return "", fmt.Errorf("eventlog: tag: %w: %w", ErrInvalid, err)
	}
	return f.prefix + tagToken + enc, nil
}

// isMarker says whether a message is a marker and not a commit; or is passed
// over in an adopted feed.
func (f *Feed) isMarker(m *message) bool {
	if f.adopted != nil {
		return f.adopted.passes(m)
	}
	return len(m.subject) > len(f.prefix) && m.subject[len(f.prefix)] == '$' && strings.HasPrefix(m.subject[len(f.prefix):], tagToken)
}

// LastTagged asks the leader for the sequence of the last commit with a tag;
// 0 where there is none, or where it was trimmed.
func (f *Feed) LastTagged(ctx context.Context, tag string) (uint64, error) {
	if err := f.online(); err != nil {
		return 0, err
	}
	subject, err := f.markerSubject(tag)
	if err != nil {
		return 0, err
	}
	_, last, err := f.readTag(ctx, subject)
	return last, err
}

// readTag reads a tag's newest marker from the leader: where it is, and where
// the tag's last commit is.
func (f *Feed) readTag(ctx context.Context, subject string) (head, last uint64, err error) {
	if err := f.intact(); err != nil {
		return 0, 0, err
	}
	m, ok, err := f.headOf(ctx, subject)
	if err != nil || !ok {
		return 0, 0, err
	}
	v := m.get(headerTagged)
	n, err := strconv.ParseUint(strings.TrimPrefix(v, "-"), 10, 64)
	switch {
	case err != nil, n > m.seq, m.get(headerMarker) != markerTag:
		return 0, 0, fmt.Errorf("eventlog: %s@%d: %w: a marker with header %s %q", f.name, m.seq, ErrCorrupt, headerTagged, v)
	case strings.HasPrefix(v, "-"):
		n = m.seq - n
	}
	return m.seq, n, nil
}

// tagUse is what a transaction does with one tag.
type tagUse struct {
	tag     string
	subject string
	tags    int // the last of the transaction's commits that has it; -1: none
	guarded bool
	after   uint64

	head, last uint64 // as the leader has them, for this round's guard
}

// tagUses collects what a transaction's commits and guards say of tags.
func (f *Feed) tagUses(drafts []Draft, guards []Guard) (uses []*tagUse, err error) {
	use := func(tag string) (*tagUse, error) {
		if i := slices.IndexFunc(uses, func(u *tagUse) bool { return u.tag == tag }); i >= 0 {
			return uses[i], nil
		}
		subject, err := f.markerSubject(tag)
		u := &tagUse{tag: tag, subject: subject, tags: -1}
		uses = append(uses, u)
		return u, err
	}
	for i, d := range drafts {
		for _, tag := range d.Tags {
			u, err := use(tag)
			if err != nil {
				return nil, err
			}
			u.tags = i
		}
	}
	for _, g := range guards {
		u, err := use(g.Tag)
		if err != nil {
			return nil, err
		}
		if u.guarded {
			return nil, fmt.Errorf("eventlog: transaction on feed %q: %w: two guards on tag %q", f.name, ErrInvalid, g.Tag)
		}
		u.guarded, u.after = true, g.After
	}
	return uses, nil
}

// marker makes a tag's marker. back is how many messages before it the tag's
// commit is, 0 where there is none in the batch: then the marker repeats
// where the last one is, so that a guard alone doesn't look like a commit.
func marker(subject string, back int, last uint64) *nats.Msg {
	v := strconv.FormatUint(last, 10)
	if back > 0 {
		v = "-" + strconv.Itoa(back)
	}
	return &nats.Msg{Subject: subject, Header: nats.Header{headerMarker: {markerTag}, headerTagged: {v}}}
}
