package gaps

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Kind is why a position holds nothing that is to be read.
type Kind byte

// The kinds; they are stored.
const (
	Accepted Kind = 1 // the message is gone, and somebody accepts that
	Passed   Kind = 2 // the message is there, and is passed over
	Erased   Kind = 3 // the message was removed on purpose
)

// The bounds of a register. MaxBytes is half of the least payload that a server
// takes by default; MaxReason and MaxBy are in bytes.
const (
	MaxBytes   = 512 << 10
	MaxEntries = 4096
	MaxReason  = 512
	MaxBy      = 128
)

// ErrFull: the register would be larger than MaxBytes or MaxEntries.
var ErrFull = errors.New("the register of gaps is full")

// Entry is one act: what was registered, why, by whom and when.
type Entry struct {
	Kind Kind
	// Pending is for Erased alone: the messages may still be there, since the
	// entry is written before they are removed.
	Pending bool
	At      time.Time // UTC, to the nanosecond
	Reason  string
	By      string
	Ranges  Ranges
	// Prints are the fingerprints of the messages, one for each position. A
	// Passed entry has them: another message there isn't passed over. Of an
	// Erased one they prove the snapshots that stand there; where they took too
	// much room, there is one hash over them (Hash), or none. An Accepted one
	// has none.
	Prints []timeframe.Fingerprint
}

// Register is a feed's. The zero value is empty.
type Register struct {
	// Incarnation is the stream's that it is about: of another one it says
	// nothing.
	Incarnation string
	Entries     []Entry // in the order of their making
}

// Hash is one fingerprint for many: SHA-256 of them one after another, cut to
// 128 bits; of a single one, itself.
func Hash(prints ...timeframe.Fingerprint) timeframe.Fingerprint {
	if len(prints) == 1 {
		return prints[0]
	}
	h := sha256.New()
	for _, p := range prints {
		h.Write(p[:])
	}
	return timeframe.Fingerprint(h.Sum(nil)[:16])
}

// Gone is every position at which no message need be: accepted gaps and
// erasures, those under way too.
func (r Register) Gone() Ranges { return r.all(func(e Entry) bool { return e.Kind != Passed }) }

// Pending is every position of an erasure that is under way.
func (r Register) Pending() Ranges { return r.all(func(e Entry) bool { return e.Pending }) }

func (r Register) all(of func(Entry) bool) Ranges {
	var all Ranges
	for _, e := range r.Entries {
		if of(e) {
			all = append(all, e.Ranges...)
		}
	}
	return Ranges(nil).Union(all)
}

// Add registers an entry. Of positions that are gone already, and of passed
// messages that are registered with the same fingerprint, the older entry
// stays. An entry of the same kind, reason and author takes it in.
func (r Register) Add(e Entry) Register {
	e = e.without(r)
	if len(e.Ranges) == 0 {
		return r
	}
	r.Entries = append(slices.Clone(r.Entries), e)
	if e.Kind != Passed && !e.Pending {
		r.unpass(e.Ranges)
	}
	return r.tidy()
}

// unpass forgets passed messages that are gone. The entries are changed.
func (r Register) unpass(gone Ranges) {
	for i := range r.Entries {
		if r.Entries[i].Kind == Passed {
			r.Entries[i] = r.Entries[i].less(gone)
		}
	}
}

// Settle ends erasures that are under way: their messages at these positions
// are gone.
func (r Register) Settle(gone Ranges) Register {
	var out []Entry
	for _, e := range r.Entries {
		if !e.Pending {
			out = append(out, e)
			continue
		}
		done := e.less(e.Ranges.Without(gone))
		done.Pending = false
		out = append(out, e.less(gone), done)
	}
	r.Entries = out
	r.unpass(gone)
	return r.tidy()
}

// Less is the register without positions, whatever is registered of them.
func (r Register) Less(gone Ranges) Register {
	r.Entries = slices.Clone(r.Entries)
	for i := range r.Entries {
		r.Entries[i] = r.Entries[i].less(gone)
	}
	return r.tidy()
}

// mergedReason is that of an entry that stands for others, which took too much
// room.
const mergedReason = "several entries at the beginning of the log"

