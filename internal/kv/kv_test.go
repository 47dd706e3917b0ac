package kv_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

func bucketOf(t *testing.T, log *eventlog.Log, name string) *kv.Bucket {
	t.Helper()
	return kv.New(kv.Options{JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Bucket: log.App() + "_" + name, Memory: true})
}

// is compares what is read of a key with what should be there; nil for nothing.
func is(t *testing.T, b *kv.Bucket, key string, want []byte, revision uint64) {
	t.Helper()
	e, err := b.Get(t.Context(), key)
	if err != nil || string(e.Data) != string(want) || (e.Data == nil) != (want == nil) || e.Revision != revision || e.NoBucket {
		t.Errorf("%s: %+v, %v; want %q at %d", key, e, err, want, revision)
	}
	if e, err = b.Read(t.Context(), key); err != nil || string(e.Data) != string(want) || (e.Data == nil) != (want == nil) {
		t.Errorf("%s: read %+v, %v; want %q", key, e, err, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A record from its first write to its removal: every write that expects a
// revision gets through at that one alone, and markers count as one.
func TestRecord(t *testing.T) {
	ctx := t.Context()
	log := logtest.Open(t, eventlog.Options{App: logtest.App(t), Memory: true})
	b, other := bucketOf(t, log, "records"), bucketOf(t, log, "records")
	at, err := b.Swap(ctx, "a", []byte("x"), 0)
	ok(t, err)
	is(t, other, "a", []byte("x"), at)
	is(t, other, "b", nil, 0)
	for _, wrong := range []uint64{0, at + 1} {
		if _, err := other.Swap(ctx, "a", []byte("y"), wrong); !errors.Is(err, kv.ErrMoved) {
			t.Errorf("swap at %d: %v", wrong, err)
		}
		if err := other.Delete(ctx, "a", at+1); !errors.Is(err, kv.ErrMoved) {
			t.Errorf("delete at %d: %v", at+1, err)
		}
	}
	at, err = other.Swap(ctx, "a", []byte{}, at) // empty isn't nothing
	ok(t, err)
	is(t, b, "a", []byte{}, at)
	ok(t, b.Put(ctx, "b", []byte("z")))
	is(t, b, "b", []byte("z"), at+1)

	ok(t, b.Delete(ctx, "a", at))
	is(t, b, "a", nil, at+2)
	if _, err := b.Swap(ctx, "a", []byte("y"), 0); !errors.Is(err, kv.ErrMoved) {
		t.Errorf("swap past a marker: %v", err)
	}
	at, err = b.Swap(ctx, "a", []byte("y"), at+2)
	ok(t, err)
	items, err := b.List(ctx, "*")
	slices.SortFunc(items, func(x, y kv.Item) int { return int(x.Revision) - int(y.Revision) })
	if err != nil || len(items) != 2 || items[0].Key != "b" || items[1].Key != "a" || items[1].Revision != at || items[1].Created.IsZero() {
		t.Errorf("list %+v, %v", items, err)
	}

	ok(t, b.Drop(ctx, "a", at-1)) // it is further: it stays
	is(t, b, "a", []byte("y"), at)
	ok(t, b.Drop(ctx, "a", at))
	is(t, b, "a", nil, 0)
}

// Asking makes no bucket, and tells that there is none; the first write makes
// it, also where it was deleted under one that knew it.
func TestBucketThatIsMissing(t *testing.T) {
	ctx := t.Context()
	log := logtest.Open(t, eventlog.Options{App: logtest.App(t), Memory: true})
	b := bucketOf(t, log, "late")
	missing := func() {
		t.Helper()
		if e, err := b.Get(ctx, "a"); err != nil || !e.NoBucket {
			t.Errorf("get %+v, %v", e, err)
		}
		if _, there, err := b.Now(ctx); err != nil || there {
			t.Errorf("now: %v, %v", there, err)
		}
	}
	missing()
	if e, err := b.Read(ctx, "a"); err != nil || !e.NoBucket {
		t.Errorf("read %+v, %v", e, err)
	}
	if _, err := b.List(ctx, "*"); err == nil {
		t.Error("listed")
	}
	missing()
	c, err := b.Ensure(ctx)
	if err != nil || c.Name != "KV_"+log.App()+"_late" || c.MaxMsgsPerSubject != 1 {
		t.Errorf("made %+v, %v", c, err)
	}
	ok(t, b.Put(ctx, "a", []byte("x")))
	ok(t, log.JetStream().DeleteStream(ctx, c.Name))
	missing()
	if err := b.Put(ctx, "a", []byte("x")); err == nil {
		t.Error("written where there was nothing")
	}
	ok(t, b.Put(ctx, "a", []byte("x")))
	is(t, b, "a", []byte("x"), 1)
}
