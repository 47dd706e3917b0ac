package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
)

var errInjected = errors.New("injected failure")

// faulty is a bucket of which one write fails: before it happens, or after it,
// as when the answer is lost.
type faulty struct {
	bucket
	mu     sync.Mutex
	writes int
	fail   int  // which write fails, from 1; 0: none
	after  bool // the write happens all the same
	dead   bool // as a process that died: so does every later call
	died   bool
}

// write runs one write, or not.
func (f *faulty) write(do func() error) error {
	f.mu.Lock()
	f.writes++
	hit := f.writes == f.fail
	died := f.died
	f.died = died || hit && f.dead
	f.mu.Unlock()
	if died || hit && !f.after {
		return errInjected
	}
	if err := do(); err != nil || !hit {
		return err
	}
	return errInjected
}

func (f *faulty) gone() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.died {
		return errInjected
	}
	return nil
}

func (f *faulty) put(ctx context.Context, key string, data []byte) error {
	return f.write(func() error { return f.bucket.put(ctx, key, data) })
}

func (f *faulty) swap(ctx context.Context, key string, data []byte, revision uint64) (now uint64, err error) {
	err = f.write(func() (err error) {
		now, err = f.bucket.swap(ctx, key, data, revision)
		return err
	})
	return now, err
}

func (f *faulty) leader(ctx context.Context, key string) (entry, error) {
	if err := f.gone(); err != nil {
		return entry{}, err
	}
	return f.bucket.leader(ctx, key)
}

func (f *faulty) get(ctx context.Context, key string) ([]byte, error) {
	if err := f.gone(); err != nil {
		return nil, err
	}
	return f.bucket.get(ctx, key)
}

// seed saves seven small cuts of two members, so that the ninth segment, which
// makes a compaction due, is two away. It returns the state.
func seed(t testing.TB, s *Store, unit string) (*Manifest, map[string]string) {
	t.Helper()
	var m *Manifest
	state := make(map[string]string)
	for i := range uint64(8) {
		key, value := fmt.Sprintf("k%d", i%5), fmt.Sprintf("v%d", i)
		state[key] = value
		m = saved(t, s, unit, m, cut(i+1, member("a", put(key, value)), member("b", put(key, value))))
	}
	return m, state
}

// T1.6, T1.4: the k-th write of a save fails, for every k until none does.
// Whatever fails, what was saved before stays loadable, and a retry succeeds,
// in this process or in the next.
func TestFailureOfEveryWrite(t *testing.T) {
	nc := connect(t)
	for _, mode := range []struct{ after, dead bool }{{}, {after: true}, {dead: true}, {dead: true, after: true}} {
		t.Run(fmt.Sprintf("after=%v/dead=%v", mode.after, mode.dead), func(t *testing.T) {
			s := opened(t, nc, func(o *Options) { o.ChunkSize = minChunkSize })
			for k := 1; ; k++ {
				if failWrite(t, s, k, mode.after, mode.dead) < k {
					if k < 8 {
						t.Fatalf("only %d writes", k-1)
					}
					return
				}
			}
		})
	}
}

// failWrite runs one save of which the k-th write fails, checks what is there
// and retries; it returns how many writes there were.
func failWrite(t *testing.T, s *Store, k int, after, dead bool) int {
	unit := fmt.Sprintf("u%d", k)
	base, before := seed(t, s, unit)
	next := map[string]string{"big": string(noise(3000, uint64(k)))}
	maps.Copy(next, before)
	delete(next, "k1")
	c := cut(20, member("a", put("big", next["big"]), del("k1")), member("b", put("big", next["big"]), del("k1")))

	f := &faulty{bucket: s.bucket, fail: k, after: after, dead: dead}
	broken := newStore(s.opts, f)
	m, err := broken.Save(t.Context(), unit, base, c)
	writes := f.writes
	found, _ := newest(t, s, unit)
	if found == nil {
		t.Fatalf("write %d: nothing is left", k)
	}
	switch {
	case err == nil && m.Tag.Equal(c.Tag) && found.Tag.Equal(c.Tag): // whole
		wantState(t, s, found, "a", next)
		wantState(t, s, found, "b", next)
	case err != nil && found.ID == base.ID: // absent
		wantState(t, s, found, "a", before)
		wantState(t, s, found, "b", before)
	case err != nil && dead && after: // its outcome couldn't be known
		wantState(t, s, found, "a", next)
	default:
		t.Fatalf("write %d: error %v, newest is at %s", k, err, found.Tag.At)
	}
	f.fail, f.died = 0, false // the connection is back
	if err != nil {
		if m, err = broken.Save(t.Context(), unit, base, c); err != nil {
			t.Fatalf("write %d: the retry: %v", k, err)
		}
	}
	wantState(t, s, m, "a", next)
	m = saved(t, broken, unit, m, cut(21, member("a", put("z", "z")), member("b")))
	next["z"] = "z"
	wantState(t, again(t, s), m, "a", next)
	return writes
}

func TestCompactionFailureDoesNotFailTheSave(t *testing.T) {
	s := opened(t, connect(t))
	base, state := seed(t, s, "u")
	f := &faulty{bucket: s.bucket, fail: 5} // two chunks, manifest, head, then the compaction's first
	opts := s.opts
	var reported error
	opts.Hooks.CompactFailed = func(_ string, err error) { reported = err }
	broken := newStore(opts, f)
	m := saved(t, broken, "u", base, cut(9, member("a", put("n", "n")), member("b", put("n", "n"))))
	state["n"] = "n"
	wantState(t, s, m, "a", state)
	if !errors.Is(reported, errInjected) || broken.Stats().CompactErrors != 1 {
		t.Fatalf("reported %v", reported)
	}
	m = saved(t, broken, "u", m, cut(10, member("a", put("n", "n2")), member("b")))
	state["n"] = "n2"
	wantState(t, s, m, "a", state)
	if a, _ := m.Member("a"); broken.Stats().Compactions != 1 || len(a.Segments) != 1 {
		t.Fatalf("%d compactions, %d segments", broken.Stats().Compactions, len(a.Segments))
	}
}
