package eventlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/gaps"
	"pgregory.net/rapid"
)

type jotted struct{ N int }

// openNotes opens a feed in a directory.
func openNotes(t testing.TB, dir string) *Feed {
	t.Helper()
	log, err := Open(t.Context(), Options{App: "a", Dir: dir, SyncInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return notesOf(t, log, "notes")
}

func notesOf(t testing.TB, log *Log, name string) *Feed {
	t.Helper()
	f, err := log.Feed(t.Context(), name, Type[jotted]("note"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// another is another process's handle of the same feed: it shares nothing with f
// but the server.
func another(t testing.TB, f *Feed) *Feed {
	t.Helper()
	log, err := Open(t.Context(), Options{App: "a", Conn: f.log.nc})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return notesOf(t, log, f.name)
}

// fill appends commits in turn to so many keys.
func fill(t testing.TB, f *Feed, n, keys int) {
	t.Helper()
	for i := range n {
		if _, err := f.Append(t.Context(), fmt.Sprint("k", i%keys), ExpectAny, jotted{i}); err != nil {
			t.Fatal(err)
		}
	}
}

// byHand purges a key as somebody does who knows nothing of the register.
func byHand(t testing.TB, f *Feed, key string) {
	t.Helper()
	s, err := f.log.js.Stream(t.Context(), f.stream)
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSubject(f.prefix+key))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readBy reads all of a feed by one way; keys read their own history each.
var readBy = map[string]func(ctx context.Context, f *Feed) ([]uint64, error){
	"consumer": func(ctx context.Context, f *Feed) ([]uint64, error) {
		f.bulkLeast = 1 << 40
		return all(f.Commits(ctx))
	},
	"backup": func(ctx context.Context, f *Feed) ([]uint64, error) {
		f.bulkLeast = 1
		return all(f.Commits(ctx))
	},
	"follower": func(ctx context.Context, f *Feed) ([]uint64, error) {
		st, err := f.State(ctx)
		if err != nil {
			return nil, err
		}
		last, err := f.Reach(ctx, st)
		if err != nil || last == 0 {
			return nil, err
		}
		return all(f.Commits(ctx, Follow(), Until(last)))
	},
	"keys": func(ctx context.Context, f *Feed) (got []uint64, err error) {
		for k := range 5 {
			seqs, err := all(f.Commits(ctx, OfKey(fmt.Sprint("k", k))))
			if err != nil {
				return nil, err
			}
			got = append(got, seqs...)
		}
		slices.Sort(got)
		return got, nil
	},
}

func all(commits func(func(*Commit, error) bool)) (got []uint64, err error) {
	for c, err := range commits {
		if err != nil {
			return got, err
		}
		got = append(got, c.Seq)
	}
	return got, nil
}

// everyWay reads the feed by all ways, and once more in another process.
func everyWay(t testing.TB, f *Feed, want []uint64) {
	t.Helper()
	for name, read := range readBy {
		for who, f := range map[string]*Feed{"here": f, "elsewhere": another(t, f)} {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if got, err := read(ctx, f); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s, by %s: read %d, %v; want %d", who, name, got, err, want)
			}
			cancel()
		}
	}
}

func spanWithout(n uint64, gone ...uint64) (s []uint64) {
	for seq := uint64(1); seq <= n; seq++ {
		if !slices.Contains(gone, seq) {
			s = append(s, seq)
		}
	}
	return s
}

// Somebody purges a key: Check tells at once, with the positions; nothing is
// read beyond them; accepted, all ways of reading go past them, in every process
// and after a restart. At the beginning, in the middle, and at the end.
func TestPurgedByHand(t *testing.T) {
	dir := t.TempDir()
	f := openNotes(t, dir)
	fill(t, f, 12, 3)
	other := another(t, f)
	byHand(t, f, "k1") // 2, 5, 8, 11
	for who, f := range map[string]*Feed{"here": f, "elsewhere": other} {
		err := f.Check(t.Context())
		e, ok := errors.AsType[*GapsError](err)
		if !ok || !errors.Is(err, ErrGap) || e.Missing != 4 || len(e.Where) != 4 || e.Where[1] != (SeqRange{5, 5}) || !strings.Contains(err.Error(), "AcceptGap") {
			t.Errorf("%s: %v", who, err)
		}
	}
	if got, err := all(f.Commits(t.Context())); !errors.Is(err, ErrGap) || !slices.Equal(got, []uint64{1}) {
		t.Errorf("read %d, %v", got, err)
	}
	if _, err := f.AcceptGap(t.Context(), Note{Reason: "purged"}, 3, 4); !errors.Is(err, ErrInvalid) {
		t.Errorf("where nothing is missing: %v", err)
	}
	if n, err := f.AcceptGap(t.Context(), Note{Reason: "purged"}, 2, 5); n != 2 || err != nil {
		t.Errorf("accepted %d, %v", n, err)
	}
	if e, ok := errors.AsType[*GapsError](other.Check(t.Context())); !ok || e.Missing != 2 {
		t.Errorf("in part: %v", e)
	}
	if n, err := f.AcceptGap(t.Context(), Note{Reason: "purged"}, 0, 0); n != 2 || err != nil {
		t.Errorf("accepted %d, %v", n, err)
	}
	byHand(t, f, "k2") // 3, 6, 9, 12: the end
	if e, ok := errors.AsType[*GapsError](f.Check(t.Context())); !ok || e.Missing != 4 {
		t.Errorf("the end: %v", e)
	}
	if n, err := other.AcceptGap(t.Context(), Note{Reason: "purged"}, 0, 0); n != 4 || err != nil {
		t.Errorf("accepted %d, %v", n, err)
	}
	everyWay(t, f, []uint64{1, 4, 7, 10})
	byHand(t, f, "k0") // all
	fill(t, f, 2, 2)   // 13, 14
	if _, err := f.AcceptGap(t.Context(), Note{Reason: "purged"}, 0, 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("what is before the beginning was trimmed: %v", err)
	}
	if _, err := f.NewReader(t.Context()); !errors.Is(err, ErrTrimmed) {
		t.Errorf("from the start: %v", err)
	}
	if n, err := f.AcceptGap(t.Context(), Note{Reason: "purged"}, 1, 0); n != 4 || err != nil {
		t.Errorf("accepted %d, %v", n, err)
	}
	everyWay(t, f, []uint64{13, 14})
	_ = f.log.Close()
	f = openNotes(t, dir)
	everyWay(t, f, []uint64{13, 14})
	if err := f.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if st, err := f.State(t.Context()); err != nil || st.First != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

// An erasure that dies after any of its steps leaves a log that is read as
// before, or without what is erased; Check tells in time; the same call
// completes it, and calling it once more changes nothing.
func TestEraseDiesAtEachStep(t *testing.T) {
	for died := range 4 {
		t.Run(fmt.Sprint(died), func(t *testing.T) {
			dir := t.TempDir()
			f := openNotes(t, dir)
			fill(t, f, 12, 3)
			ctx, why := t.Context(), Note{Reason: "Art. 17", By: "dpo"}
			seqs, prints, err := f.erasable(ctx, f.prefix+"k1", 8)
			if err != nil || !slices.Equal(seqs, []uint64{2, 5, 8}) {
				t.Fatalf("%d, %v", seqs, err)
			}
			if died >= 1 {
				e := gaps.Entry{Kind: gaps.Erased, Pending: true, At: time.Now().Add(-time.Hour).UTC(), Reason: why.Reason, By: why.By, Ranges: gaps.RangesOf(seqs...), Prints: prints}
				if err := f.gaps.change(ctx, func(r gaps.Register) (gaps.Register, error) { return r.Add(e), nil }); err != nil {
					t.Fatal(err)
				}
			}
			want := spanWithout(12)
			if died >= 2 {
				if err := f.purge(ctx, f.prefix+"k1", 8); err != nil {
					t.Fatal(err)
				}
				want = spanWithout(12, 2, 5, 8)
			}
			if died >= 3 {
				if err := f.settle(ctx); err != nil {
					t.Fatal(err)
				}
			}
			_ = f.log.Close()
			f = openNotes(t, dir)
			everyWay(t, f, want)
			if e, ok := errors.AsType[*GapsError](f.Check(ctx)); ok != (died == 1 || died == 2) || ok && e.Pending != 3 {
				t.Errorf("check: %v", e)
			}
			other := another(t, f)
			for range 2 {
				if _, err := other.Erase(ctx, why, "k1", 8); err != nil {
					t.Fatal(err)
				}
				everyWay(t, f, spanWithout(12, 2, 5, 8))
				if err := f.Check(ctx); err != nil {
					t.Error(err)
				}
			}
			list, err := f.Gaps(ctx)
			if err != nil || len(list) != 1 || list[0].Kind != GapErased || list[0].Pending || len(list[0].Ranges) != 3 || list[0].Print != gaps.Hash(prints...) {
				t.Errorf("registered %+v, %v", list, err)
			}
			// An anchor at what was erased is still proved.
			if o, err := f.Observe(ctx, 5); err != nil || o.Prints[5] != prints[1] {
				t.Errorf("observed %+v, %v", o, err)
			}
		})
	}
}

// The writes of Erase itself, in their order: what is purged was registered
// before, as pending, and is settled after that.
func TestEraseRegistersFirst(t *testing.T) {
	f := openNotes(t, t.TempDir())
	fill(t, f, 12, 3)
	sub, err := f.log.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := another(t, f).Erase(t.Context(), Note{Reason: "Art. 17", By: "dpo"}, "k1", 8); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if err := f.log.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var writes []string
	for {
		m, err := sub.NextMsg(time.Second)
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(m.Subject, ".gaps") && strings.HasPrefix(m.Subject, "$KV."):
			r, err := gaps.Decode(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			writes = append(writes, fmt.Sprint("register pending=", r.Entries[0].Pending))
		case m.Subject == "$JS.API.STREAM.PURGE."+f.stream:
			writes = append(writes, "purge")
		}
	}
	if want := []string{"register pending=true", "purge", "register pending=false"}; !slices.Equal(writes, want) {
		t.Errorf("it writes %q, want %q", writes, want)
	}
}

// What can't be erased is refused before anything is registered.
func TestEraseRefuses(t *testing.T) {
	ctx := t.Context()
	f := openNotes(t, t.TempDir())
	fill(t, f, 4, 2)
	if _, err := f.AppendDraft(ctx, Draft{Key: "k3", Events: []any{jotted{1}}, Tags: []string{"t"}}); err != nil {
		t.Fatal(err)
	}
	why := Note{Reason: "x"}
	erase := func(key string, upTo uint64) error { _, err := f.Erase(ctx, why, key, upTo); return err }
	for name, err := range map[string]error{
		"not the oldest":      f.EraseAt(ctx, why, 3),
		"nothing":             f.EraseAt(ctx, why, 99),
		"zero":                f.EraseAt(ctx, why, 0),
		"the last message":    f.EraseAt(ctx, why, 6),
		"a marker of a tag":   f.EraseAt(ctx, why, 6),
		"without a reason":    f.EraseAt(ctx, Note{}, 1),
		"a key without bytes": erase("", 0),
	} {
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := erase("nobody", 0); err != nil {
		t.Errorf("a key that has nothing: %v", err)
	}
	if _, err := f.Append(ctx, "k0", ExpectAny, jotted{9}); err != nil {
		t.Fatal(err)
	}
	if err := erase("k0", 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("with the feed's last message: %v", err)
	}
	if list, err := f.Gaps(ctx); err != nil || len(list) != 0 {
		t.Errorf("registered %+v, %v", list, err)
	}
	if err := erase("k0", 3); err != nil {
		t.Error(err)
	}
	everyWay(t, f, []uint64{2, 4, 5, 7})
}

// Whatever is purged by hand, accepted, erased, published by others, passed over
// and trimmed, in any order: what is read is what is left, in each way and
// process, and Check tells of what isn't registered, and of nothing else.
func TestGapsAgainstSets(t *testing.T) {
	log, err := Open(t.Context(), Options{App: "a", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	feeds := 0
	rapid.Check(t, func(rt *rapid.T) {
		feeds++
		m := &gapsModel{
			T: rt, t: t, f: notesOf(t, log, fmt.Sprint("notes-", feeds)),
			key: map[uint64]int{}, missing: map[uint64]bool{}, stray: map[uint64]bool{},
		}
		m.append(0)
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			k := rapid.IntRange(0, 3).Draw(rt, "key")
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0, 1:
				m.append(k)
			case 2:
				m.publish()
			case 3:
				m.purgeByHand(k)
			case 4:
				m.accept()
			case 5:
				m.erase(k)
			case 6:
				m.pass()
			}
		}
		m.read()
		m.check()
	})
}

// gapsModel is a feed, and beside it in plain sets what it has and misses.
type gapsModel struct {
	*rapid.T
	t       *testing.T
	f       *Feed
	last    uint64
	key     map[uint64]int // of what is there; a stray message's is negative
	missing map[uint64]bool
	stray   map[uint64]bool
}

func (m *gapsModel) append(k int) {
	m.last++
	m.key[m.last] = k
	if _, err := m.f.Append(m.t.Context(), fmt.Sprint("k", k), ExpectAny, jotted{k}); err != nil {
		m.Fatal(err)
	}
}

func (m *gapsModel) publish() {
	m.last++
	m.key[m.last] = -1
	m.stray[m.last] = true
	if _, err := m.f.log.js.Publish(m.t.Context(), m.f.prefix+"s", []byte("x")); err != nil {
		m.Fatal(err)
	}
}

// purgeByHand purges a key, but not at the beginning, which would be a trim.
func (m *gapsModel) purgeByHand(k int) {
	if len(m.key) == 0 || m.key[slices.Min(slices.Collect(maps.Keys(m.key)))] == k {
		return
	}
	byHand(m.t, m.f, fmt.Sprint("k", k))
	for _, seq := range m.without(k) {
		m.missing[seq] = true
	}
}

// without removes a key's messages, and tells which they were.
func (m *gapsModel) without(k int) (seqs []uint64) {
	for seq, of := range m.key {
		if of == k {
			seqs = append(seqs, seq)
			delete(m.key, seq)
		}
	}
	return seqs
}

func (m *gapsModel) accept() {
	n, err := m.f.AcceptGap(m.t.Context(), Note{Reason: "because"}, 0, 0)
	if int(n) != len(m.missing) || errors.Is(err, ErrInvalid) != (n == 0) {
		m.Fatalf("accepted %d, %v; %v are missing", n, err, m.missing)
	}
	clear(m.missing)
}

func (m *gapsModel) erase(k int) {
	if m.key[m.last] == k {
		return
	}
	_, err := m.f.Erase(m.t.Context(), Note{Reason: "because"}, fmt.Sprint("k", k), 0)
	if len(m.missing) > 0 && errors.Is(err, ErrGap) {
		return
	}
	if err != nil || len(m.missing) > 0 {
		m.Fatalf("erased: %v; %v are missing", err, m.missing)
	}
	m.without(k)
}

func (m *gapsModel) pass() {
	for seq := range m.stray {
		if err := m.f.Pass(m.t.Context(), Note{Reason: "because"}, seq); err != nil {
			m.Fatal(err)
		}
		delete(m.key, seq)
	}
	clear(m.stray)
}

func (m *gapsModel) read() {
	if len(m.missing) > 0 {
		return
	}
	var want []uint64
	for seq, k := range m.key {
		if k >= 0 {
			want = append(want, seq)
		}
	}
	slices.Sort(want)
	for name, read := range readBy {
		got, err := read(m.t.Context(), m.f)
		if len(m.stray) > 0 && name != "keys" {
			if !errors.Is(err, ErrCorrupt) || len(got) > len(want) {
				m.Fatalf("%s: read %d, %v", name, got, err)
			}
		} else if err != nil || !slices.Equal(got, want) {
			m.Fatalf("%s: read %d, %v; want %d", name, got, err, want)
		}
	}
}

func (m *gapsModel) check() {
	err := m.f.Check(m.t.Context())
	if e, ok := errors.AsType[*GapsError](err); ok != (len(m.missing) > 0) || ok && int(e.Missing) != len(m.missing) {
		m.Fatalf("check: %v; %v are missing", err, m.missing)
	}
	if len(m.missing) == 0 && errors.Is(err, ErrCorrupt) != (len(m.stray) > 0) {
		m.Fatalf("check: %v; %v can't be decoded", err, m.stray)
	}
}
