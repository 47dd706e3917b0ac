package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// T0.16: what was saved of A is A's alone.
func TestLoadOfAnUnsavedMemberGivesNone(t *testing.T) {
	s := opened(t, connect(t))
	if found, err := s.Candidates(t.Context(), "a"); err != nil || len(found) != 0 {
		t.Fatalf("candidates of nothing: %v, %v", found, err)
	}
	m := saved(t, s, "a", nil, cut(3, member("a", put("k", "v"), put("l", ""))))
	if _, err := load(t.Context(), s, m, "b"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("loading b: %v", err)
	}
	if found, err := s.Candidates(t.Context(), "b"); err != nil || len(found) != 0 {
		t.Fatalf("candidates of b: %v, %v", found, err)
	}
	other := again(t, s)
	got, problems := newest(t, other, "a")
	if len(problems) > 0 || got.ID != m.ID || !got.Tag.Equal(at(3)) {
		t.Fatalf("newest: %+v, %v", got, problems)
	}
	wantState(t, other, got, "a", map[string]string{"k": "v", "l": ""})
}

// T1.5: saving and compacting with nothing new is harmless.
func TestSaveWithNothingNew(t *testing.T) {
	s := opened(t, connect(t))
	state := map[string]string{"k": "v"}
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
	for range 12 {
		m = saved(t, s, "u", m, cut(1, member("a")))
		wantState(t, s, m, "a", state)
	}
	a, _ := m.Member("a")
	if len(a.Segments) != 1 || s.Stats().Compactions != 0 {
		t.Fatalf("%d segments, %d compactions", len(a.Segments), s.Stats().Compactions)
	}
	_, h, err := headOf(t, s, "u")
	if err != nil || len(h.ids) != 3 {
		t.Fatalf("head %v, %v", h.ids, err)
	}
}

func headOf(t testing.TB, s *Store, unit string) (headState, head, error) {
	t.Helper()
	h, err := s.readHead(t.Context(), unit)
	if err == nil {
		err = h.problem
	}
	return h, h.head, err
}

func TestEmptyStateAndEmptyKeys(t *testing.T) {
	s := opened(t, connect(t))
	m := saved(t, s, "u", nil, cut(1, member("a", del("x"))))
	wantState(t, s, m, "a", map[string]string{})
	m = saved(t, s, "u", m, cut(2, member("a", put("", "empty"), put("\x00", ""))))
	wantState(t, s, m, "a", map[string]string{"": "empty", "\x00": ""})
	m = saved(t, s, "u", m, cut(3, member("a", del(""), del("\x00"))))
	wantState(t, s, m, "a", map[string]string{})
}

func TestLargeValuesSpanChunks(t *testing.T) {
	s := opened(t, connect(t), func(o *Options) { o.ChunkSize = 4 << 10 })
	large := noise(1<<20, 1)
	m := saved(t, s, "u", nil, cut(1, member("a", put("a", "1"), put("b", string(large)), put("c", "3"))))
	wantState(t, s, m, "a", map[string]string{"a": "1", "b": string(large), "c": "3"})
	state, _ := m.Member("a")
	if n := len(state.Segments[0].Chunks); n < 256 {
		t.Fatalf("%d chunks", n)
	}
}

func TestKeptAndDroppedMembers(t *testing.T) {
	s := opened(t, connect(t))
	m := saved(t, s, "u", nil, cut(1, member("a", put("k", "a")), member("b", put("k", "b")), member("c", put("k", "c"))))
	m = saved(t, s, "u", m, cut(2, Member{Name: "b", Kept: true}, member("a", put("k", "a2"))))
	wantState(t, s, m, "a", map[string]string{"k": "a2"})
	wantState(t, s, m, "b", map[string]string{"k": "b"})
	if b, _ := m.Member("b"); !b.At.Equal(at(1).At) {
		t.Fatalf("b is at %s", b.At)
	}
	if _, ok := m.Member("c"); ok {
		t.Fatal("c is still there")
	}
	c := cut(3, Member{Name: "c", Kept: true})
	if _, err := s.Save(t.Context(), "u", m, c); !errors.Is(err, ErrInvalid) {
		t.Fatalf("keeping what isn't there: %v", err)
	}
}

