package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
)

// publisher saves a unit of one member as a runtime does: with anchors of all
// its cuts, and digests.
type publisher struct {
	s       *Store
	base    *Manifest
	lineage timeframe.Lineage
	state   map[string]string
	past    map[uint64]map[string]string // by sequence
}

func publish(s *Store) *publisher {
	return &publisher{s: s, lineage: timeframe.Lineage{Incarnation: "inc"}, state: make(map[string]string), past: make(map[uint64]map[string]string)}
}

func (p *publisher) save(t testing.TB, seq uint64, changes ...Change) *Manifest {
	t.Helper()
	for _, c := range changes {
		p.state[string(c.Key)] = string(c.Value)
		if c.Deleted {
			delete(p.state, string(c.Key))
		}
	}
	p.lineage = p.lineage.Push(timeframe.Anchor{Seq: seq, Print: timeframe.Fingerprint{byte(seq), byte(seq >> 8), 7}})
	tag := at(seq)
	tag.Lineages["orders"] = p.lineage
	p.past[seq] = maps.Clone(p.state)
	p.base = saved(t, p.s, "u", p.base, Cut{Tag: tag, Members: []Member{{
		Name: "a", Version: 1, Meaning: "m1", Codec: "c", At: tag.At, Digest: digestOfState(p.state).Bytes(), Changes: changes,
	}}})
	return p.base
}

func digestOfState(state map[string]string) (d Digest) {
	for k, v := range state {
		d = d.Plus(DigestOf([]byte(k), []byte(v)))
	}
	return d
}

// hundreds are three batches: 0-100, 100-200 with a deletion, 200-300.
func hundreds(t testing.TB, p *publisher) {
	t.Helper()
	p.save(t, 100, put("big", string(noise(20<<10, 1))), put("k1", "1"), put("k2", "2"))
	p.save(t, 200, del("k1"), put("k3", "3"))
	p.save(t, 300, put("k2", "two"))
}

// upTo is a check that a log passes which is the publisher's up to seq.
func upTo(seq uint64) func(context.Context, *Manifest) error {
	return func(_ context.Context, m *Manifest) error {
		if at, _ := m.Tag.At.Get("orders"); at > seq {
			return fmt.Errorf("%w: the log agrees up to %d", ErrNoMatch, seq)
		}
		return m.Tag.Validate()
	}
}

func imported(t testing.TB, s *Store, from Peer, o ImportOptions) ImportReport {
	t.Helper()
	if o.Check == nil {
		o.Check = upTo(1 << 40)
	}
	r, err := s.Import(t.Context(), "u", from, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantNewest(t testing.TB, s *Store, seq uint64, want map[string]string) {
	t.Helper()
	m, _ := newest(t, s, "u")
	if m == nil {
		t.Fatal("there is nothing")
	}
	if got, _ := m.Tag.At.Get("orders"); got != seq {
		t.Fatalf("newest at %d, want %d", got, seq)
	}
	a, _ := m.Member("a")
	if d := digestOfState(want); string(a.Digest) != string(d.Bytes()) {
		t.Fatalf("digest %x, want %s", a.Digest, d)
	}
	wantState(t, s, m, "a", want)
}

// contents of the bucket, to see that nothing has changed.
func everything(t testing.TB, s *Store) map[string]uint64 {
	t.Helper()
	items, err := s.bucket.list(t.Context(), ">")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]uint64)
	for _, i := range items {
		all[i.Key] = i.Revision
	}
	return all
}

// R0.19, T3.3, T3.8, T3.11: a snapshot goes from one store to another, by each
// way; the end has the digest that was published, keys that were deleted on
// the way are absent, and a second import does nothing.
func TestImportFromEachPeer(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	dir := t.TempDir()
	exported, err := p.s.Export(t.Context(), "u", Dir(dir))
	if err != nil || len(exported.Manifests) != 3 || exported.Chunks != 3 || exported.Shared != 0 {
		t.Fatalf("export: %+v, %v", exported, err)
	}
	server := httptest.NewServer(http.StripPrefix("/snapshots", p.s.Handler(nil)))
	defer server.Close()
	for name, from := range map[string]Peer{
		"store": p.s.Peer(), "dir": Dir(dir), "fs": FS(os.DirFS(dir)), "http": HTTP(server.URL+"/snapshots/", nil),
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, nc)
			r := imported(t, s, from, ImportOptions{})
			if r.Chunks != 3 || r.Applied != 3 || r.UpToDate || !slices.Equal(r.Members, []string{"a"}) || r.To.String() != at(300).At.String() {
				t.Fatalf("%+v", r)
			}
			wantNewest(t, s, 300, p.state)
			if m, _ := newest(t, s, "u"); !m.Tag.Equal(p.base.Tag) {
				t.Fatalf("tag %v, want %v", m.Tag, p.base.Tag)
			}
			before := everything(t, s)
			if r := imported(t, s, from, ImportOptions{}); !r.UpToDate || r.Chunks != 0 {
				t.Fatalf("again: %+v", r)
			}
			if !maps.Equal(everything(t, s), before) {
				t.Fatal("importing twice has changed something")
			}
		})
	}
}

