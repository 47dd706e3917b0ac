package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// noise returns bytes that don't compress.
func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 9))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// packed writes changes as a segment in memory.
func packed(t interface{ Fatal(...any) }, changes []Change, chunkSize int) (Segment, [][]byte) {
	var chunks [][]byte
	w, err := writeSegment(all(changes), chunkSize, func(c []byte) error {
		if len(c) > chunkSize {
			return fmt.Errorf("a chunk of %d bytes, %d are allowed", len(c), chunkSize)
		}
		chunks = append(chunks, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return Segment{Entries: w.entries, Raw: w.rawBytes, Bytes: w.bytes}, chunks
}

func all(list []Change) iter.Seq2[Change, error] { return changes(list, true) }

// reading returns a cursor over chunks in memory.
func reading(s Segment, chunks [][]byte, age int) *cursor {
	return &cursor{expect: s, age: age, next: func() ([]byte, error) {
		if len(chunks) == 0 {
			return nil, nil
		}
		c := chunks[0]
		chunks = chunks[1:]
		return c, nil
	}}
}

func collect(seq iter.Seq2[Change, error]) (list []Change, err error) {
	for c, err := range seq {
		if err != nil {
			return list, err
		}
		list = append(list, Change{Key: bytes.Clone(c.Key), Value: bytes.Clone(c.Value), Deleted: c.Deleted})
	}
	return list, nil
}

func equalChange(a, b Change) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Deleted == b.Deleted
}

func TestSegmentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "n")
		unique := map[string]Change{}
		for range n {
			key := rapid.StringMatching(`[ab]{0,6}[0-9]{0,2}`).Draw(t, "key")
			c := Change{Key: []byte(key), Deleted: rapid.Bool().Draw(t, "deleted")}
			if !c.Deleted {
				c.Value = noise(rapid.IntRange(0, 3000).Draw(t, "size"), uint64(n))
			}
			unique[key] = c
		}
		list := make([]Change, 0, len(unique))
		for _, c := range unique {
			list = append(list, c)
		}
		slices.SortFunc(list, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
		s, chunks := packed(t, list, rapid.SampledFrom([]int{1 << 10, 5000, 512 << 10}).Draw(t, "chunk"))
		got, err := collect(merge([]*cursor{reading(s, chunks, 0)}, true))
		if err != nil || !slices.EqualFunc(got, list, equalChange) {
			t.Fatalf("%d changes came back as %d: %v", len(list), len(got), err)
		}
	})
}

func TestSegmentRefusesWhatTheManifestDoesNotSay(t *testing.T) {
	list := many(5000, "key-", "value")
	s, chunks := packed(t, list, 8<<10)
	if len(chunks) < 4 {
		t.Fatalf("%d chunks", len(chunks))
	}
	more, fewer, longer := s, s, s
	more.Entries++
	fewer.Raw--
	longer.Raw++
	cases := map[string]*cursor{
		"a chunk less":     reading(s, chunks[:len(chunks)-1], 3),
		"a chunk twice":    reading(s, slices.Insert(slices.Clone(chunks), 1, chunks[0]), 3),
		"swapped":          reading(s, append([][]byte{chunks[1], chunks[0]}, chunks[2:]...), 3),
		"another count":    reading(more, chunks, 3),
		"fewer bytes":      reading(fewer, chunks, 3),
		"more bytes":       reading(longer, chunks, 3),
		"no chunk":         reading(s, nil, 3),
		"not a chunk":      reading(s, [][]byte{[]byte("TMX\x01")}, 3),
		"a chunk cut":      reading(s, [][]byte{chunks[0][:2000]}, 3),
		"nothing but text": reading(s, [][]byte{bytes.Repeat([]byte("x"), 99)}, 3),
	}
	for name, c := range cases {
		_, err := collect(merge([]*cursor{c}, true))
		e, ok := errors.AsType[*CorruptError](err)
		if !ok || e.Segment != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := slices.Clone(chunks[0])
	other[3] = 2
	_, err := collect(merge([]*cursor{reading(s, [][]byte{other}, 0)}, true))
	if !errors.Is(err, ErrUnknownFormat) {
		t.Errorf("a newer version: %v", err)
	}
}

func TestPlan(t *testing.T) {
	ones := func(n int, before ...uint64) []uint64 {
		return append(before, slices.Repeat([]uint64{1}, n)...)
	}
	tests := []struct {
		sizes []uint64
		want  int
	}{
		{nil, 0},
		{ones(1), 1},
		{ones(8), 8},
		{ones(9), 0},
		{ones(9, 100), 1},
		{ones(9, 35), 0},
		{ones(8, 100), 9},
		{ones(9, 1000, 100), 2},
		{ones(9, 1, 2, 1000), 3},
	}
	for _, test := range tests {
		if got := plan(test.sizes); got != test.want {
			t.Errorf("plan(%v) = %d, want %d", test.sizes, got, test.want)
		}
	}
}

// Ten thousand saves of one size: few segments at any time, and each byte is
// rewritten a few times only.
func TestPlanIsAmortised(t *testing.T) {
	var sizes []uint64
	var written, most uint64
	const saves = 10_000
	for range saves {
		sizes = append(sizes, 1)
		start := plan(sizes)
		if start < len(sizes) {
			var sum uint64
			for _, s := range sizes[start:] {
				sum += s
			}
			sizes = append(sizes[:start], sum)
			written += sum
		}
		most = max(most, uint64(len(sizes)))
	}
	t.Logf("at most %d segments; %.1f bytes rewritten per byte saved", most, float64(written)/saves)
	if most > 8+7 || written > 12*saves {
		t.Errorf("%d segments, %d rewritten", most, written)
	}
}
