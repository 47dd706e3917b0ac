package highwater

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

// The example on the page is what the encoder writes.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/format-mark.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```hex mark\n")
	block, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	var golden []byte
	for line := range strings.Lines(block) {
		bytesOf, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(bytesOf, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		golden = append(golden, b...)
	}
	m := Mark{Feed: "acc", Acked: 130, Lineage: timeframe.Lineage{Incarnation: "k3Xa", Anchors: []timeframe.Anchor{
		{Seq: 128, Print: timeframe.Fingerprint{0: 0x0a, 15: 1}}, {Seq: 7, Print: timeframe.Fingerprint{0: 0x0b, 15: 2}},
	}}}
	got, err := m.Encode()
	if err != nil || !bytes.Equal(got, golden) {
		t.Fatalf("encoded %x, %v\nthe page has %x", got, err, golden)
	}
	back, err := Decode(golden)
	if err != nil || back.Feed != m.Feed || back.Acked != m.Acked || !back.Lineage.Equal(m.Lineage) {
		t.Fatalf("decoded %+v, %v", back, err)
	}
}

// One flipped bit anywhere, a cut, or more bytes: an error, never another mark.
func TestDamagedMark(t *testing.T) {
	good, err := Mark{Feed: "acc", Acked: 9}.Advance("acc", "inc", timeframe.Anchor{Seq: 9}, 9).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if m, err := Decode(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d: %+v, %v", bit, i, m, err)
			}
		}
		if m, err := Decode(good[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d: %+v, %v", i, m, err)
		}
	}
	if _, err := Decode(append(bytes.Clone(good), make([]byte, MaxSize)...)); !errors.Is(err, ErrDamaged) {
		t.Fatalf("too long: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := Mark{}.Advance("acc", "inc", timeframe.Anchor{Seq: 9}, 12).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-32])
	f.Add([]byte("TMHW\x02"))
	f.Add([]byte("TMHW\x010\x01\x01\x03000\x00\x00")) // no lineage
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Decode(sealed(body)) // past the checksum
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
				t.Fatalf("%v is of no class", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, sealed(body)) {
			t.Fatalf("%x decodes to %+v, and that encodes to %x, %v", body, m, again, err)
		}
	})
}

// world is a log as a plain list: the print of each message, from sequence 1.
type world struct {
	first  uint64
	prints []timeframe.Fingerprint
}

func (w *world) observed(seqs ...uint64) timeframe.Observed {
	o := timeframe.Observed{Exists: true, Incarnation: "inc", First: w.first, Last: uint64(len(w.prints)), Prints: map[uint64]timeframe.Fingerprint{}}
	for _, s := range seqs {
		if s >= w.first && s >= 1 && s <= o.Last {
			o.Prints[s] = w.prints[s-1]
		}
	}
	return o
}

// A log that grows, is trimmed, and loses its tail now and then, growing on with
// other messages: the judgement is that of somebody who kept all of it.
func TestJudgeAgainstAPlainCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{first: 1}
		made := byte(0)
		grow := func(n int) {
			for range n {
				made++
				w.prints = append(w.prints, timeframe.Fingerprint{0: made, 1: byte(len(w.prints))})
			}
		}
		var m Mark
		var sure []timeframe.Fingerprint // the log when the mark was made
		for range rapid.IntRange(1, 12).Draw(t, "marks") {
			grow(rapid.IntRange(1, 6).Draw(t, "grow"))
			at := timeframe.Anchor{Seq: uint64(len(w.prints)), Print: w.prints[len(w.prints)-1]}
			m = m.Advance("acc", "inc", at, at.Seq)
			sure = append(sure[:0], w.prints...)
		}
		keep := rapid.IntRange(0, len(w.prints)).Draw(t, "keep")
		w.prints = w.prints[:keep]
		grow(rapid.IntRange(0, 20).Draw(t, "after"))
		w.first = uint64(rapid.IntRange(1, max(1, len(w.prints))).Draw(t, "first"))
		j := m.Judge(w.observed(m.Seqs()...))
		whole := keep == len(sure)
		trimmed := w.first > m.Seq()
		switch {
		case whole && j.Verdict != Holds:
			t.Fatalf("nothing is lost: %+v", j)
		case !whole && !trimmed && (j.Verdict != Lost || j.To != m.Seq()):
			t.Fatalf("%d of %d are left: %+v", keep, len(sure), j)
		case !whole && !trimmed && j.From > uint64(keep)+1 && known(m, keep, w):
			t.Fatalf("%d of %d are left, and the loss begins at %d", keep, len(sure), j.From)
		}
		if j.Verdict == Lost {
			last := timeframe.Anchor{Seq: uint64(len(w.prints))}
			if last.Seq > 0 {
				last.Print = w.prints[last.Seq-1]
			}
			accepted := m.Accept(j.From-1, last)
			if j := accepted.Judge(w.observed(accepted.Seqs()...)); accepted.Seq() > 0 && j.Verdict == Lost {
				t.Fatalf("accepted, and then %+v", j)
			}
		}
	})
}

// known says whether an anchor tells that messages were replaced after keep, in
// a log that ends before the mark.
func known(m Mark, keep int, w *world) bool {
	for _, s := range m.Seqs() {
		if s > uint64(keep) && s >= w.first && s <= uint64(len(w.prints)) {
			return true
		}
	}
	return len(w.prints) >= int(m.Seq())
}

// A log that holds nothing is no trimmed one.
func TestJudgeEmptied(t *testing.T) {
	m := Mark{}.Advance("acc", "inc", timeframe.Anchor{Seq: 5}, 5)
	j := m.Judge(timeframe.Observed{Exists: true, Incarnation: "inc", First: 6, Last: 5})
	if j.Verdict != Lost || j.From != 5 || j.To != 5 {
		t.Errorf("%+v", j)
	}
	if m = m.Accept(j.From-1, timeframe.Anchor{}); m.Seq() != 0 {
		t.Errorf("accepted: %+v", m)
	}
}

// What was acknowledged and not known to be on the disk is counted, and is no
// loss; another stream's mark says nothing.
func TestJudgeWindow(t *testing.T) {
	p := timeframe.Fingerprint{1}
	m := Mark{}.Advance("acc", "inc", timeframe.Anchor{Seq: 5, Print: p}, 9)
	o := timeframe.Observed{Exists: true, Incarnation: "inc", First: 1, Last: 7, Prints: map[uint64]timeframe.Fingerprint{5: p}}
	if j := m.Judge(o); j.Verdict != Holds || j.Short != 2 {
		t.Errorf("%+v", j)
	}
	o.Prints = nil
	if j := m.Judge(o); j.Verdict != Unread {
		t.Errorf("%+v", j)
	}
	o.Incarnation = "other"
	if j := m.Judge(o); j.Verdict != Foreign {
		t.Errorf("%+v", j)
	}
	if m = m.Advance("acc", "other", timeframe.Anchor{Seq: 2}, math.MaxUint64); m.Seq() != 2 || len(m.Lineage.Anchors) != 1 {
		t.Errorf("of another stream: %+v", m)
	}
	if back := m.Advance("acc", "other", timeframe.Anchor{Seq: 1}, 0); back.Seq() != 2 {
		t.Errorf("it went back: %+v", back)
	}
}