func TestUnitsAndDelete(t *testing.T) {
	s := opened(t, connect(t), noGrace)
	saved(t, s, "ab", nil, cut(1, member("x", put("k", "v"))))
	a := saved(t, s, "a", nil, cut(1, member("x", put("k", "w"))))
	units, err := s.Units(t.Context())
	if err != nil || !slices.Equal(units, []string{"a", "ab"}) {
		t.Fatalf("units %v, %v", units, err)
	}
	for range 2 { // the second finds nothing
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	units, err = s.Units(t.Context())
	if err != nil || !slices.Equal(units, []string{"ab"}) {
		t.Fatalf("units %v, %v", units, err)
	}
	if m, problems := newest(t, s, "a"); m != nil || len(problems) != 0 {
		t.Fatalf("a after its end: %v, %v", m, problems)
	}
	if _, err := s.Save(t.Context(), "a", a, cut(2, member("x"))); !errors.Is(err, ErrStaleBase) {
		t.Fatalf("save on top of what was deleted: %v", err)
	}
	if info, err := s.Sweep(t.Context(), 0); err != nil || info.Chunks != 1 || len(keys(t, s, chunkPrefix)) != 1 {
		t.Fatalf("sweep: %+v, %v", info, err)
	}
	saved(t, s, "a", nil, cut(3, member("x", put("k", "w"))))
	if m, _ := newest(t, s, "ab"); m == nil {
		t.Fatal("ab is gone")
	}
}

func TestHeadDeletedThroughTheKVAPI(t *testing.T) {
	s := opened(t, connect(t))
	saved(t, s, "u", nil, cut(1, member("x", put("k", "v"))))
	b := s.bucket.(natsBucket)
	e, err := b.Get(t.Context(), headKey("u"))
	if err == nil {
		err = b.Delete(t.Context(), headKey("u"), e.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, problems := newest(t, s, "u")
	if m == nil || len(problems) != 1 || !errors.Is(problems[0], ErrNotFound) {
		t.Fatalf("newest %v, problems %v", m, problems)
	}
	saved(t, s, "u", nil, cut(2, member("x", put("k", "w")))) // over the marker
	m, _ = newest(t, s, "u")
	wantState(t, s, m, "x", map[string]string{"k": "w"})
}

func TestOpenValidatesAllOptions(t *testing.T) {
	_, err := Open(t.Context(), Options{App: "A_b", Replicas: 9, Keep: -1, ChunkSize: 5, Grace: -1})
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok || len(invalid.Problems) != 6 {
		t.Fatalf("got %v", err)
	}
	_, err = Open(t.Context(), Options{App: "a", Conn: connect(t), ChunkSize: 1 << 20})
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("a chunk as large as the payload: %v", err)
	}
}

func TestOpenExistingBucket(t *testing.T) {
	nc := connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		config  jetstream.KeyValueConfig
		refused bool
	}{
		"memory":  {jetstream.KeyValueConfig{Storage: jetstream.MemoryStorage}, false},
		"history": {jetstream.KeyValueConfig{History: 5}, false},
		"expires": {jetstream.KeyValueConfig{TTL: time.Hour}, true},
		"small":   {jetstream.KeyValueConfig{MaxValueSize: 1000}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			app := fmt.Sprintf("given-%d-%d", os.Getpid(), apps.Add(1))
			test.config.Bucket = bucketName(app)
			if _, err := js.CreateKeyValue(t.Context(), test.config); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = js.DeleteKeyValue(context.WithoutCancel(t.Context()), test.config.Bucket) })
			s, err := Open(t.Context(), Options{App: app, JetStream: js})
			if test.refused != errors.Is(err, ErrInvalid) || !test.refused && err != nil {
				t.Fatalf("got %v", err)
			}
			if !test.refused {
				m := saved(t, s, "u", nil, cut(1, member("x", put("k", "v"))))
				wantState(t, s, m, "x", map[string]string{"k": "v"})
			}
		})
	}
}

// The reads of the head go through the prefix that the caller's JetStream has.
func TestDomain(t *testing.T) {
	if os.Getenv("TIDEMARK_TEST_URL") != "" {
		t.Log("the external server's domain isn't known: a server of our own is used")
	}
	nc := embedded(t, "hub")
	js, err := jetstream.NewWithDomain(nc, "hub")
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(*Options){
		"jetstream": func(o *Options) { o.Conn, o.JetStream = nil, js },
		"prefix":    func(o *Options) { o.APIPrefix = "$JS.hub.API." },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := opened(t, nc, way)
			if s.opts.APIPrefix != "$JS.hub.API" {
				t.Fatalf("prefix %q", s.opts.APIPrefix)
			}
			m := saved(t, s, "u", nil, cut(1, member("a", put("k", "v"))))
			saved(t, s, "u", m, cut(2, member("a", put("k", "w"))))
			found, problems := newest(t, s, "u")
			if found == nil || len(problems) > 0 {
				t.Fatal(problems)
			}
			wantState(t, s, found, "a", map[string]string{"k": "w"})
		})
	}
}
