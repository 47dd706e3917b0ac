package snapshot

import (
	"bytes"

	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Limits of what a segment holds.
const (
	MaxKey    = 64 << 10  // bytes of a key
	MaxValue  = 256 << 20 // bytes of a value
	maxText   = 1 << 10   // bytes of a meaning or a codec
	minDigest = 16
	maxDigest = 32
)

// Cut is one consistent state of a unit, told by what changed: all members
// stand at the same place, or stopped at an earlier one.
type Cut struct {
	// Tag is what the cut includes, and of which logs. It must be valid in the
	// sense of [timeframe.Tag.Validate].
	Tag timeframe.Tag
	// Members in any order, each name once. Members of the base manifest that
	// aren't listed are dropped from the unit; see Member.Kept.
	Members []Member
	// Epoch of the writer, as the lease's that it holds. The greater of it and
	// Options.Epoch counts.
	Epoch uint64
	// Replaces is the newest manifest of the unit as far as the caller knows,
	// where that isn't the base: because it is damaged, or belongs to another
	// history, or because the caller started afresh. A [StaleBaseError] tells
	// it. Zero where the base is the newest, or there is none.
	Replaces ID
}

// Member is one projection's part of a cut.
type Member struct {
	Name    string // as timeframe.ValidName allows
	Version uint64
	Meaning string // fingerprint of what decides the state's meaning; <= 1 KiB
	Codec   string // what encoded keys and values; <= 1 KiB
	// At is what the member's state includes, which Tag.At covers: normally
	// Tag.At itself, older where the projection had stopped.
	At timeframe.Timeframe
	// Digest of the state at this cut, as Digest.Bytes returns it, or empty
	// where unknown. Load compares what it reads with it. 16 to 32 bytes; one
	// that isn't of DigestSize is kept, and not compared.
	Digest []byte
	// Reset says that Changes are the whole state: what the base has for this
	// member is dropped. Required where version, meaning or codec change.
	Reset bool
	// Kept carries what the base manifest has for this member forward as it
	// is; only Name is looked at. It is for members that this process doesn't
	// know. The Tag must cover them too: merge their At and lineages into it.
	Kept bool
	// Changes since the base, strictly ascending by Key. The store keeps none
	// of the slices after Save has returned.
	Changes []Change
}

// Change is one key's new value, or its end.
type Change struct {
	Key     []byte // may be empty; <= MaxKey
	Value   []byte // may be empty; <= MaxValue; ignored where Deleted
	Deleted bool
	// Digest is DigestOf(Key, Value) in what Load yields. Save ignores it.
	Digest Digest
}

// validate reports all that is wrong with the cut and with how it relates to
// the base, which may be nil.
func (c Cut) validate(base *Manifest) error {
	var p problem.List
	p.Check(c.Tag.Validate())
	if len(c.Members) == 0 {
		p.Add("no members")
	}
	seen := make(map[string]bool, len(c.Members))
	for i := range c.Members {
		m := &c.Members[i]
		if seen[m.Name] {
			p.Add("member %q is given more than once", m.Name)
		}
		seen[m.Name] = true
		m.validate(&p, c.Tag.At, base)
	}
	return invalid("cut", p)
}

func (m *Member) validate(p *problem.List, tag timeframe.Timeframe, base *Manifest) {
	if err := timeframe.ValidName(m.Name); err != nil {
		p.Add("member: %w", err)
		return
	}
	old, had := base.Member(m.Name)
	at := m.At
	if m.Kept {
		if !had {
			p.Add("member %q is to be kept, and the base doesn't have it", m.Name)
		}
		if m.Reset || len(m.Changes) > 0 {
			p.Add("member %q is to be kept, and can't be reset or changed as well", m.Name)
		}
		at = old.At
	}
	if !tag.Covers(at) {
		p.Add("member %q is at %s, which the tag %s doesn't cover", m.Name, at, tag)
	}
	if m.Kept {
		return
	}
	if had && !m.Reset {
		m.follows(p, old)
	}
	if len(m.Meaning) > maxText || len(m.Codec) > maxText {
		p.Add("member %q: meaning and codec may have %d bytes", m.Name, maxText)
	}
	if n := len(m.Digest); n != 0 && (n < minDigest || n > maxDigest) {
		p.Add("member %q: a digest of %d bytes; %d to %d are allowed", m.Name, n, minDigest, maxDigest)
	}
	m.sorted(p)
}

// follows checks that the changes can stand on top of what the base has.
func (m *Member) follows(p *problem.List, old MemberState) {
	if m.Version != old.Version || m.Meaning != old.Meaning || m.Codec != old.Codec {
		p.Add("member %q: version, meaning or codec differ from the base's, so it needs Reset", m.Name)
	}
	if !m.At.Covers(old.At) {
		p.Add("member %q at %s is behind the base's %s, so it needs Reset", m.Name, m.At, old.At)
	}
}

// sorted checks the changes, and stops at the first problem of a kind: there
// could be millions.
func (m *Member) sorted(p *problem.List) {
	for i, c := range m.Changes {
		if len(c.Key) > MaxKey || len(c.Value) > MaxValue {
			p.Add("member %q, change %d: key of %d or value of %d bytes is too large", m.Name, i, len(c.Key), len(c.Value))
			return
		}
		if i > 0 && bytes.Compare(m.Changes[i-1].Key, c.Key) >= 0 {
			p.Add("member %q, change %d: keys don't ascend strictly", m.Name, i)
			return
		}
	}
}
