package snapshot

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestSweepRemovesGarbageOnly(t *testing.T) {
	s := opened(t, connect(t), noGrace)
	var a, b *Manifest
	for i := range uint64(15) { // old manifests fall out of the head, compaction replaces segments
		a = saved(t, s, "a", a, cut(i+1, member("x", put("k", fmt.Sprint("a", i)))))
		b = saved(t, s, "b", b, cut(i+1, member("x", put("k", fmt.Sprint("b", i)))))
	}
	if err := s.bucket.put(t.Context(), chunkKey(ID{7}), []byte("of a save that died")); err != nil {
		t.Fatal(err)
	}
	if err := s.bucket.put(t.Context(), "foreign.key", []byte("of a newer release")); err != nil {
		t.Fatal(err)
	}
	before := len(keys(t, s, ""))
	info, err := s.Sweep(t.Context(), 0)
	if err != nil || info.Manifests < 24 || info.Chunks < 10 {
		t.Fatalf("%+v, %v", info, err)
	}
	if after := len(keys(t, s, "")); after != before-info.Manifests-info.Chunks || len(keys(t, s, manifestPrefix)) != 6 {
		t.Fatalf("%d keys, %d after: %+v", before, after, info)
	}
	if len(keys(t, s, "foreign")) != 1 {
		t.Fatal("a key of unknown shape is gone")
	}
	for unit, want := range map[string]string{"a": "a14", "b": "b14"} {
		found, err := s.Candidates(t.Context(), unit)
		if err != nil || len(found) != 3 {
			t.Fatalf("%v, %v", found, err)
		}
		for _, c := range found {
			if _, err := load(t.Context(), s, c.Manifest, "x"); err != nil {
				t.Fatal(err)
			}
		}
		wantState(t, s, found[0].Manifest, "x", map[string]string{"k": want})
	}
	if info, err = s.Sweep(t.Context(), 0); err != nil || info.Chunks+info.Manifests != 0 {
		t.Fatalf("again: %+v, %v", info, err)
	}
}

func TestSweepSparesTheYoung(t *testing.T) {
	s := opened(t, connect(t))
	if err := s.bucket.put(t.Context(), chunkKey(ID{7}), []byte("of a save under way")); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Sweep(t.Context(), 0); err != nil || info.Chunks != 0 || info.Kept != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := s.Sweep(t.Context(), time.Second); !errors.Is(err, ErrInvalid) {
		t.Fatalf("a grace that saves don't count on: %v", err)
	}
}

// A sweep at the worst moment of a save: its chunks are there and no head
// refers to them. They have just been put, so within the grace nothing happens.
// And where the same content was garbage from before, it is put again, so that
// a removal at the revision that the sweep has seen leaves it alone.
func TestSweepDuringASave(t *testing.T) {
	s := opened(t, connect(t), noGrace)
	c := cut(1, member("a", put("k", "v")))
	m := saved(t, s, "u", nil, c)
	if err := s.Delete(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	a, _ := m.Member("a")
	key := chunkKey(a.Segments[0].Chunks[0])
	seen, err := s.bucket.leader(t.Context(), key) // the sweep lists it: garbage
	if err != nil {
		t.Fatal(err)
	}
	removing := newStore(s.opts, &between{bucket: s.bucket, run: func() {
		if err := s.bucket.drop(t.Context(), key, seen.revision); err != nil {
			t.Error(err)
		}
	}})
	m = saved(t, removing, "u", nil, c)
	wantState(t, s, m, "a", map[string]string{"k": "v"})
}

func TestSweepKeepsTheManifestsOfABrokenHead(t *testing.T) {
	s := opened(t, connect(t), noGrace)
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	damage(t, s, headKey("u"), flip)
	if info, err := s.Sweep(t.Context(), 0); err != nil || info.Chunks+info.Manifests != 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	wantState(t, s, m, "a", map[string]string{"k": "v"})
}

// A retry doesn't write again what the failed attempt has just written.
func TestRetrySkipsChunks(t *testing.T) {
	s := opened(t, connect(t), func(o *Options) { o.ChunkSize = minChunkSize })
	f := &faulty{bucket: s.bucket, fail: 12}
	broken := newStore(s.opts, f)
	c := cut(1, member("a", put("k", string(noise(9500, 1)))))
	if _, err := broken.Save(t.Context(), "u", nil, c); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	m := saved(t, broken, "u", nil, c)
	stats := broken.Stats()
	if stats.ChunksSkipped != 10 || stats.ChunksWritten != 10 {
		t.Fatalf("%+v", stats)
	}
	wantState(t, s, m, "a", map[string]string{"k": string(noise(9500, 1))})
}
