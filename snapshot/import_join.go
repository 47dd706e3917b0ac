package snapshot

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/timeframe"
)

// narrow returns m with the named members alone (none: all), and with a tag of
// the feeds that these include: nobody could check the others. It is nil where
// nothing is left.
func narrow(m *Manifest, members []string) *Manifest {
	if m == nil {
		return nil
	}
	n := *m
	if len(members) > 0 {
		n.Members = slices.DeleteFunc(slices.Clone(m.Members), func(s MemberState) bool { return !slices.Contains(members, s.Name) })
		n.Tag = cutTag(m.Tag, m.Tag.At, n.Members)
	}
	if len(n.Members) == 0 {
		return nil
	}
	return &n
}

// cutTag is tag at a timeframe that has an anchor wherever tag has one, for the
// feeds that members include.
func cutTag(tag timeframe.Tag, at timeframe.Timeframe, members []MemberState) timeframe.Tag {
	seqs := make(map[string]uint64)
	lineages := make(map[string]timeframe.Lineage)
	for _, m := range members {
		for feed := range m.At.All() {
			seq, _ := at.Get(feed)
			seqs[feed] = seq
			if l, ok := tag.Lineages[feed]; ok {
				l.Anchors = slices.DeleteFunc(slices.Clone(l.Anchors), func(a timeframe.Anchor) bool { return a.Seq > seq })
				lineages[feed] = l
			}
		}
	}
	frame, _ := timeframe.FromMap(seqs) // names of a valid timeframe
	return timeframe.Tag{At: frame, Lineages: lineages}
}

// states yields m and the earlier states that its segments tell, newest first:
// at each place where one of them ends, and where each feed has an anchor that
// can prove it.
func states(m *Manifest) iter.Seq[*Manifest] {
	return func(yield func(*Manifest) bool) {
		if m == nil || !yield(m) {
			return
		}
		seen := map[string]bool{m.Tag.At.String(): true}
		var ends []timeframe.Timeframe
		for _, member := range m.Members {
			for _, s := range member.Segments {
				if name := s.To.String(); !seen[name] {
					seen[name] = true
					ends = append(ends, s.To)
				}
			}
		}
		newestFirst(ends)
		for _, end := range ends {
			if e := stateAt(m, end); e != nil && !yield(e) {
				return
			}
		}
	}
}

// newestFirst sorts so that none stands behind one that it covers. Where two
// are beside each other, the one with more events counts as the newer: any
// order of theirs that looks at the two alone could contradict a third.
func newestFirst(frames []timeframe.Timeframe) {
	events := func(t timeframe.Timeframe) (n uint64) {
		for _, seq := range t.All() {
			n += seq + 1 // to be at the start of a feed is more than not to know it
		}
		return n
	}
	slices.SortFunc(frames, func(a, b timeframe.Timeframe) int {
		return cmp.Or(cmp.Compare(events(b), events(a)), strings.Compare(b.String(), a.String()))
	})
}

// stateAt is m as it was at the end of a segment, nil where that can't be told.
func stateAt(m *Manifest, end timeframe.Timeframe) *Manifest {
	e := *m
	e.Members = nil
	for _, member := range m.Members {
		n := 0
		for n < len(member.Segments) && end.Covers(member.Segments[n].To) {
			n++
		}
		if n == 0 {
			continue // it was empty, or isn't known
		}
		if n < len(member.Segments) || !end.Covers(member.At) {
			last := member.Segments[n-1]
			member.At, member.Digest, member.Segments = last.To, last.After, member.Segments[:n:n]
		}
		e.Members = append(e.Members, member)
	}
	e.Tag = cutTag(m.Tag, end, e.Members)
	if len(e.Members) == 0 || e.Tag.Validate() != nil {
		return nil
	}
	return &e
}

// joined is how a peer's manifest goes together with the store's.
type joined struct {
	members   []MemberState
	taken     []bool // of members: it is the peer's, not the store's own
	tag       timeframe.Tag
	applied   int    // segments of the peer's
	kept      int    // segments of ours, in members that are taken
	bytes     uint64 // of the applied ones
	conflicts []string
	refused   bool // the digests differ, and there is no place to go on from
}

