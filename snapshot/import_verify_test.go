package snapshot

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// watched is a bucket of which a test sees each write before it happens.
type watched struct {
	bucket
	before func(key string)
}

func (w *watched) put(ctx context.Context, key string, data []byte) error {
	w.before(key)
	return w.bucket.put(ctx, key, data)
}

func (w *watched) swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	w.before(key)
	return w.bucket.swap(ctx, key, data, revision)
}

// R3.18: what is fetched is read back and compared before it is swapped in:
// until the one write that moves the head the old state is the newest, and all
// chunks of the new one are there by then.
func TestImportSwapsInAtItsEnd(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc, func(o *Options) { o.ChunkSize = 4 << 10 }))
	hundreds(t, p)
	own := publish(opened(t, nc))
	own.save(t, 30, put("k1", "0"))
	var mu sync.Mutex
	var writes []string
	w := &watched{bucket: own.s.bucket}
	w.before = func(key string) {
		kind, _, _ := strings.Cut(key, ".")
		mu.Lock()
		if n := len(writes); n == 0 || writes[n-1] != kind {
			writes = append(writes, kind)
		}
		mu.Unlock()
		if kind == "chunk" {
			return // several at a time
		}
		wantNewest(t, own.s, 30, own.state)
		for _, id := range p.base.chunks() {
			if data, err := own.s.stored(t.Context(), id); err != nil || data == nil {
				t.Errorf("before the write of %s, chunk %s isn't there: %v", key, id.short(), err)
			}
		}
	}
	imported(t, newStore(own.s.opts, w), p.s.Peer(), ImportOptions{})
	if got := strings.Join(writes, " "); got != "chunk manifest head" {
		t.Errorf("writes: %s", got)
	}
	wantNewest(t, own.s, 300, p.state)
}

// T3.10, R3.18: each chunk of the peer's is whole, and together they aren't the
// state that its manifest says, by the digest. The import fails, the head stays
// where it was, and the report names no manifest.
func TestImportReadsBack(t *testing.T) {
	nc := connect(t)
	for name, whole := range map[string]bool{"on top": false, "whole": true} {
		t.Run(name, func(t *testing.T) {
			p := publish(opened(t, nc))
			p.save(t, 100, put("k1", "1"))
			p.state["never"] = "stored" // so the digest is that of another state
			p.save(t, 200, put("k2", "2"))
			own := publish(opened(t, nc))
			own.save(t, 30, put("k1", "0"))
			before := everything(t, own.s)
			r, err := own.s.Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: func(_ context.Context, m *Manifest) error {
				if at, _ := m.Tag.At.Get("orders"); at != 200 {
					return ErrNoMatch // the older state is whole
				}
				return nil
			}, Whole: whole})
			if !errors.Is(err, ErrNoMatch) && !errors.Is(err, ErrCorrupt) || !r.Manifest.IsZero() {
				t.Fatalf("%+v, %v", r, err)
			}
			after := everything(t, own.s)
			for key := range after {
				if !strings.HasPrefix(key, chunkPrefix) && after[key] != before[key] {
					t.Errorf("%s was written", key)
				}
			}
			wantNewest(t, own.s, 30, own.state)
		})
	}
}
