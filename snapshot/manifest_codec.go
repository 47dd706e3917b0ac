package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// The least sizes, in bytes, of what a manifest repeats, and the greatest size
// of a segment: sums of as many as fit into a message don't overflow.
const (
	maxSegment = 1 << 42

	minMember  = 8
	minSegment = 6 + len(ID{})
)

// encode returns the manifest's bytes, which its ID is the hash of. From and
// Before of a segment aren't written: the chain gives them, so a manifest with
// a gap or an overlap can't even be expressed.
func (m *Manifest) encode() ([]byte, error) {
	tag, err := m.Tag.MarshalBinary()
	if err != nil {
		return nil, err
	}
	b := appendMagic(nil, manifestMagic)
	b = appendString(b, m.Unit)
	b = append(b, m.Prev[:]...)
	b = binary.AppendUvarint(b, uint64(m.Created.UnixNano()))
	b = binary.AppendUvarint(b, m.Epoch)
	b = appendBytes(b, tag)
	b = binary.AppendUvarint(b, uint64(len(m.Members)))
	for i := range m.Members {
		b = m.Members[i].append(b)
	}
	return b, nil
}

func (m *MemberState) append(b []byte) []byte {
	b = appendString(b, m.Name)
	b = binary.AppendUvarint(b, m.Version)
	b = appendString(b, m.Meaning)
	b = appendString(b, m.Codec)
	b = appendFrame(b, m.At)
	b = appendBytes(b, m.Digest)
	b = binary.AppendUvarint(b, uint64(len(m.Segments)))
	for _, s := range m.Segments {
		b = appendFrame(b, s.To)
		b = binary.AppendUvarint(b, s.Entries)
		b = binary.AppendUvarint(b, s.Bytes)
		b = binary.AppendUvarint(b, s.Raw)
		b = appendBytes(b, s.After)
		b = binary.AppendUvarint(b, uint64(len(s.Chunks)))
		for _, id := range s.Chunks {
			b = append(b, id[:]...)
		}
	}
	return b
}

func appendFrame(b []byte, t timeframe.Timeframe) []byte {
	form, _ := t.MarshalBinary() // never fails
	return appendBytes(b, form)
}

// decodeManifest is the exact inverse of encode. Only canonical bytes are
// taken, and every invariant of the types is checked.
func decodeManifest(data []byte) (*Manifest, error) {
	rest, err := checkMagic(data, manifestMagic, "manifest")
	if err != nil {
		return nil, err
	}
	f := fields{what: "manifest", rest: rest}
	m := &Manifest{ID: idOf(data), Unit: f.string(), Prev: f.id(), Created: f.time(), Epoch: f.uvarint()}
	f.binary(m.Tag.UnmarshalBinary)
	before := ""
	for range f.count(minMember) {
		s := f.member(m.Tag.At)
		if s.Name <= before {
			f.fail("members don't ascend")
		}
		if f.err != nil {
			return nil, f.err
		}
		before = s.Name
		m.Members = append(m.Members, s)
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	if timeframe.ValidName(m.Unit) != nil || len(m.Members) == 0 {
		return nil, corrupt("manifest: no valid unit, or no members")
	}
	// The one way to be sure that no second form of a number or of an absent
	// value slipped through; a manifest is small.
	if again, err := m.encode(); err != nil || !bytes.Equal(again, data) {
		return nil, corrupt("manifest: not in canonical form")
	}
	return m, nil
}

func (f *fields) member(tag timeframe.Timeframe) MemberState {
	s := MemberState{Name: f.string(), Version: f.uvarint(), Meaning: f.string(), Codec: f.string(), At: f.frame(), Digest: f.digest()}
	if f.err == nil && (timeframe.ValidName(s.Name) != nil || len(s.Meaning) > maxText || len(s.Codec) > maxText) {
		f.fail("a member's name, meaning or codec isn't valid")
	}
	var last Segment
	for range f.count(minSegment) {
		g := f.segment(last)
		if f.err != nil {
			return s
		}
		s.Segments = append(s.Segments, g)
		last = g
	}
	if f.err == nil && (!tag.Covers(s.At) || !s.At.Covers(last.To)) {
		f.fail("member %q reaches beyond the tag, or a segment of it beyond the member", s.Name)
	}
	return s
}

// segment reads the one that follows last, which is the zero value for the
// first.
func (f *fields) segment(last Segment) Segment {
	s := Segment{
		From: last.To, To: f.frame(), Entries: f.uvarint(), Bytes: f.uvarint(), Raw: f.uvarint(),
		Before: last.After, After: f.digest(),
	}
	n := f.count(len(ID{}))
	switch {
	case f.err != nil:
		return s
	case n == 0 || s.Entries == 0:
		f.fail("a segment is empty")
		return s
	case !s.To.Covers(s.From):
		f.fail("a segment ends at %s, before its start %s", s.To, s.From)
		return s
	case max(s.Entries, s.Bytes, s.Raw) > maxSegment:
		f.fail("a segment's size is out of range") // so that sums stay meaningful
		return s
	}
	s.Chunks = make([]ID, n)
	for i := range s.Chunks {
		s.Chunks[i] = f.id()
	}
	return s
}

func (f *fields) digest() []byte {
	d := f.bytes()
	if len(d) == 0 {
		return nil
	}
	if len(d) < minDigest || len(d) > maxDigest {
		f.fail("a digest of %d bytes", len(d))
		return nil
	}
	return bytes.Clone(d)
}

func (f *fields) time() time.Time {
	nanos := f.uvarint()
	if nanos > math.MaxInt64 {
		f.fail("the creation time is out of range")
	}
	return time.Unix(0, int64(nanos)).UTC()
}

func (f *fields) frame() (t timeframe.Timeframe) {
	f.binary(t.UnmarshalBinary)
	return t
}

// binary hands the next byte field to a decoder of package timeframe.
func (f *fields) binary(decode func([]byte) error) {
	data := f.bytes()
	if f.err != nil {
		return
	}
	err := decode(data)
	if err == nil {
		return
	}
	if v, ok := errors.AsType[*timeframe.VersionError](err); ok {
		f.err = &FormatError{What: f.what, Got: v.Got, Want: v.Want, Err: err}
	}
	f.fail("%v", err)
}
