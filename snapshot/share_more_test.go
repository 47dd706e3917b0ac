package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
	"pgregory.net/rapid"
)

// R3.17, T3.16: check-only tells the range and the bytes, and changes nothing.
func TestImportCheckOnly(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	own := publish(opened(t, nc))
	own.save(t, 100, put("big", string(noise(20<<10, 1))), put("k1", "1"), put("k2", "2"))
	before := everything(t, own.s)
	r := imported(t, own.s, p.s.Peer(), ImportOptions{CheckOnly: true})
	segments := p.base.Members[0].Segments
	if r.From.String() != at(100).At.String() || r.To.String() != at(300).At.String() || r.Applied != 2 || r.UpToDate ||
		r.Bytes != segments[1].Bytes+segments[2].Bytes || r.Chunks != 0 || !r.Manifest.IsZero() || r.Source != p.base.ID {
		t.Fatalf("%+v", r)
	}
	if !maps.Equal(everything(t, own.s), before) {
		t.Fatal("looking has changed something")
	}
}

// R3.8, T3.13: a manifest whose batches aren't sorted, overlap or leave a gap
// is refused. (From isn't stored: each begins where the one before ends, so a
// gap can't be said; what is left is one that ends before it begins.)
func TestImportOfUnsortedBatches(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	bad := *p.base
	bad.Members = []MemberState{p.base.Members[0]}
	segments := bad.Members[0].Segments
	bad.Members[0].Segments = []Segment{segments[1], segments[0], segments[2]}
	data, err := bad.encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := Dir(t.TempDir())
	id := idOf(data)
	for name, content := range map[string][]byte{
		"manifest/u/" + id.String(): data, "head/u": head{unit: "u", ids: []ID{id}}.encode(),
	} {
		if err := dir.Put(t.Context(), name, content); err != nil {
			t.Fatal(err)
		}
	}
	s := opened(t, nc)
	_, err = s.Import(t.Context(), "u", dir, ImportOptions{Check: upTo(1000)})
	if !errors.Is(err, ErrNoMatch) || len(everything(t, s)) > 0 {
		t.Fatalf("import: %v", err)
	}
}

// R2.8: an import by a writer that was fenced is refused, and by one with the
// greater epoch fences the others.
func TestImportIsFenced(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	own := publish(opened(t, nc))
	own.save(t, 30, put("k1", "0"))
	if err := own.s.Claim(t.Context(), "u", 7); err != nil {
		t.Fatal(err)
	}
	if _, err := own.s.Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(1000), Epoch: 6}); !errors.Is(err, ErrFenced) {
		t.Fatalf("an old epoch: %v", err)
	}
	wantNewest(t, own.s, 30, own.state)
	imported(t, own.s, p.s.Peer(), ImportOptions{Epoch: 8})
	wantNewest(t, own.s, 300, p.state)
	if _, err := own.s.Save(t.Context(), "u", own.base, cut(400, Member{Name: "a", Reset: true})); !errors.Is(err, ErrFenced) {
		t.Fatalf("a save of the former owner: %v", err)
	}
}

// What only the store has of a unit stays; what isn't asked for isn't taken,
// nor are the feeds that it alone includes.
func TestImportOfSomeMembers(t *testing.T) {
	nc := connect(t)
	from, s := opened(t, nc), opened(t, nc)
	tag := at(9)
	frame, err := timeframe.Of(timeframe.Entry{Feed: "orders", Seq: 9}, timeframe.Entry{Feed: "secret", Seq: 4})
	if err != nil {
		t.Fatal(err)
	}
	both := timeframe.Tag{At: frame, Lineages: map[string]timeframe.Lineage{
		"orders": tag.Lineages["orders"], "secret": {Incarnation: "x", Anchors: []timeframe.Anchor{{Seq: 4}}},
	}}
	saved(t, from, "u", nil, Cut{Tag: both, Members: []Member{
		{Name: "a", Version: 1, At: tag.At, Changes: []Change{put("k", "a")}}, {Name: "x", Version: 1, At: frame, Changes: []Change{put("k", "x")}},
	}})
	saved(t, s, "u", nil, cut(5, member("mine", put("k", "mine"))))
	r := imported(t, s, from.Peer(), ImportOptions{Members: []string{"a"}})
	m, _ := newest(t, s, "u")
	wantState(t, s, m, "a", map[string]string{"k": "a"})
	wantState(t, s, m, "mine", map[string]string{"k": "mine"})
	if _, there := m.Member("x"); there || !m.Tag.Equal(tag) || r.To.String() != tag.At.String() {
		t.Fatalf("tag %v, report %+v", m.Tag, r)
	}
}

