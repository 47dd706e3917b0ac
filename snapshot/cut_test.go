package snapshot

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
)

func TestCutIsValidated(t *testing.T) {
	s := opened(t, connect(t))
	base := saved(t, s, "u", nil, cut(5, member("a", put("k", "v"))))
	ahead := cut(6, member("a"))
	ahead.Members[0].At = at(7).At
	with := func(change func(*Member)) Cut {
		m := member("a", put("b", "1"))
		change(&m)
		return cut(6, m)
	}
	tests := map[string]struct {
		cut  Cut
		want string // part of the message
	}{
		"nothing":          {Cut{Tag: at(6)}, "no members"},
		"unanchored tag":   {Cut{Tag: timeframe.Tag{At: at(6).At}, Members: []Member{member("a")}}, "anchor"},
		"a name":           {cut(6, member("A.b")), "invalid name"},
		"twice":            {cut(6, member("a"), member("a")), "more than once"},
		"ahead of the tag": {ahead, "doesn't cover"},
		"behind the base":  {cut(4, member("a")), "needs Reset"},
		"another version":  {with(func(m *Member) { m.Version++ }), "needs Reset"},
		"another meaning":  {with(func(m *Member) { m.Meaning = "m2" }), "needs Reset"},
		"another codec":    {with(func(m *Member) { m.Codec = "json" }), "needs Reset"},
		"long meaning":     {with(func(m *Member) { m.Meaning, m.Reset = strings.Repeat("x", 2000), true }), "1024 bytes"},
		"short digest":     {with(func(m *Member) { m.Digest = []byte{1} }), "digest of 1 bytes"},
		"kept and changed": {with(func(m *Member) { m.Kept = true }), "can't be reset or changed"},
		"unsorted":         {cut(6, member("a", put("b", "1"), put("a", "2"))), "ascend"},
		"a double":         {cut(6, member("a", put("b", "1"), del("b"))), "ascend"},
		"a large key":      {cut(6, member("a", Change{Key: make([]byte, MaxKey+1)})), "too large"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := s.Save(t.Context(), "u", base, test.cut)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v", err)
			}
		})
	}
	if _, err := s.Save(t.Context(), "other", base, cut(6, member("a"))); !errors.Is(err, ErrInvalid) {
		t.Fatalf("a base of another unit: %v", err)
	}
	if _, err := s.Save(t.Context(), "U", nil, cut(6, member("a"))); !errors.Is(err, ErrInvalid) {
		t.Fatalf("an invalid unit: %v", err)
	}
	if found, _ := newest(t, s, "u"); found.ID != base.ID {
		t.Fatal("a refused cut left something")
	}
}

// The digests of a chain link up, through a compaction and a round trip.
func TestDigestsLinkUp(t *testing.T) {
	s := opened(t, connect(t))
	digest := func(i uint64) []byte { return bytes.Repeat([]byte{byte(i)}, 16) }
	var m *Manifest
	for i := uint64(1); i <= 12; i++ {
		c := member("a", put("k", strings.Repeat("v", int(i))))
		c.Digest = digest(i)
		m = saved(t, s, "u", m, cut(i, c))
	}
	a, _ := m.Member("a")
	if s.Stats().Compactions != 1 || len(a.Segments) != 4 || !bytes.Equal(a.Digest, digest(12)) {
		t.Fatalf("%d compactions, %d segments", s.Stats().Compactions, len(a.Segments))
	}
	if a.Entries() != 4 || a.Bytes() == 0 || a.Raw() == 0 {
		t.Fatalf("%d entries, %d bytes, %d raw", a.Entries(), a.Bytes(), a.Raw())
	}
	var last Segment
	for i, g := range a.Segments {
		if !g.From.Equal(last.To) || !bytes.Equal(g.Before, last.After) || !bytes.Equal(g.After, digest(uint64(9+i))) {
			t.Fatalf("segment %d: %+v after %+v", i, g, last)
		}
		last = g
	}
}

func TestManifestInvariants(t *testing.T) {
	tests := map[string]func(*Manifest){
		"no members":         func(m *Manifest) { m.Members = nil },
		"unsorted members":   func(m *Manifest) { m.Members[0], m.Members[1] = m.Members[1], m.Members[0] },
		"a unit's name":      func(m *Manifest) { m.Unit = "a.b" },
		"a member's name":    func(m *Manifest) { m.Members[0].Name = "" },
		"beyond the tag":     func(m *Manifest) { m.Members[1].At = at(7).At },
		"beyond the member":  func(m *Manifest) { m.Members[0].Segments[1].To = at(6).At },
		"overlapping":        func(m *Manifest) { m.Members[0].Segments[1].To = at(2).At },
		"no entries":         func(m *Manifest) { m.Members[0].Segments[1].Entries = 0 },
		"no chunks":          func(m *Manifest) { m.Members[0].Segments[1].Chunks = nil },
		"size out of range":  func(m *Manifest) { m.Members[0].Segments[1].Raw = 1 << 63 },
		"a digest too short": func(m *Manifest) { m.Members[1].Digest = []byte{1, 2} },
		"a meaning too long": func(m *Manifest) { m.Members[0].Meaning = strings.Repeat("x", 2000) },
	}
	for name, change := range tests {
		m := sampleManifest()
		change(m)
		data, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
