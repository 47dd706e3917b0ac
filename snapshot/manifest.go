package snapshot

import (
	"slices"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Manifest says what one saved cut consists of. It is immutable: don't change
// one that the store has returned. Its exact bytes are described in
// docs/format-snapshot.md.
type Manifest struct {
	Unit    string
	ID      ID        // SHA-256 of its bytes
	Prev    ID        // the manifest that it was made from; zero where none. It may be gone
	Created time.Time // by the writer's clock; nanoseconds, UTC, not before 1970
	Epoch   uint64    // of the writer
	Tag     timeframe.Tag
	Members []MemberState // by Name, strictly ascending; at least one
}

// MemberState is one member's part of a manifest.
type MemberState struct {
	Name    string
	Version uint64
	Meaning string
	Codec   string
	At      timeframe.Timeframe // Manifest.Tag.At covers it
	Digest  []byte              // of the state; empty where unknown
	// Segments from the oldest to the newest, without gaps: the first has an
	// empty From, each other one begins where its predecessor ends, and At
	// covers the last To. None where the state is empty.
	Segments []Segment
}

// Segment is one immutable run of sorted changes. Both ends are timeframes:
// it holds what changed within (From, To].
type Segment struct {
	From    timeframe.Timeframe // exclusive; empty for a base
	To      timeframe.Timeframe // inclusive
	Entries uint64              // changes, tombstones included; >= 1
	Bytes   uint64              // size of the chunks
	Raw     uint64              // the same before compression
	Before  []byte              // digest of the state at From; empty where unknown
	After   []byte              // digest of the state at To; empty where unknown
	Chunks  []ID                // in order; at least one
}

// Member returns the named member. It is false where the manifest has none, and
// where m is nil.
func (m *Manifest) Member(name string) (MemberState, bool) {
	if m == nil {
		return MemberState{}, false
	}
	i, ok := slices.BinarySearchFunc(m.Members, name, func(s MemberState, name string) int {
		return strings.Compare(s.Name, name)
	})
	if !ok {
		return MemberState{}, false
	}
	return m.Members[i], true
}

// Entries returns how many changes the segments hold: an upper bound of the
// number of live keys.
func (m MemberState) Entries() uint64 {
	return m.total(func(s Segment) uint64 { return s.Entries })
}

// Bytes returns the size of all chunks: what a load has to fetch.
func (m MemberState) Bytes() uint64 {
	return m.total(func(s Segment) uint64 { return s.Bytes })
}

// Raw returns the size of all segments before compression.
func (m MemberState) Raw() uint64 {
	return m.total(func(s Segment) uint64 { return s.Raw })
}

func (m MemberState) total(of func(Segment) uint64) (sum uint64) {
	for _, s := range m.Segments {
		sum += of(s)
	}
	return sum
}

// chunks returns the chunks of all segments.
func (m *Manifest) chunks() (ids []ID) {
	for _, state := range m.Members {
		for _, segment := range state.Segments {
			ids = append(ids, segment.Chunks...)
		}
	}
	return ids
}

// derived returns a manifest that is made from m: its members may be replaced,
// their segments not.
func (m *Manifest) derived(now time.Time, epoch uint64) *Manifest {
	d := *m
	d.ID, d.Prev, d.Created, d.Epoch = ID{}, m.ID, now.UTC(), epoch
	d.Members = slices.Clone(m.Members)
	return &d
}