// Fit makes a register that is too large as small as it has to be, for a stream
// that has its first message at a sequence. It forgets what is below that; but
// positions right before it stay covered, by one entry, so that the log doesn't
// look trimmed. Then erasures lose their fingerprints, from the oldest on, and
// have one hash.
func (r Register) Fit(first uint64) (Register, error) {
	if r.fits() {
		return r, nil
	}
	r.Entries = slices.Clone(r.Entries)
	if first > 1 {
		r = r.forget(first)
	}
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Kind == Erased && !r.fits() && len(e.Prints) > 1 {
			e.Prints = []timeframe.Fingerprint{Hash(e.Prints...)}
		}
	}
	if !r.fits() {
		return r, fmt.Errorf("%w: %d entries", ErrFull, len(r.Entries))
	}
	return r, nil
}

func (r Register) forget(first uint64) Register {
	below := Ranges{{1, first - 1}}
	merged := Entry{Kind: Erased, Reason: mergedReason}
	if at, in := r.Gone().from(first - 1); in {
		merged.Ranges = Ranges{{r.Gone()[at].First, first - 1}}
	}
	for i, e := range r.Entries {
		if e.Kind != Passed && e.At.After(merged.At) && len(e.Ranges.Within(merged.Ranges)) > 0 {
			merged.At = e.At
		}
		r.Entries[i] = e.less(below)
	}
	r.Entries = append(r.Entries, merged)
	return r.tidy()
}

func (r Register) fits() bool { return len(r.Entries) <= MaxEntries && len(r.Append(nil)) <= MaxBytes }

// without leaves out what is registered already.
func (e Entry) without(r Register) Entry {
	for _, o := range r.Entries {
		switch {
		case o.Kind != Passed:
			e = e.less(o.Ranges)
		case e.Kind == Passed:
			var same []uint64
			for seq, p := range o.each {
				if have, ok := e.print(seq); ok && have == p {
					same = append(same, seq)
				}
			}
			e = e.less(RangesOf(same...))
		}
	}
	return e
}

// less is the entry without positions.
func (e Entry) less(gone Ranges) Entry {
	left := e.Ranges.Without(gone)
	if left.Len() == e.Ranges.Len() {
		return e
	}
	var prints []timeframe.Fingerprint
	if e.printed() {
		for seq, p := range e.each {
			if left.Covers(seq) {
				prints = append(prints, p)
			}
		}
	}
	e.Ranges, e.Prints = left, prints
	return e
}

// printed says whether each position has its fingerprint.
func (e Entry) printed() bool { return len(e.Prints) > 0 && uint64(len(e.Prints)) == e.Ranges.Len() }

// each yields the positions of a printed entry with their fingerprints.
func (e Entry) each(yield func(uint64, timeframe.Fingerprint) bool) {
	i := 0
	for _, r := range e.Ranges {
		for seq := r.First; ; seq++ {
			if !yield(seq, e.Prints[i]) {
				return
			}
			if i++; seq == r.Last {
				break
			}
		}
	}
}

// print is a printed entry's fingerprint of one position.
func (e Entry) print(seq uint64) (p timeframe.Fingerprint, ok bool) {
	i := uint64(0)
	for _, r := range e.Ranges {
		if r.First <= seq && seq <= r.Last {
			return e.Prints[i+seq-r.First], true
		}
		i += r.len()
	}
	return p, false
}

// tidy drops entries without positions, and lets one take in later ones of its
// kind, reason and author.
func (r Register) tidy() Register {
	var out []Entry
	for _, e := range r.Entries {
		if len(e.Ranges) == 0 {
			continue
		}
		i := slices.IndexFunc(out, func(o Entry) bool { return o.takes(e) })
		if i < 0 {
			out = append(out, e)
		} else {
			out[i] = out[i].merge(e)
		}
	}
	r.Entries = out
	return r
}

// takes says whether an entry can take another in. Only passed messages may
// have positions in common: another message came to the place of the first.
func (e Entry) takes(o Entry) bool {
	return e.Kind == o.Kind && !e.Pending && !o.Pending && e.Reason == o.Reason && e.By == o.By && len(e.Ranges.Within(o.Ranges)) == 0
}

func (e Entry) merge(o Entry) Entry {
	m := e
	m.Ranges = e.Ranges.Union(o.Ranges)
	if o.At.After(m.At) {
		m.At = o.At
	}
	m.Prints = nil
	switch {
	case e.printed() && o.printed():
		for _, r := range m.Ranges {
			for seq := r.First; ; seq++ {
				p, ok := e.print(seq)
				if !ok {
					p, _ = o.print(seq)
				}
				if m.Prints = append(m.Prints, p); seq == r.Last {
					break
				}
			}
		}
	case len(e.Prints) > 0 && len(o.Prints) > 0:
		m.Prints = []timeframe.Fingerprint{Hash(Hash(e.Prints...), Hash(o.Prints...))}
	}
	return m
}
