package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"testing"
)

// T0.9, T3.10: the newest snapshot is damaged somehow; an older one is offered,
// with the reason, and saving goes on.
func TestDamageFallsBackToAnOlderOne(t *testing.T) {
	nc := connect(t)
	gone := func([]byte) []byte { return nil }
	ways := map[string]struct {
		change func([]byte) []byte
		class  error
	}{
		"flipped": {flip, ErrCorrupt}, "version": {newer, ErrCorrupt}, "shortened": {shorten, ErrCorrupt}, "emptied": {gone, ErrCorrupt},
	}
	for name, way := range ways {
		for _, what := range []string{"chunk", "manifest", "head"} {
			t.Run(what+"/"+name, func(t *testing.T) { testDamage(t, opened(t, nc), what, way.change, way.class) })
		}
	}
}

func testDamage(t *testing.T, s *Store, what string, change func([]byte) []byte, class error) {
	old := map[string]string{"k": "v", "l": "w"}
	m1 := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"), put("l", "w"))))
	m2 := saved(t, s, "u", m1, cut(2, member("a", put("k", "v2"))))
	a, _ := m2.Member("a")
	switch what {
	case "chunk":
		damage(t, s, chunkKey(a.Segments[1].Chunks[0]), change)
	case "manifest":
		damage(t, s, manifestKey("u", m2.ID), change)
	case "head":
		damage(t, s, headKey("u"), change)
	}
	m, state, reasons := restored(t, s, "u")
	if what == "head" { // nothing else is lost: the newest is found without it
		old, m1 = map[string]string{"k": "v2", "l": "w"}, m2
	}
	if m == nil || m.ID != m1.ID || !maps.Equal(state, old) {
		t.Fatalf("restored %v %v", m, state)
	}
	if len(reasons) != 1 || !errors.Is(reasons[0], class) {
		t.Fatalf("reasons: %v", reasons)
	}
	t.Log(reasons[0])
	c := cut(3, member("a", put("n", "n")))
	_, err := s.Save(t.Context(), "u", m, c)
	if stale, ok := errors.AsType[*StaleBaseError](err); ok && what != "head" {
		c.Replaces = stale.Head
		_, err = s.Save(t.Context(), "u", m, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, state, reasons = restored(t, s, "u")
	old["n"] = "n"
	if !maps.Equal(state, old) || len(reasons) != 0 {
		t.Fatalf("afterwards: %v, %v", state, reasons)
	}
}

// restored takes the first candidate that loads, as a runtime does.
func restored(t *testing.T, s *Store, unit string) (*Manifest, map[string]string, []error) {
	t.Helper()
	found, err := s.Candidates(t.Context(), unit)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []error
	for _, c := range found {
		if c.Problem != nil {
			reasons = append(reasons, c.Problem)
			continue
		}
		state, err := load(t.Context(), s, c.Manifest, "a")
		if err == nil {
			return c.Manifest, state, reasons
		}
		reasons = append(reasons, err)
	}
	return nil, nil, reasons
}

func TestWhereTheDamageIs(t *testing.T) {
	s := opened(t, connect(t), func(o *Options) { o.ChunkSize = minChunkSize })
	m := saved(t, s, "u", nil, cut(1, member("x"), member("a", put("a", "a"), put("k", string(noise(5000, 1))))))
	m = saved(t, s, "u", m, cut(2, member("x"), member("a", put("b", string(noise(5000, 2))))))
	a, _ := m.Member("a")
	key := chunkKey(a.Segments[1].Chunks[3])
	e, err := s.bucket.leader(t.Context(), key)
	if err == nil {
		err = s.bucket.drop(t.Context(), key, e.revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = load(t.Context(), s, m, "a")
	where, ok := errors.AsType[*CorruptError](err)
	if !ok || where.Unit != "u" || where.Manifest != m.ID || where.Member != "a" || where.Segment != 1 || where.Chunk != 3 {
		t.Fatalf("got %+v", err)
	}
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrCorrupt) {
		t.Fatalf("classes of %v", err)
	}
	t.Log(err)
}

// A full save heals a chunk that was damaged in place: it trusts nothing that
// the bucket claims to hold.
func TestResetHeals(t *testing.T) {
	s := opened(t, connect(t))
	state := map[string]string{"k": "v"}
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	a, _ := m.Member("a")
	damage(t, s, chunkKey(a.Segments[0].Chunks[0]), flip)
	full := member("a", put("k", "v"))
	full.Reset = true
	m = saved(t, s, "u", m, cut(2, full))
	wantState(t, s, m, "a", state)
}

// What a newer release wrote is neither read, nor overwritten, nor swept.
func TestNewerFormats(t *testing.T) {
	nc := connect(t)
	t.Run("head", func(t *testing.T) {
		s := opened(t, nc, noGrace)
		m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
		damage(t, s, headKey("u"), func(b []byte) []byte { return seal(newer(b[:len(b)-sha256.Size])) })
		found, problems := newest(t, s, "u")
		if found == nil || len(problems) != 1 || !errors.Is(problems[0], ErrUnknownFormat) {
			t.Fatalf("candidates: %v, %v", found, problems)
		}
		if _, err := s.Save(t.Context(), "u", m, cut(2, member("a"))); !errors.Is(err, ErrUnknownFormat) {
			t.Fatalf("save: %v", err)
		}
		if _, err := s.Sweep(t.Context(), 0); !errors.Is(err, ErrUnknownFormat) {
			t.Fatalf("sweep: %v", err)
		}
	})
	t.Run("manifest", func(t *testing.T) {
		s := opened(t, nc, noGrace)
		data := append(appendMagic(nil, manifestMagic), "whatever"...)
		id := idOf(newer(data))
		if err := s.bucket.put(t.Context(), manifestKey("u", id), data); err != nil {
			t.Fatal(err)
		}
		if _, err := s.moveHead(t.Context(), headState{head: head{unit: "u"}}, id); err != nil {
			t.Fatal(err)
		}
		if _, problems := newest(t, s, "u"); len(problems) != 1 || !errors.Is(problems[0], ErrUnknownFormat) {
			t.Fatalf("problems: %v", problems)
		}
		if _, err := s.Sweep(t.Context(), 0); !errors.Is(err, ErrUnknownFormat) {
			t.Fatalf("sweep: %v", err)
		}
	})
}

func TestHeadThatPointsNowhere(t *testing.T) {
	s := opened(t, connect(t))
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	h, _, err := headOf(t, s, "u")
	if err == nil {
		h.ids = nil
		_, err = s.moveHead(t.Context(), h, ID{1})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, reasons := newest(t, s, "u")
	if got == nil || got.ID != m.ID || len(reasons) != 1 || !errors.Is(reasons[0], ErrNotFound) {
		t.Fatal(fmt.Sprint(got, reasons))
	}
}

// A head that is gone doesn't stop saves for ever: the next one puts it back,
// with what the bucket still holds.
func TestSaveAfterALostHead(t *testing.T) {
	s := opened(t, connect(t))
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	e, err := s.bucket.leader(t.Context(), headKey("u"))
	if err == nil {
		err = s.bucket.drop(t.Context(), headKey("u"), e.revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	found, problems := newest(t, s, "u")
	if found == nil || found.ID != m.ID || len(problems) != 1 || !errors.Is(problems[0], ErrNotFound) {
		t.Fatalf("found %v, %v", found, problems)
	}
	saved(t, s, "u", found, cut(2, member("a", put("l", "w"))))
	_, state, reasons := restored(t, s, "u")
	if !maps.Equal(state, map[string]string{"k": "v", "l": "w"}) || len(reasons) != 0 {
		t.Fatalf("afterwards: %v, %v", state, reasons)
	}
	// After a Delete nothing is left to build on.
	if err := s.Delete(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), "u", found, cut(3, member("a"))); !errors.Is(err, ErrStaleBase) {
		t.Fatalf("on a deleted unit: %v", err)
	}
}

// Nothing that the head names can be used: a manifest that was found beside it
// is built upon, and kept from the next sweep though no head named it.
func TestSaveOnAnUnlistedBase(t *testing.T) {
	s := opened(t, connect(t), noGrace, func(o *Options) { o.Keep = 2 })
	first := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	m := first
	for i := range 3 {
		m = saved(t, s, "u", m, cut(uint64(i+2), member("a", put("l", fmt.Sprint(i)))))
	}
	h, _, err := headOf(t, s, "u")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range h.ids {
		damage(t, s, manifestKey("u", id), flip)
	}
	found, problems := newest(t, s, "u")
	if found == nil || len(problems) == 0 {
		t.Fatalf("found %v, %v", found, problems)
	}
	state := stateOf(t, s, found)
	c := cut(9, member("a", put("new", "n")))
	if _, err := s.Save(t.Context(), "u", found, c); !errors.Is(err, ErrStaleBase) {
		t.Fatalf("without Replaces: %v", err)
	}
	c.Replaces = m.ID
	next := saved(t, s, "u", found, c)
	if _, err := s.Sweep(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	state["new"] = "n"
	wantState(t, s, next, "a", state)
	delete(state, "new")
	wantState(t, s, found, "a", state) // the one before is the fallback
	// What it would stand on is gone: an error, and not a manifest of nothing.
	a, _ := next.Member("a")
	for _, g := range a.Segments {
		damage(t, s, chunkKey(g.Chunks[0]), flip)
	}
	h, _, err = headOf(t, s, "u")
	if err == nil {
		h.ids = nil
		_, err = s.moveHead(t.Context(), h, ID{1})
	}
	if err != nil {
		t.Fatal(err)
	}
	c = cut(10, member("a"))
	c.Replaces = ID{1}
	if _, err := s.Save(t.Context(), "u", next, c); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("on damaged chunks: %v", err)
	}
}

func stateOf(t *testing.T, s *Store, m *Manifest) map[string]string {
	t.Helper()
	state, err := load(t.Context(), s, m, "a")
	if err != nil {
		t.Fatal(err)
	}
	return state
}