// The handler serves what it is meant to, by the methods that read.
func TestHandler(t *testing.T) {
	p := publish(opened(t, connect(t)))
	m := p.save(t, 3, put("k", "v"))
	h := p.s.Handler(nil)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/head/u", 200}, {"HEAD", "/head/u", 200}, {"GET", "/manifest/u/" + m.ID.String(), 200},
		{"GET", "/chunk/" + m.chunks()[0].String(), 200}, {"GET", "/head/other", 404}, {"GET", "/", 404},
		{"GET", "/chunk/" + m.ID.String(), 404}, {"GET", "/head/..%2f..%2fetc", 404}, {"GET", "/chunk/xyz", 404},
		{"GET", "/head/u.v", 404}, {"GET", "/manifest/u", 404}, {"POST", "/head/u", 405}, {"DELETE", "/chunk/x", 405},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || c.method == "HEAD" && w.Body.Len() > 0 {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer server.Close()
	if _, err := HTTP(server.URL, nil).Get(t.Context(), "head/u"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("refused: %v", err)
	}
	for _, name := range []string{"../x", "head/", "chunk/../head/u", "head/u/v", "other/u"} {
		for _, peer := range []Peer{Dir(t.TempDir()), HTTP(server.URL, nil), p.s.Peer()} {
			if _, err := peer.Get(t.Context(), name); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if err := Dir(t.TempDir()).Put(t.Context(), name, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("put %q: %v", name, err)
		}
	}
}

// T3.3 as a property: random batches at the publisher, some of which the store
// derives itself, a log that agrees up to a random place, imports in between,
// with and without an interruption: the store's newest state is always that of
// a plain fold at its place, and never beyond what the log agrees with.
func TestImportEqualsAFold(t *testing.T) {
	nc := connect(t)
	rapid.Check(t, func(rt *rapid.T) {
		p, own := publish(opened(t, nc, func(o *Options) { o.ChunkSize = minChunkSize })), publish(opened(t, nc))
		seq, ownAt := uint64(0), uint64(0)
		for range rapid.IntRange(1, 12).Draw(rt, "batches") {
			seq += uint64(rapid.IntRange(1, 90).Draw(rt, "span"))
			var changes []Change
			for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(0, 6), 0, 4, rapid.ID).Draw(rt, "keys") {
				c := Change{Key: fmt.Appendf(nil, "k%d", k), Deleted: rapid.Bool().Draw(rt, "deleted")}
				if !c.Deleted {
					c.Value = noise(rapid.IntRange(0, 1500).Draw(rt, "size"), seq)
				}
				changes = append(changes, c)
			}
			p.save(t, seq, sortedChanges(changes)...)
			if ownAt == 0 && rapid.Bool().Draw(rt, "derive") {
				own.save(t, seq, whole(p.state)...)
				ownAt = seq
			}
			if !rapid.Bool().Draw(rt, "import") {
				continue
			}
			limit := uint64(rapid.IntRange(0, int(seq)+10).Draw(rt, "agrees"))
			f := &faulty{bucket: own.s.bucket, fail: rapid.IntRange(0, 12).Draw(rt, "fail"), dead: true}
			for _, s := range []*Store{newStore(own.s.opts, f), own.s} {
				_, err := s.Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(limit)})
				if err != nil && !errors.Is(err, ErrNoMatch) && !errors.Is(err, errInjected) {
					rt.Fatal(err)
				}
			}
			m, _ := newest(t, own.s, "u")
			if m == nil {
				continue
			}
			got, _ := m.Tag.At.Get("orders")
			if got > max(limit, ownAt) || p.past[got] == nil {
				rt.Fatalf("at %d, the log agrees up to %d", got, limit)
			}
			ownAt = got
			wantState(t, own.s, m, "a", p.past[got])
		}
	})
}

func whole(state map[string]string) (all []Change) {
	for k, v := range state {
		all = append(all, put(k, v))
	}
	return sortedChanges(all)
}

func sortedChanges(c []Change) []Change {
	for i := range c {
		for j := i; j > 0 && bytes.Compare(c[j].Key, c[j-1].Key) < 0; j-- {
			c[j], c[j-1] = c[j-1], c[j]
		}
	}
	return c
}

// The state is for those who may have it.
func TestHandlerAuthorizes(t *testing.T) {
	p := publish(opened(t, connect(t)))
	asked := 0
	h := p.s.Handler(func(r *http.Request) error {
		if asked++; r.Header.Get("Authorization") != "Bearer x" {
			return errors.New("who is it?")
		}
		return nil
	})
	for token, want := range map[string]int{"": http.StatusForbidden, "Bearer y": http.StatusForbidden, "Bearer x": http.StatusNotFound} {
		for _, path := range []string{"/head/none", "/chunk/../head/none", "/"} {
			r := httptest.NewRequest(http.MethodGet, "http://peer"+path, nil)
			r.Header.Set("Authorization", token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want || strings.Contains(w.Body.String(), "who is it") {
				t.Errorf("%s with %q: %d %s", path, token, w.Code, w.Body)
			}
		}
	}
	if asked != 9 {
		t.Errorf("asked %d times", asked)
	}
}
