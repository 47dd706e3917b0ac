package gaps

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

func printOf(n uint64) (p timeframe.Fingerprint) {
	p[0], p[15] = byte(n), byte(n>>8)
	return p
}

// plain is what a register is, said in the simplest way.
type plain struct {
	gone, pending map[uint64]bool
	passed        map[uint64]map[timeframe.Fingerprint]bool
}

func newPlain() plain {
	return plain{map[uint64]bool{}, map[uint64]bool{}, map[uint64]map[timeframe.Fingerprint]bool{}}
}

func (m plain) add(e Entry) {
	i := 0
	for _, r := range e.Ranges {
		for seq := r.First; seq <= r.Last; seq++ {
			switch {
			case m.gone[seq]:
			case e.Kind == Passed:
				if m.passed[seq] == nil {
					m.passed[seq] = map[timeframe.Fingerprint]bool{}
				}
				m.passed[seq][e.Prints[i]] = true
			default:
				m.gone[seq], m.pending[seq] = true, e.Pending
				if !e.Pending {
					delete(m.passed, seq)
				}
			}
			i++
		}
	}
}

const top = 60

func someRanges(t *rapid.T, name string) Ranges {
	return RangesOf(rapid.SliceOfN(rapid.Uint64Range(1, top), 1, 12).Draw(t, name)...)
}

func someEntry(t *rapid.T) Entry {
	e := Entry{
		Kind:   rapid.SampledFrom([]Kind{Accepted, Passed, Erased}).Draw(t, "kind"),
		At:     time.Unix(0, rapid.Int64().Draw(t, "at")).UTC(),
		Reason: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "reason"), By: "me",
		Ranges: someRanges(t, "positions"),
	}
	e.Pending = e.Kind == Erased && rapid.Bool().Draw(t, "pending")
	if n := e.Ranges.Len(); e.Kind == Passed || e.Kind == Erased && rapid.Bool().Draw(t, "printed") {
		for range n {
			e.Prints = append(e.Prints, printOf(rapid.Uint64Range(1, 3).Draw(t, "print")))
		}
	}
	return e
}

// Whatever is registered, settled and stored, in any order, a register says of
// each position what was said of it.
func TestRegisterAgainstSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, m := Register{Incarnation: "k3Xa"}, newPlain()
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				gone := someRanges(t, "gone")
				r = r.Settle(gone)
				for seq := range m.pending {
					if m.pending[seq] && gone.Covers(seq) {
						m.pending[seq] = false
						delete(m.passed, seq)
					}
				}
				for seq := range m.passed {
					if gone.Covers(seq) {
						delete(m.passed, seq)
					}
				}
			} else {
				e := someEntry(t)
				r = r.Add(e)
				m.add(e)
			}
			back, err := Decode(r.Append(nil))
			if err != nil || !reflect.DeepEqual(back, r) {
				t.Fatalf("stored %+v, read %+v, %v", r, back, err)
			}
		}
		x := r.Index()
		for seq := uint64(1); seq <= top+2; seq++ {
			if x.Covers(seq) != m.gone[seq] || x.Count(seq, seq) != x.Count(1, seq)-x.Count(1, seq-1) || x.Pending(seq, seq) == 1 != m.pending[seq] {
				t.Fatalf("%d: covers %v, pending %d; want %v, %v", seq, x.Covers(seq), x.Pending(seq, seq), m.gone[seq], m.pending[seq])
			}
			prints := map[timeframe.Fingerprint]bool{}
			for _, p := range x.Passed(seq) {
				prints[p] = true
			}
			if len(prints) != len(m.passed[seq]) || len(prints) > 0 && !reflect.DeepEqual(prints, m.passed[seq]) {
				t.Fatalf("%d: passes %v, want %v", seq, prints, m.passed[seq])
			}
			least := seq
			for least > 1 && m.gone[least-1] {
				least--
			}
			if x.Before(seq) != least || x.CoversAll(least, seq-1) != true || least > 1 && x.CoversAll(least-1, seq-1) {
				t.Fatalf("%d: covered from %d, want %d", seq, x.Before(seq), least)
			}
		}
		if n := x.Count(1, math.MaxUint64); n != uint64(len(m.gone)) {
			t.Fatalf("%d are covered, want %d", n, len(m.gone))
		}
	})
}

func TestRangesAgainstSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := someRanges(t, "a"), someRanges(t, "b")
		for name, c := range map[string]struct {
			got  Ranges
			want func(inA, inB bool) bool
		}{
			"union":   {a.Union(b), func(x, y bool) bool { return x || y }},
			"without": {a.Without(b), func(x, y bool) bool { return x && !y }},
			"within":  {a.Within(b), func(x, y bool) bool { return x && y }},
		} {
			for i, r := range c.got {
				if r.First > r.Last || i > 0 && c.got[i-1].Last+1 >= r.First {
					t.Fatalf("%s of %v and %v is %v", name, a, b, c.got)
				}
			}
			for seq := uint64(1); seq <= top; seq++ {
				if c.got.Covers(seq) != c.want(a.Covers(seq), b.Covers(seq)) {
					t.Fatalf("%s of %v and %v is %v: wrong at %d", name, a, b, c.got, seq)
				}
			}
		}
	})
}

