package timeframe

import "encoding/binary"

// tagVersion is the first byte of a tag's binary form.
const tagVersion = 1

const tagForm = "tag binary"

const (
	minTagEntry = minEntry + 1           // an entry and whether a lineage follows
	minAnchor   = 1 + len(Fingerprint{}) // a sequence and a print
)

// AppendBinary appends the binary form to b: a version byte, the number of
// feeds, and for each its name after its length, its sequence, and 0, or 1 and
// the lineage: the incarnation after its length, the number of anchors, and for
// each, newest first, its sequence and its print. Numbers are uvarints. The
// error is that of [Tag.Validate], and b is returned as it was then: a tag that
// proves nothing isn't written.
func (t Tag) AppendBinary(b []byte) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return b, err
	}
	b = append(b, tagVersion)
	b = binary.AppendUvarint(b, uint64(t.At.Len()))
	for feed, seq := range t.At.All() {
		b = appendName(b, feed)
		b = binary.AppendUvarint(b, seq)
		if l, ok := t.Lineages[feed]; ok {
			b = l.append(append(b, 1))
		} else {
			b = append(b, 0)
		}
	}
	return b, nil
}

// MarshalBinary returns the binary form, which is how msgpack holds a tag. The
// error is that of [Tag.Validate].
func (t Tag) MarshalBinary() ([]byte, error) { return t.AppendBinary(nil) }

func (l Lineage) append(b []byte) []byte {
	b = appendName(b, l.Incarnation)
	b = binary.AppendUvarint(b, uint64(len(l.Anchors)))
	for _, a := range l.Anchors {
		b = binary.AppendUvarint(b, a.Seq)
		b = append(b, a.Print[:]...)
	}
	return b
}

// UnmarshalBinary is the exact inverse of [Tag.MarshalBinary], except that maps
// and slices without elements come back as nil. It takes the canonical bytes of
// a valid tag only, to the last one, and keeps none of them. What it allocates
// is bounded by a small multiple of len(data). The error is a *[VersionError],
// a *[FormatError] or that of [Tag.Validate], and t is unchanged then.
func (t *Tag) UnmarshalBinary(data []byte) error {
	r := reader{form: tagForm, all: data}
	r.version(tagVersion)
	got := r.tag()
	if err := r.end(); err != nil {
		return err
	}
	if err := got.Validate(); err != nil {
		return err
	}
	*t = got
	return nil
}

func (r *reader) tag() Tag {
	n := r.count(minTagEntry)
	if n == 0 {
		return Tag{}
	}
	entries := make([]Entry, 0, n)
	var lineages map[string]Lineage
	before := ""
	for range n {
		before = r.feed(before)
		entries = append(entries, Entry{Feed: before, Seq: r.uvarint()})
		l, ok := r.lineage()
		if r.err != nil {
			return Tag{}
		}
		if !ok {
			continue
		}
		if lineages == nil {
			lineages = make(map[string]Lineage)
		}
		lineages[before] = l
	}
	return Tag{At: Timeframe{entries: entries}, Lineages: lineages}
}

// lineage takes a lineage; ok is false where the feed has none.
func (r *reader) lineage() (l Lineage, ok bool) {
	switch flag := r.byte(); {
	case flag > 1:
		r.off--
		r.fail("want 0 or 1, for whether a lineage follows")
		return l, false
	case flag == 0:
		return l, false
	}
	l.Incarnation = r.text(MaxIncarnation)
	if n := r.count(minAnchor); n > 0 {
		l.Anchors = make([]Anchor, n)
	}
	for i := range l.Anchors {
		l.Anchors[i].Seq = r.uvarint()
		copy(l.Anchors[i].Print[:], r.take(len(Fingerprint{})))
	}
	return l, r.err == nil
}
