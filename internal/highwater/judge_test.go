package highwater

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Each way in which a log may stand to its mark, which goes to 10 with anchors
// at 10, 6 and 2.
func TestJudgements(t *testing.T) {
	at := func(seq uint64) timeframe.Fingerprint { return timeframe.Fingerprint{0: byte(seq), 1: 1} }
	var m Mark
	for _, seq := range []uint64{2, 6, 10} {
		m = m.Advance("acc", "inc", timeframe.Anchor{Seq: seq, Print: at(seq)}, seq)
	}
	type prints = map[uint64]timeframe.Fingerprint
	other := timeframe.Fingerprint{9, 9}
	for name, c := range map[string]struct {
		acked, first, last uint64
		prints             prints
		want               Judgement
	}{
		"as far":                       {10, 1, 10, prints{10: at(10)}, Judgement{Verdict: Holds}},
		"further":                      {10, 1, 99, prints{10: at(10)}, Judgement{Verdict: Holds}},
		"all that is known is there":   {12, 1, 12, prints{10: at(10)}, Judgement{Verdict: Holds}},
		"acknowledged ones are gone":   {12, 1, 11, prints{10: at(10)}, Judgement{Verdict: Holds, Short: 1}},
		"trimmed up to it":             {10, 10, 20, prints{10: at(10)}, Judgement{Verdict: Holds}},
		"it isn't to be had":           {10, 10, 20, prints{}, Judgement{Verdict: Unread}},
		"trimmed beyond it":            {10, 11, 20, prints{}, Judgement{Verdict: Holds}},
		"the last one is gone":         {10, 1, 9, prints{6: at(6), 2: at(2)}, Judgement{Verdict: Lost, From: 10, To: 10}},
		"shorter":                      {10, 1, 8, prints{6: at(6), 2: at(2)}, Judgement{Verdict: Lost, From: 9, To: 10}},
		"shorter than an anchor":       {10, 1, 4, prints{2: at(2)}, Judgement{Verdict: Lost, From: 5, To: 10}},
		"shorter, nothing to be had":   {10, 1, 8, prints{}, Judgement{Verdict: Lost, From: 9, To: 10}},
		"shorter, with others":         {10, 1, 8, prints{6: other, 2: at(2)}, Judgement{Verdict: Lost, From: 3, To: 10}},
		"shorter, with others only":    {10, 1, 8, prints{6: other, 2: other}, Judgement{Verdict: Lost, From: 1, To: 10}},
		"as far, with others":          {10, 1, 10, prints{10: other, 6: at(6), 2: at(2)}, Judgement{Verdict: Lost, From: 7, To: 10}},
		"further, with others":         {10, 1, 30, prints{10: other, 6: other, 2: at(2)}, Judgement{Verdict: Lost, From: 3, To: 10}},
		"emptied":                      {10, 11, 10, prints{}, Judgement{Verdict: Lost, From: 10, To: 10}},
		"emptied, further than it was": {10, 31, 30, prints{}, Judgement{Verdict: Lost, From: 10, To: 10}},
	} {
		m.Acked = c.acked
		o := timeframe.Observed{Exists: true, Incarnation: "inc", First: c.first, Last: c.last, Prints: c.prints}
		got := m.Judge(o)
		if got.Reason == "" && got.Verdict != Holds {
			t.Errorf("%s: no reason", name)
		}
		if got.Reason = ""; got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		o.Exists = false // whatever it says beside
		if got := m.Judge(o); got.Verdict != Foreign {
			t.Errorf("%s, which isn't there: %+v", name, got)
		}
	}
	var none Mark
	none.Lineage.Incarnation = "inc"
	if got := none.Judge(timeframe.Observed{Exists: true, Incarnation: "inc", First: 1}); got.Verdict == Lost {
		t.Errorf("a mark at the start, and an empty log: %+v", got)
	}
	if m = m.Accept(6, timeframe.Anchor{Seq: 8, Print: other}); !slices.Equal(m.Seqs(), []uint64{8, 6, 2}) || m.Acked != 8 {
		t.Errorf("accepted from 7 on, with another message at 8: %+v", m)
	}
	if m = m.Accept(6, timeframe.Anchor{}); !slices.Equal(m.Seqs(), []uint64{6, 2}) || m.Acked != 6 {
		t.Errorf("accepted without a last message: %+v", m)
	}
	same := m.Advance("acc", "inc", timeframe.Anchor{Seq: 6, Print: other}, 6)
	if !same.Lineage.Equal(m.Lineage) {
		t.Errorf("a mark that is as far already has changed: %+v", same)
	}
}

// What is whole by its checksum, and no mark of this release, is refused with
// the right class.
func TestDecodeRefuses(t *testing.T) {
	mark := func(seq, acked uint64) Mark {
		return Mark{Feed: "acc", Acked: acked, Lineage: timeframe.Lineage{Incarnation: "inc", Anchors: []timeframe.Anchor{{Seq: seq, Print: timeframe.Fingerprint{1}}}}}
	}
	good, err := mark(9, 9).Encode()
	if err != nil {
		t.Fatal(err)
	}
	body := good[:len(good)-32]
	head, tag := len(magic)+1, body[len(magic)+2:] // an acknowledged sequence of one byte
	with := func(acked ...byte) []byte { return slices.Concat(body[:head], acked, tag) }
	if _, err := Decode(sealed(with(9))); err != nil {
		t.Fatalf("the parts don't make the whole: %v", err)
	}
	two, err := timeframe.FromMap(map[string]uint64{"acc": 1, "other": 1})
	if err != nil {
		t.Fatal(err)
	}
	lineage := mark(1, 1).Lineage
	ofTwo, err := timeframe.Tag{At: two, Lineages: map[string]timeframe.Lineage{"acc": lineage, "other": lineage}}.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	newer := slices.Clone(body)
	newer[len(magic)]++
	for name, c := range map[string]struct {
		body  []byte
		class error
	}{
		"other bytes at its start":    {slices.Concat([]byte("X"), body[1:]), ErrDamaged},
		"a newer version":             {newer, ErrVersion},
		"nothing but its start":       {body[:head], ErrDamaged},
		"less":                        {body[:head-1], ErrDamaged},
		"a number without an end":     {with(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80), ErrDamaged},
		"a number in too many bytes":  {with(0x89, 0x00), ErrDamaged},
		"acknowledged less than sure": {with(8), ErrDamaged},
		"two feeds":                   {slices.Concat(body[:head], binary.AppendUvarint(nil, 9), ofTwo), ErrDamaged},
		"more behind its end":         {append(slices.Clone(body), 0), ErrDamaged},
	} {
		if m, err := Decode(sealed(c.body)); !errors.Is(err, c.class) {
			t.Errorf("%s: %+v, %v, want %v", name, m, err, c.class)
		}
	}
	if _, err := Decode(sealed(make([]byte, MaxSize))); !errors.Is(err, ErrDamaged) {
		t.Errorf("too long: %v", err)
	}
}
