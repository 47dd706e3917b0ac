package gaps

import "github.com/tidemark-es/tidemark/timeframe"

// Index answers what reading asks of a register. It doesn't change. The zero
// value is that of an empty register.
type Index struct {
	gone    Ranges
	before  []uint64 // positions in gone before each of its ranges
	pending Ranges
	passed  map[uint64][]timeframe.Fingerprint
	erased  map[uint64]timeframe.Fingerprint
}

// Index makes the register's.
func (r Register) Index() *Index {
	x := &Index{gone: r.Gone(), pending: r.Pending(), passed: make(map[uint64][]timeframe.Fingerprint), erased: make(map[uint64]timeframe.Fingerprint)}
	n := uint64(0)
	for _, g := range x.gone {
		x.before = append(x.before, n)
		n += g.len()
	}
	for _, e := range r.Entries {
		if !e.printed() {
			continue
		}
		for seq, p := range e.each {
			if e.Kind == Passed {
				x.passed[seq] = append(x.passed[seq], p)
			} else {
				x.erased[seq] = p
			}
		}
	}
	return x
}

// Covers says whether no message need be at a sequence.
func (x *Index) Covers(seq uint64) bool { return x.gone.Covers(seq) }

// Before is the least sequence from which on all up to seq, without that, are
// covered: seq itself where the one before it isn't.
func (x *Index) Before(seq uint64) uint64 {
	if seq < 2 {
		return seq
	}
	if at, in := x.gone.from(seq - 1); in {
		return x.gone[at].First
	}
	return seq
}

// CoversAll says whether no message need be at any of these sequences.
func (x *Index) CoversAll(first, last uint64) bool {
	at, in := x.gone.from(first)
	return first > last || in && x.gone[at].Last >= last
}

// Count is how many positions from first to last are covered.
func (x *Index) Count(first, last uint64) uint64 {
	if first > last {
		return 0
	}
	return x.upTo(last) - x.upTo(first-1)
}

// upTo is how many positions are covered up to one.
func (x *Index) upTo(seq uint64) uint64 {
	at, in := x.gone.from(seq)
	switch {
	case in:
		return x.before[at] + seq - x.gone[at].First + 1
	case at == len(x.gone) && at > 0:
		return x.before[at-1] + x.gone[at-1].len()
	case at == len(x.gone):
		return 0
	}
	return x.before[at]
}

// Pending is how many of the covered positions from first to last belong to
// erasures under way: their messages may still be there.
func (x *Index) Pending(first, last uint64) uint64 {
	if first > last {
		return 0
	}
	return x.pending.Within(Ranges{{max(first, 1), max(last, 1)}}).Len()
}

// Erased is the fingerprint of the message that was erased at a sequence; ok is
// false where it isn't known.
func (x *Index) Erased(seq uint64) (p timeframe.Fingerprint, ok bool) {
	p, ok = x.erased[seq]
	return p, ok
}

// Passes says whether any message is passed over.
func (x *Index) Passes() bool { return len(x.passed) > 0 }

// Passed returns the fingerprints of the messages that are passed over at a
// sequence: almost always none.
func (x *Index) Passed(seq uint64) []timeframe.Fingerprint { return x.passed[seq] }