// R3.1, R3.4: where the store has a state whose digest is in the peer's chain,
// only what is behind it is fetched; with uneven spans, and where the store's
// own segments are cut differently (T3.13).
func TestImportAppliesWhatIsMissing(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	own := publish(opened(t, nc)) // derived the same state by itself, in other steps
	own.save(t, 40, put("k1", "x"))
	own.save(t, 200, put("big", string(noise(20<<10, 1))), del("k1"), put("k2", "2"), put("k3", "3"))
	p.save(t, 301, put("k4", "4"))
	r := imported(t, own.s, p.s.Peer(), ImportOptions{})
	if r.Applied != 2 || r.Base != 2 || r.Chunks != 2 || r.From.String() != at(200).At.String() {
		t.Fatalf("%+v", r)
	}
	wantNewest(t, own.s, 301, p.state)
	p.save(t, 1000, del("k4"))
	if r := imported(t, own.s, p.s.Peer(), ImportOptions{}); r.Applied != 1 || r.Chunks != 1 {
		t.Fatalf("one more: %+v", r)
	}
	wantNewest(t, own.s, 1000, p.state)
}

// T3.5: the log agrees with the peer up to some place only: the newest state
// before it is taken, also where that is no manifest of its own. T3.6: where
// none fits, nothing changes, and the error says why.
func TestImportStepsBack(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc, func(o *Options) { o.Keep = 2 }))
	hundreds(t, p)
	p.save(t, 450, put("k5", "5"))
	for limit, want := range map[uint64]uint64{460: 450, 449: 300, 299: 200, 150: 100} {
		s := opened(t, nc)
		r := imported(t, s, p.s.Peer(), ImportOptions{Check: upTo(limit)})
		wantNewest(t, s, want, p.past[want])
		if (want != 450) != (len(r.Skipped) > 0) {
			t.Errorf("up to %d: skipped %q", limit, r.Skipped)
		}
	}
	own := publish(opened(t, nc))
	own.save(t, 50, put("mine", "1"))
	before := everything(t, own.s)
	r, err := own.s.Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(60)})
	none, ok := errors.AsType[*NoMatchError](err)
	if !ok || !errors.Is(err, ErrNoMatch) || len(none.Reasons) < 4 || !r.Manifest.IsZero() {
		t.Fatalf("%+v, %v", r, err)
	}
	if !maps.Equal(everything(t, own.s), before) {
		t.Fatal("a refused import has changed something")
	}
	wantNewest(t, own.s, 50, own.state)
}

// T3.5 and T3.6 by digests, T3.7: the store's own state differs from the
// peer's at the newest place that both know, and is equal before it: it goes
// on from there. Where it is equal nowhere, it is refused unless the caller
// takes the peer's word.
func TestImportComparesDigests(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	own := publish(opened(t, nc))
	own.save(t, 100, put("big", string(noise(20<<10, 1))), put("k1", "1"), put("k2", "2"))
	own.save(t, 200, del("k1"), put("k3", "wrong"))
	r := imported(t, own.s, p.s.Peer(), ImportOptions{})
	if r.Base != 1 || r.Applied != 2 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0], "digest") {
		t.Fatalf("%+v", r)
	}
	wantNewest(t, own.s, 300, p.state)

	other := publish(opened(t, nc))
	other.save(t, 200, put("k9", "9"))
	before := everything(t, other.s)
	if _, err := other.s.Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(1000)}); !errors.Is(err, ErrNoMatch) {
		t.Fatalf("equal nowhere: %v", err)
	}
	if !maps.Equal(everything(t, other.s), before) {
		t.Fatal("a refused import has changed something")
	}
	imported(t, other.s, p.s.Peer(), ImportOptions{Whole: true})
	wantNewest(t, other.s, 300, p.state)

	// The last byte decides as the first does.
	m := *p.base
	a, b := m.Members[0], m.Members[0]
	b.Digest = slices.Clone(a.Digest)
	b.Digest[len(b.Digest)-1] ^= 1
	if _, _, found, conflicts := joint(MemberState{At: a.At, Digest: b.Digest}, MemberState{At: a.At, Digest: a.Digest}); found || len(conflicts) != 1 {
		t.Fatal("digests were not compared whole")
	}
}

