package snapshot

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/*.hex; existing formats must not change")

// golden returns the bytes of testdata/<name>.hex; with -update it writes them.
func golden(t *testing.T, name string, now []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", name+".hex")
	if *update {
		var b strings.Builder
		for line := range slices.Chunk(now, 32) {
			b.WriteString(hex.EncodeToString(line) + "\n")
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sampleManifest has every field set, and absent ones too.
func sampleManifest() *Manifest {
	digest := bytes.Repeat([]byte{0xd1}, 16)
	first := Segment{To: at(3).At, Entries: 2, Bytes: 30, Raw: 300, After: digest, Chunks: []ID{{1}, {2}}}
	second := Segment{From: at(3).At, To: at(5).At, Entries: 1, Bytes: 20, Raw: 12, Before: digest, Chunks: []ID{{3}}}
	return &Manifest{
		Unit: "bank", Prev: ID{0xaa, 31: 0xbb}, Created: time.Unix(1_700_000_000, 5).UTC(), Epoch: 7, Tag: at(6),
		Members: []MemberState{
			{Name: "balances", Version: 300, Meaning: "m1", Codec: "msgpack", At: at(5).At, Segments: []Segment{first, second}},
			{Name: "totals", At: at(6).At, Digest: digest},
		},
	}
}

func TestManifestFormat(t *testing.T) {
	m := sampleManifest()
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "manifest-v1", data)
	if !bytes.Equal(data, want) {
		t.Errorf("the bytes are\n%x, want\n%x", data, want)
	}
	got, err := decodeManifest(want)
	if err != nil {
		t.Fatal(err)
	}
	m.ID = idOf(want)
	if !reflect.DeepEqual(got, m) {
		t.Errorf("decoded %+v, want %+v", got, m)
	}
	for i := range want {
		if _, err := decodeManifest(want[:i]); err == nil {
			t.Errorf("the first %d bytes are taken for a manifest", i)
		}
	}
	if _, err := decodeManifest(append(want, 0)); err == nil {
		t.Error("a byte too many is taken")
	}
}

func TestHeadFormat(t *testing.T) {
	h := head{unit: "bank", epoch: 300, ids: []ID{{2}, {1}}}
	want := golden(t, "head-v1", h.encode())
	if !bytes.Equal(h.encode(), want) {
		t.Errorf("the bytes are\n%x, want\n%x", h.encode(), want)
	}
	got, err := decodeHead(want)
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("decoded %+v, %v", got, err)
	}
	for i := range want {
		for bit := range 8 {
			flipped := bytes.Clone(want)
			flipped[i] ^= 1 << bit
			if _, err := decodeHead(flipped); err == nil {
				t.Errorf("bit %d of byte %d may be flipped", bit, i)
			}
		}
	}
}

// The stored form must come out the same for ever. The compressed one only has
// to stay readable: the compressor may get better.
func TestChunkFormat(t *testing.T) {
	small := []Change{put("apple", "red"), put("apricot", ""), del("banana"), put("band", "x")}
	large := append(many(200, "key-", "value"), del("zzz"))
	for name, list := range map[string][]Change{"chunk-stored-v1": small, "chunk-packed-v1": large} {
		s, chunks := packed(t, list, 64<<10)
		if len(chunks) != 1 {
			t.Fatalf("%d chunks", len(chunks))
		}
		want := golden(t, name, chunks[0])
		if name == "chunk-stored-v1" && !bytes.Equal(chunks[0], want) {
			t.Errorf("the bytes are\n%x, want\n%x", chunks[0], want)
		}
		got, err := collect(merge([]*cursor{reading(s, [][]byte{want}, 0)}, true))
		if err != nil || !slices.EqualFunc(got, list, equalChange) {
			t.Errorf("%s: %d changes, %v", name, len(got), err)
		}
	}
}