// A register that is too large loses what nobody needs, and never a position
// that the stream would miss; then it is refused.
func TestFit(t *testing.T) {
	var r Register
	scattered := func(from, n uint64) (rs Ranges, prints []timeframe.Fingerprint) {
		for i := range n {
			rs, prints = append(rs, Range{from + 2*i, from + 2*i}), append(prints, printOf(i))
		}
		return rs, prints
	}
	// Positions 1 to 9 are trimmed, 10 to 19 erased at the beginning, and many
	// inside.
	r = r.Add(Entry{Kind: Erased, Reason: "early", Ranges: Ranges{{3, 4}}})
	r = r.Add(Entry{Kind: Erased, Reason: "beginning", At: time.Unix(5, 0).UTC(), Ranges: Ranges{{10, 19}}})
	for i := range uint64(3) {
		rs, prints := scattered(100+100_000*i, 20_000)
		r = r.Add(Entry{Kind: Erased, Reason: fmt.Sprint("inside ", i), Ranges: rs, Prints: prints})
	}
	small, err := r.Fit(20)
	if err != nil || len(small.Append(nil)) > MaxBytes {
		t.Fatalf("%d bytes, %v", len(small.Append(nil)), err)
	}
	x := small.Index()
	if x.Count(20, math.MaxUint64) != 60_000 || x.Before(20) != 10 || x.Covers(3) {
		t.Errorf("%d inside, the log begins at %d", x.Count(20, math.MaxUint64), x.Before(20))
	}
	if _, known := x.Erased(100); known {
		t.Error("the oldest fingerprints are still there")
	}
	if p, known := x.Erased(200_100); !known || p != printOf(0) {
		t.Error("the newest fingerprints are gone")
	}
	rs, _ := scattered(1_000_000, MaxBytes/2)
	small = small.Add(Entry{Kind: Accepted, Reason: "more", Ranges: rs})
	if _, err := small.Fit(20); !errors.Is(err, ErrFull) {
		t.Errorf("%d bytes fit: %v", len(small.Append(nil)), err)
	}
}

func golden() Register {
	r := Register{Incarnation: "k3Xa"}
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	r = r.Add(Entry{Kind: Accepted, At: at, Reason: "lost", By: "eve", Ranges: Ranges{{5, 7}, {9, 9}}})
	r = r.Add(Entry{Kind: Passed, At: at.Add(time.Second), Reason: "nats pub", By: "ops", Ranges: Ranges{{300, 300}}, Prints: []timeframe.Fingerprint{printOf(0x1234)}})
	return r.Add(Entry{Kind: Erased, Pending: true, At: at.Add(time.Minute), Reason: "Art. 17", By: "dpo", Ranges: Ranges{{12, 12}, {14, 14}}, Prints: []timeframe.Fingerprint{printOf(1), printOf(2)}})
}

// What isn't a register in the form that Append writes is refused.
func TestDecodeRefuses(t *testing.T) {
	good := golden().Append(nil)
	for n := range good {
		if _, err := Decode(good[:n]); err == nil {
			t.Errorf("%d of %d bytes are read", n, len(good))
		}
		bad := append([]byte(nil), good...)
		bad[n] ^= 1
		if _, err := Decode(bad); !errors.Is(err, ErrCorrupt) && n > 0 {
			t.Errorf("byte %d flipped: %v", n, err)
		}
	}
	newer := append([]byte(nil), good...)
	newer[0] = 2
	if v, ok := errors.AsType[*VersionError](func() error { _, err := Decode(newer); return err }()); !ok || v.Got != 2 {
		t.Error("version 2 isn't told from damage")
	}
	if _, err := Decode(make([]byte, MaxBytes+1)); err == nil {
		t.Error("a register beyond the bound is read")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(golden().Append(nil))
	f.Add(Register{}.Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > checksumSize { // past the checksum
			data = seal(data[:len(data)-checksumSize])
		}
		r, err := Decode(data)
		if err != nil {
			return
		}
		if got := r.Append(nil); string(got) != string(data) {
			t.Errorf("%x is read as what is written as %x", data, got)
		}
		r.Index().Count(1, math.MaxUint64)
	})
}

// The page's example is what the code writes and reads.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/format-register.md")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := example(t, string(page)), golden().Append(nil); string(got) != string(want) {
		t.Errorf("the page has\n%x, the code writes\n%x", got, want)
	}
}
