package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"github.com/tidemark-es/tidemark/timeframe"
)

// memory is a peer of whatever was put into it, valid or not.
type memory struct {
	mu    sync.Mutex
	held  map[string][]byte
	asked map[string]int
}

func (p *memory) Get(_ context.Context, name string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[name]++
	if data, ok := p.held[name]; ok {
		return data, nil
	}
	return nil, &NotFoundError{Kind: "name", Name: name}
}

// hostile is a peer of a unit with one manifest, of one member with these
// segments at 1, 2 and so on, and of these chunks.
func hostile(t *testing.T, segments []Segment, chunks ...[]byte) *memory {
	t.Helper()
	p := &memory{held: make(map[string][]byte), asked: make(map[string]int)}
	for _, c := range chunks {
		p.held[nameOf(chunkKey(idOf(c)))] = c
	}
	for i := range segments {
		segments[i].To = at(uint64(i + 1)).At
	}
	tag := at(uint64(len(segments)))
	for seq := range uint64(len(segments)) {
		l := tag.Lineages["orders"]
		tag.Lineages["orders"] = l.Push(timeframe.Anchor{Seq: seq + 1})
	}
	m := &Manifest{Unit: "u", Created: time.Unix(1, 0), Tag: tag, Members: []MemberState{{Name: "a", Version: 1, At: tag.At, Segments: segments}}}
	data, err := m.encode()
	if err == nil {
		_, err = decodeManifest(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.held[nameOf(manifestKey("u", idOf(data)))] = data
	p.held["head/u"] = head{unit: "u", ids: []ID{idOf(data)}}.encode()
	return p
}

// times is n segments of the same chunks, each with the sizes that it claims.
func times(n int, claim Segment, chunks ...[]byte) (segments []Segment) {
	claim.Chunks = nil
	for _, c := range chunks {
		claim.Chunks = append(claim.Chunks, idOf(c))
	}
	for range n {
		segments = append(segments, claim)
	}
	return segments
}

// newestAlone passes the first state that it is asked about.
func newestAlone() func(context.Context, *Manifest) error {
	asked := false
	return func(context.Context, *Manifest) error {
		if asked {
			return ErrNoMatch
		}
		asked = true
		return nil
	}
}

// A peer lies about sizes, or repeats itself: its state isn't taken, without
// the memory that it would cost.
func TestImportFromAHostilePeer(t *testing.T) {
	zeros, bomb := packed(t, []Change{put("k", string(make([]byte, 200<<20)))}, 512<<10)
	// Bytes that don't compress make what stands beside them plausible.
	whole, padded := packed(t, []Change{put("k", string(noise(400<<10, 1)))}, 512<<10)
	honest := Segment{Entries: 1, Raw: whole.Raw, Bytes: whole.Bytes}
	claims := func(raw, size uint64) Segment { return Segment{Entries: 1, Raw: raw, Bytes: size} }
	none := func(n int) Segment { return claims(64<<20, uint64(n)) }
	for what, c := range map[string]struct {
		peer   *memory
		limits Limits
		class  error
		memory int
		all    bool // earlier states are tried as well; else the newest alone
	}{
		"a value of zeros":                    {hostile(t, times(1, zeros, bomb...), bomb...), Limits{}, ErrNoMatch, 8 << 20, false},
		"values of zeros, 600 bytes of names": {hostile(t, times(6, zeros, bomb...), bomb...), Limits{}, ErrNoMatch, 8 << 20, false},
		"one chunk for many segments":         {hostile(t, times(200, claims(64<<20, whole.Bytes), padded...), padded...), Limits{}, ErrNoMatch, 48 << 20, true},
		"segments that claim next to nothing": {hostile(t, times(200, claims(1, whole.Bytes), padded...), padded...), Limits{}, ErrNoMatch, 8 << 20, false},
		"chunks larger than what they are said to be": {
			hostile(t, times(200, claims(1, 1), padded...), padded...), Limits{}, ErrNoMatch, 32 << 20, true,
		},
		"more segments than are ever made": {hostile(t, times(300, honest, padded...), padded...), Limits{}, ErrNoMatch, 8 << 20, false},
		"more raw bytes than allowed":      {hostile(t, times(2, honest, padded...), padded...), Limits{MaxBytes: honest.Raw}, ErrNoMatch, 8 << 20, false},
		"more chunks than allowed":         {hostile(t, times(11, honest, padded...), padded...), Limits{MaxChunks: 10}, ErrNoMatch, 8 << 20, false},
		"more to fetch than allowed": {
			hostile(t, times(1, honest, padded...), padded...), Limits{MaxTransfer: honest.Bytes - 1}, ErrNoMatch, 8 << 20, false,
		},
		"more fetched than allowed": {hostile(t, times(1, claims(1<<20, 1), padded...), padded...), Limits{MaxTransfer: 300 << 10}, ErrLimit, 8 << 20, false},
		"a chunk that no server takes": {
			hostile(t, times(1, none(64<<20), make([]byte, 64<<20)), make([]byte, 64<<20)), Limits{}, ErrInvalid, 8 << 20, false,
		},
		"a chunk that isn't one": {hostile(t, times(1, none(4), []byte("TMC\x09")), []byte("TMC\x09")), Limits{}, ErrNoMatch, 8 << 20, false},
	} {
		t.Run(what, func(t *testing.T) {
			s := opened(t, connect(t))
			check := newestAlone()
			if c.all {
				check = upTo(1e6)
			}
			fuzzmem.Check(t, 0, 0, c.memory, func() {
				_, err := s.Import(t.Context(), "u", c.peer, ImportOptions{Check: check, Limits: c.limits})
				if !errors.Is(err, c.class) {
					t.Errorf("import: %v", err)
				}
			})
			if left := keys(t, s, "head"); len(left)+len(keys(t, s, "manifest")) > 0 {
				t.Errorf("it left %q", left)
			}
			for name, n := range c.peer.asked {
				if n > 4 {
					t.Errorf("%s was asked for %d times", name, n)
				}
			}
		})
	}
}

// A manifest whose segments tell of very many states: the log isn't asked about
// all of them.
func TestImportLooksAtSoManyStates(t *testing.T) {
	var members []MemberState
	chunk := append([]byte(chunkMagic), 1, 1, 1|1<<1, 0)
	tag := at(250 * 8)
	for i := range 8 {
		m := MemberState{Name: fmt.Sprintf("m%d", i), Version: 1, At: tag.At}
		for k := range 250 {
			m.Segments = append(m.Segments, Segment{To: at(uint64(k*8 + i + 1)).At, Entries: 1, Raw: 3, Bytes: uint64(len(chunk)), Chunks: []ID{idOf(chunk)}})
		}
		members = append(members, m)
	}
	tag.Lineages["orders"] = timeframe.Lineage{Incarnation: "inc", Anchors: []timeframe.Anchor{{Seq: 2000}}}
	m := &Manifest{Unit: "u", Created: time.Unix(1, 0), Tag: tag, Members: members}
	n := 0
	for e := range states(m) { // without anchors at all these places
		n++
		if n > 1 && e.Tag.Validate() != nil {
			t.Fatal("a state that nobody can check")
		}
	}
	im := importing{looked: maxStates, o: ImportOptions{Check: func(context.Context, *Manifest) error { t.Error("asked"); return nil }}}
	data, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	p := &memory{held: map[string][]byte{
		"head/u": head{unit: "u", ids: []ID{idOf(data)}}.encode(), nameOf(manifestKey("u", idOf(data))): data,
	}, asked: make(map[string]int)}
	im.s = opened(t, connect(t))
	im.asking = asking{peer: p, limits: Limits{}.withDefaults(), sizes: make(map[ID]int)}
	if err := im.run(t.Context(), "u"); !errors.Is(err, ErrNoMatch) || p.asked["head/u"] != 1 {
		t.Errorf("%v, asked %v", err, p.asked)
	}
}

// deaf is a peer that heeds no context.
type deaf struct{ asked chan struct{} }

func (p deaf) Get(context.Context, string) ([]byte, error) {
	select {
	case p.asked <- struct{}{}:
	default:
	}
	select {}
}

// An import ends with its context and with its limit of time, whatever its peer
// does.
func TestImportFromADeafPeer(t *testing.T) {
	s := opened(t, connect(t))
	p := deaf{make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-p.asked
		cancel()
	}()
	if _, err := s.Import(ctx, "u", p, ImportOptions{Check: upTo(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	o := ImportOptions{Check: upTo(1), Limits: Limits{MaxTime: 20 * time.Millisecond}}
	_, err := s.Import(t.Context(), "u", p, o)
	if e, ok := errors.AsType[*LimitError](err); !ok || e.Limit != "MaxTime" || !errors.Is(err, ErrLimit) {
		t.Errorf("in time: %v", err)
	}
}

// slowly answers each question after some time: no single answer is slow.
type slowly struct{ *memory }

func (p slowly) Get(ctx context.Context, name string) ([]byte, error) {
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Millisecond):
	}
	return p.memory.Get(ctx, name)
}

func TestImportHasALimitOfTime(t *testing.T) {
	var segments []Segment
	var chunks [][]byte
	for i := range 200 {
		s, c := packed(t, []Change{put("k", string(noise(100, uint64(i))))}, 1<<10)
		s.Chunks = []ID{idOf(c[0])}
		segments, chunks = append(segments, s), append(chunks, c...)
	}
	s := opened(t, connect(t))
	p := slowly{hostile(t, segments, chunks...)}
	_, err := s.Import(t.Context(), "u", p, ImportOptions{Check: upTo(1e6), Limits: Limits{MaxTime: 300 * time.Millisecond}})
	if !errors.Is(err, ErrLimit) || len(keys(t, s, "head")) > 0 {
		t.Fatalf("in time: %v", err)
	}
	// What was fetched stays, so that imports end in the end.
	imported(t, s, p.memory, ImportOptions{})
	fetched := 0
	for name, n := range p.asked {
		if bytes.HasPrefix([]byte(name), []byte("chunk/")) {
			fetched += n
		}
	}
	if fetched > 200+2*uploads {
		t.Errorf("%d chunks were fetched for 200", fetched)
	}
}