// join puts m on top of the base: what is further there stays, and what m has
// of it begins where the digests agree.
func (im *importing) join(m *Manifest) joined {
	base := im.base
	if base == nil {
		return im.whole(m)
	}
	var j joined
	for _, theirs := range m.Members {
		ours, ok := base.Member(theirs.Name)
		if !ok || ours.Version != theirs.Version || ours.Meaning != theirs.Meaning || ours.Codec != theirs.Codec {
			j.add(theirs, true, len(theirs.Segments), 0)
			continue
		}
		keep, from, found, conflicts := joint(ours, theirs)
		j.conflicts = append(j.conflicts, conflicts...)
		ahead := ours.At.Covers(theirs.At)
		if len(conflicts) > 0 && (ahead || !found) {
			j.refused = true
		} else if ahead {
			j.add(ours, false, 0, 0)
			continue
		}
		theirs.Segments = slices.Concat(ours.Segments[:keep], theirs.Segments[from:])
		j.add(theirs, true, len(theirs.Segments)-keep, keep)
	}
	j.rest(base)
	j.tag = mergeTags(base.Tag, m.Tag, j.members)
	return j
}

// whole takes all of m, and what only the base has.
func (im *importing) whole(m *Manifest) (j joined) {
	for _, theirs := range m.Members {
		j.add(theirs, true, len(theirs.Segments), 0)
	}
	j.tag = m.Tag
	if im.base != nil {
		j.rest(im.base)
		j.tag = mergeTags(im.base.Tag, m.Tag, j.members)
	}
	return j
}

func (j *joined) add(m MemberState, taken bool, applied, kept int) {
	j.members, j.taken = append(j.members, m), append(j.taken, taken)
	j.applied += applied
	j.kept += kept
	for _, s := range m.Segments[len(m.Segments)-applied:] {
		j.bytes += s.Bytes
	}
}

// rest adds what only the base has.
func (j *joined) rest(base *Manifest) {
	for _, ours := range base.Members {
		if !slices.ContainsFunc(j.members, func(m MemberState) bool { return m.Name == ours.Name }) {
			j.add(ours, false, 0, 0)
		}
	}
}

// mergeTags covers the members by the further of two tags for each feed.
func mergeTags(a, b timeframe.Tag, members []MemberState) timeframe.Tag {
	at := timeframe.Merge(a.At, b.At)
	lineages := maps.Clone(a.Lineages)
	if lineages == nil {
		lineages = make(map[string]timeframe.Lineage)
	}
	for feed, l := range b.Lineages {
		was, known := a.At.Get(feed)
		if now, _ := b.At.Get(feed); !known || now >= was {
			lineages[feed] = l
		}
	}
	return cutTag(timeframe.Tag{At: at, Lineages: lineages}, at, members)
}

// joint finds the newest place where both chains have the same digest, whole:
// ours up to segment keep, theirs from segment from; found is false where there
// is none. Before it, conflicts are the places where the digests differ.
func joint(ours, theirs MemberState) (keep, from int, found bool, conflicts []string) {
	mine := places(ours)
	for _, t := range places(theirs) {
		for _, o := range mine {
			if !o.at.Equal(t.at) || len(o.digest) != DigestSize || len(t.digest) != DigestSize {
				continue
			}
			if bytes.Equal(o.digest, t.digest) {
				return o.segments, t.segments, true, conflicts
			}
			conflicts = append(conflicts, fmt.Sprintf("member %q at %s: the peer's state has digest %x, the store's %x", ours.Name, t.at, t.digest, o.digest))
		}
	}
	return 0, 0, false, conflicts
}

// place is a timeframe at which a member's digest is known.
type place struct {
	at       timeframe.Timeframe
	digest   []byte
	segments int // that lead there
}

// places are a member's, newest first.
func places(m MemberState) []place {
	all := []place{{m.At, m.Digest, len(m.Segments)}}
	for i, s := range slices.Backward(m.Segments) {
		if i < len(m.Segments)-1 || !s.To.Equal(m.At) {
			all = append(all, place{s.To, s.After, i + 1})
		}
	}
	return all
}
