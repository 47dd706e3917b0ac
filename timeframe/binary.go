package timeframe

import "encoding/binary"

// binaryVersion is the first byte of a timeframe's binary form.
const binaryVersion = 1

const binaryForm = "timeframe binary"

// minEntry is the least number of bytes that an entry takes: the length of the
// name, one character, the sequence.
const minEntry = 3

// AppendBinary appends the binary form to b: a version byte, the number of
// entries, and for each the name after its length, and the sequence; numbers
// are uvarints. The error is always nil.
func (t Timeframe) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, binaryVersion)
	b = binary.AppendUvarint(b, uint64(len(t.entries)))
	for _, e := range t.entries {
		b = appendName(b, e.Feed)
		b = binary.AppendUvarint(b, e.Seq)
	}
	return b, nil
}

// MarshalBinary returns the binary form, which is how msgpack holds a
// timeframe. The error is always nil.
func (t Timeframe) MarshalBinary() ([]byte, error) {
	size := 2
	for _, e := range t.entries {
		size += 1 + len(e.Feed) + binary.MaxVarintLen64
	}
	return t.AppendBinary(make([]byte, 0, size))
}

// UnmarshalBinary is the exact inverse of [Timeframe.MarshalBinary]: it takes
// the canonical bytes only, to the last one, and keeps none of them. What it
// allocates is bounded by a small multiple of len(data). The error is a
// *[VersionError] or a *[FormatError], and t is unchanged then.
func (t *Timeframe) UnmarshalBinary(data []byte) error {
	r := reader{form: binaryForm, all: data}
	r.version(binaryVersion)
	n := r.count(minEntry)
	var entries []Entry
	if n > 0 {
		entries = make([]Entry, 0, n)
	}
	before := ""
	for range n {
		before = r.feed(before)
		entries = append(entries, Entry{Feed: before, Seq: r.uvarint()})
		if r.err != nil {
			return r.err
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	t.entries = entries
	return nil
}
