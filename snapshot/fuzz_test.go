package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

// typed reports whether callers can tell what kind of problem it is.
func typed(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownFormat) }

// FuzzChunks reads hostile bytes as two chunks of a segment: what the hash
// would have kept out.
func FuzzChunks(f *testing.F) {
	s, chunks := packed(f, many(300, "key-", "value"), minChunkSize)
	f.Add(chunks[0], chunks[1], s.Entries, s.Raw)
	s, chunks = packed(f, []Change{put("a", "b"), del("c")}, minChunkSize)
	f.Add(chunks[0], []byte{}, s.Entries, s.Raw)
	f.Fuzz(func(t *testing.T, one, two []byte, entries, raw uint64) {
		s := Segment{Entries: entries, Raw: min(raw, 16<<20)}
		// What a manifest says is believed up to ImportOptions.MaxBytes.
		var list []Change
		var err error
		fuzzmem.Check(t, len(one)+len(two), 200, 8*int(s.Raw)+(2<<20), func() {
			list, err = collect(merge([]*cursor{reading(s, [][]byte{one, two}, 0)}, true))
		})
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		for i := 1; i < len(list); i++ {
			if bytes.Compare(list[i-1].Key, list[i].Key) >= 0 {
				t.Fatal("keys don't ascend")
			}
		}
		if uint64(len(list)) != entries {
			t.Fatalf("%d entries, said %d", len(list), entries)
		}
	})
}

func FuzzManifest(f *testing.F) {
	data, err := sampleManifest().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var m *Manifest
		var err error
		fuzzmem.Check(t, len(data), 200, 1<<20, func() { m, err = decodeManifest(data) })
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		again, err := m.encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x became %x, %v", data, again, err)
		}
		for _, s := range m.Members {
			if s.Raw() > uint64(len(s.Segments))*maxSegment {
				t.Fatal("sizes out of range")
			}
		}
	})
}

// FuzzHead adds the checksum that hostile bytes would have.
func FuzzHead(f *testing.F) {
	data := head{unit: "bank", epoch: 3, ids: []ID{{1}, {2}}}.encode()
	f.Add(data[:len(data)-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := seal(bytes.Clone(body))
		var h head
		var err error
		fuzzmem.Check(t, len(data), 100, 1<<20, func() { h, err = decodeHead(data) })
		if err != nil {
			if !typed(err) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if !bytes.Equal(h.encode(), data) {
			t.Fatalf("%x became %x", data, h.encode())
		}
	})
}