// T3.9, R3.11, R3.18: the k-th write of an import fails, or the process dies
// with it, for every k until none does: what was there before stays, and a
// retry ends where one import would have, without fetching again what arrived.
func TestImportFailsAtEveryWrite(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc, func(o *Options) { o.ChunkSize = 4 << 10 }))
	hundreds(t, p)
	for _, mode := range []struct{ after, dead bool }{{}, {after: true}, {dead: true}, {dead: true, after: true}} {
		for k, last := 1, false; !last; k++ {
			own := publish(opened(t, nc))
			own.save(t, 30, put("k1", "0"))
			f := &faulty{bucket: own.s.bucket, fail: k, after: mode.after, dead: mode.dead}
			_, err := newStore(own.s.opts, f).Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(1000)})
			if last = f.writes < k; last {
				if err != nil || k < 9 {
					t.Fatalf("%+v: after %d writes: %v", mode, k-1, err)
				}
			} else if m, _ := newest(t, own.s, "u"); err != nil && m.ID == own.base.ID {
				wantNewest(t, own.s, 30, own.state)
			}
			had := len(keys(t, own.s, chunkPrefix)) - 1
			r := imported(t, again(t, own.s), p.s.Peer(), ImportOptions{})
			if all := len(p.base.chunks()); !r.UpToDate && r.Chunks != all-had {
				t.Fatalf("%+v, write %d: %d of %d chunks were there, and %d were fetched", mode, k, had, all, r.Chunks)
			}
			wantNewest(t, own.s, 300, p.state)
		}
	}
}

// The same where the store had nothing before: what a dead import has left
// without a head becomes one.
func TestImportIntoNothingFailsAtEveryWrite(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	for k, last := 1, false; !last; k++ {
		s := opened(t, nc)
		f := &faulty{bucket: s.bucket, fail: k, dead: true}
		_, err := newStore(s.opts, f).Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(1000)})
		if last = f.writes < k; last && (err != nil || k < 5) {
			t.Fatalf("after %d writes: %v", k-1, err)
		}
		imported(t, again(t, s), p.s.Peer(), ImportOptions{})
		if _, problems := newest(t, s, "u"); len(problems) > 0 {
			t.Fatalf("write %d: %v", k, problems)
		}
		wantNewest(t, s, 300, p.state)
	}
}

// T3.10: a chunk, a manifest or the head is damaged or missing at the peer:
// damage is never taken; an older state is, where one is whole.
func TestImportOfDamage(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	hundreds(t, p)
	last := p.base.Members[0].Segments[2].Chunks[0]
	first := p.base.Members[0].Segments[0].Chunks[0]
	gone := func([]byte) []byte { return nil }
	for what, c := range map[string]struct {
		name   string
		change func([]byte) []byte
		want   uint64 // taken; 0: nothing
		class  error
	}{
		"newest chunk flipped":   {"chunk/" + last.String(), flip, 200, nil},
		"newest chunk cut":       {"chunk/" + last.String(), shorten, 200, nil},
		"newest chunk gone":      {"chunk/" + last.String(), gone, 200, nil},
		"base flipped":           {"chunk/" + first.String(), flip, 0, ErrNoMatch},
		"newest manifest damage": {"manifest/u/" + p.base.ID.String(), flip, 200, nil},
		"head flipped":           {"head/u", flip, 0, ErrCorrupt},
		"head of a newer format": {"head/u", func(b []byte) []byte { return seal(newer(b[:len(b)-32])) }, 0, ErrUnknownFormat},
		"no head":                {"head/u", gone, 0, ErrNotFound},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := p.s.Export(t.Context(), "u", Dir(dir)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, filepath.FromSlash(c.name))
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if data = c.change(data); data == nil {
				err = os.Remove(file)
			} else {
				err = os.WriteFile(file, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			own := publish(opened(t, nc))
			own.save(t, 30, put("k1", "0"))
			_, err = own.s.Import(t.Context(), "u", Dir(dir), ImportOptions{Check: upTo(1000)})
			if !errors.Is(err, c.class) {
				t.Fatalf("import: %v", err)
			}
			if c.want == 0 {
				wantNewest(t, own.s, 30, own.state)
			} else {
				wantNewest(t, own.s, c.want, p.past[c.want])
			}
			// Exporting again heals the target.
			if _, err := p.s.Export(t.Context(), "u", Dir(dir)); err != nil {
				t.Fatal(err)
			}
			imported(t, own.s, Dir(dir), ImportOptions{})
			wantNewest(t, own.s, 300, p.state)
		})
	}
}
