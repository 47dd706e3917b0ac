package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// The definition of the digest must never change: manifests hold it.
func TestDigestIsPinned(t *testing.T) {
	d := DigestOf([]byte("key"), []byte("value")).Plus(DigestOf(nil, nil))
	const want = "536c8f88e3f185d68e3690f27520e34e06acb0ae9e6b12ed5882654011295f3e" // computed by another program
	if got := d.String(); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if back, ok := DigestFrom(d.Bytes()); !ok || back != d {
		t.Errorf("%v from %v", back, d)
	}
	if _, ok := DigestFrom(d.Bytes()[:31]); ok {
		t.Error("a shorter digest is taken for one of ours")
	}
	if DigestOf([]byte("a"), []byte("bc")) == DigestOf([]byte("ab"), []byte("c")) {
		t.Error("it doesn't matter where the key ends")
	}
}

// A large entry goes another way to the same definition.
func TestDigestOfLargeEntries(t *testing.T) {
	for _, size := range []int{400, 501, 502, 503, 600, 5000} {
		small, large := make([]byte, size), make([]byte, size)
		large[size-1] = 1
		if DigestOf([]byte("k"), small) == DigestOf([]byte("k"), large) || DigestOf(small, nil) == DigestOf(large, nil) {
			t.Errorf("the last of %d bytes doesn't matter", size)
		}
	}
}

// Kept up by differences, in any order, it is the digest of the final state.
func TestDigestIsCommutative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := map[string][]byte{}
		var kept Digest
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			key := rapid.SampledFrom([]string{"", "a", "b", "ab"}).Draw(t, "key")
			if old, ok := state[key]; ok {
				kept = kept.Minus(DigestOf([]byte(key), old))
				delete(state, key)
			}
			if rapid.Bool().Draw(t, "put") {
				state[key] = rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "value")
				kept = DigestOf([]byte(key), state[key]).Plus(kept)
			}
		}
		var whole Digest
		for key, value := range state {
			whole = whole.Plus(DigestOf([]byte(key), value))
		}
		if kept != whole {
			t.Fatalf("kept up %s, made anew %s", kept, whole)
		}
	})
}

func digestOf(changes ...Change) (d Digest) {
	for _, c := range changes {
		d = d.Plus(DigestOf(c.Key, c.Value))
	}
	return d
}

// R3.4, T3.7: a state that isn't the one that the manifest says is refused,
// whichever bit of the digest differs, though every chunk is whole.
func TestLoadComparesDigests(t *testing.T) {
	s := opened(t, connect(t))
	list := many(3000, "key-", "value")
	right := digestOf(list...).Bytes()
	for name, c := range map[string]struct {
		digest []byte
		fails  bool
	}{
		"right": {right, false}, "unknown": {nil, false}, "of an unknown algorithm": {right[:20], false},
		"first bit": {flipped(right, 0), true}, "last bit": {flipped(right, 255), true},
	} {
		t.Run(name, func(t *testing.T) {
			m := member("a", list...)
			m.Digest = c.digest
			manifest := saved(t, s, "u-"+fmt.Sprint(len(name)), nil, cut(1, m))
			_, err := load(t.Context(), s, manifest, "a")
			if where, ok := errors.AsType[*CorruptError](err); ok != c.fails || ok && (where.Member != "a" || where.Unit != manifest.Unit) {
				t.Errorf("load: %v", err)
			}
			if err != nil {
				t.Log(err)
			}
		})
	}
}

func flipped(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// What Load yields says of each entry what it adds to the digest, over
// tombstones and compactions too; so do both ends of each segment.
func TestDigestsOfAChain(t *testing.T) {
	s := opened(t, connect(t))
	var m *Manifest
	want := map[string]Change{}
	for i := range 20 {
		changes := []Change{put(fmt.Sprintf("k%02d", i%7), fmt.Sprint(i))}
		if i%5 == 4 {
			changes = []Change{del(fmt.Sprintf("k%02d", i%7))}
		}
		for _, c := range changes {
			delete(want, string(c.Key))
			if !c.Deleted {
				want[string(c.Key)] = c
			}
		}
		a := member("a", changes...)
		var d Digest
		for _, c := range want {
			d = d.Plus(digestOf(c))
		}
		a.Digest = d.Bytes()
		m = saved(t, s, "u", m, cut(uint64(i+1), a))
		var sum Digest
		for c, err := range s.Load(t.Context(), m, "a") {
			if err != nil {
				t.Fatalf("cut %d: %v", i+1, err)
			}
			sum = sum.Plus(c.Digest)
		}
		if sum != d {
			t.Errorf("cut %d: entries have %s together, want %s", i+1, sum, d)
		}
		state, _ := m.Member("a")
		last := state.Segments[len(state.Segments)-1]
		if !bytes.Equal(last.After, state.Digest) || !bytes.Equal(state.Digest, a.Digest) {
			t.Errorf("cut %d: segment ends in %x, member in %x", i+1, last.After, state.Digest)
		}
		for j, g := range state.Segments[1:] {
			if !bytes.Equal(g.Before, state.Segments[j].After) {
				t.Errorf("cut %d, segment %d: begins at %x, the one before ends at %x", i+1, j+1, g.Before, state.Segments[j].After)
			}
		}
	}
	if s.Stats().Compactions == 0 {
		t.Error("nothing was compacted")
	}
}

func BenchmarkDigest(b *testing.B) {
	for _, size := range []int{20, 200} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			key, value := []byte("acct-000000"), make([]byte, size)
			var d Digest
			b.ReportAllocs()
			for b.Loop() {
				d = d.Plus(DigestOf(key, value))
			}
		})
	}
}
