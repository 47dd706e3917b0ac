// Package gaps is a feed's register of gaps: which positions of its stream hold
// no commit that is to be read, why, and who said so. It is a pure value with a
// stored form (docs/format-register.md); eventlog keeps it and acts by it.
package gaps

import (
	"cmp"
	"slices"
)

// Range is the sequences from First to Last, both included; 1 <= First <= Last.
type Range struct{ First, Last uint64 }

// len is how many sequences the range has.
func (r Range) len() uint64 { return r.Last - r.First + 1 }

// Ranges ascend, and at least one sequence is between two of them. The methods
// leave the receiver as it is.
type Ranges []Range

// RangesOf makes the ranges of sequences in any order.
func RangesOf(seqs ...uint64) (rs Ranges) {
	seqs = slices.Clone(seqs)
	slices.Sort(seqs)
	for _, seq := range slices.Compact(seqs) {
		if n := len(rs); n > 0 && rs[n-1].Last+1 == seq {
			rs[n-1].Last = seq
		} else {
			rs = append(rs, Range{seq, seq})
		}
	}
	return rs
}

// Union is what is in one of them, or in both.
func (rs Ranges) Union(os Ranges) (out Ranges) {
	all := slices.Concat(rs, os)
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	for _, r := range all {
		if n := len(out); n > 0 && (r.First <= out[n-1].Last || r.First-1 == out[n-1].Last) {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// Without is what is in rs and not in os.
func (rs Ranges) Without(os Ranges) (out Ranges) {
	for _, r := range rs {
		at, _ := os.from(r.First)
		for ; at < len(os) && os[at].First <= r.Last; at++ {
			if os[at].First > r.First {
				out = append(out, Range{r.First, os[at].First - 1})
			}
			if os[at].Last >= r.Last {
				r.First = 0 // nothing is left
				break
			}
			r.First = os[at].Last + 1
		}
		if r.First > 0 {
			out = append(out, r)
		}
	}
	return out
}

// Within is what is in both.
func (rs Ranges) Within(os Ranges) Ranges { return rs.Without(rs.Without(os)) }

// Covers says whether a sequence is in one of the ranges.
func (rs Ranges) Covers(seq uint64) bool {
	_, in := rs.from(seq)
	return in
}

// Len is how many sequences the ranges have.
func (rs Ranges) Len() (n uint64) {
	for _, r := range rs {
		n += r.len()
	}
	return n
}

// from finds the first range that ends at a sequence or after it, and says
// whether the sequence is in that.
func (rs Ranges) from(seq uint64) (at int, in bool) {
	at, _ = slices.BinarySearchFunc(rs, seq, func(r Range, seq uint64) int { return cmp.Compare(r.Last, seq) })
	return at, at < len(rs) && rs[at].First <= seq
}
