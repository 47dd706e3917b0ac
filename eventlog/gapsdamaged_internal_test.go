package eventlog

import (
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// again makes the feed's stream anew with its settings, its incarnation too, as
// a log that has lost its end and uses the numbers again; and opens it.
func again(t *testing.T, f *Feed, change func(*jetstream.StreamConfig), opts ...FeedOption) *Feed {
	t.Helper()
	ctx := t.Context()
	s, err := f.log.js.Stream(ctx, f.stream)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if err := f.log.js.DeleteStream(ctx, f.stream); err != nil {
		t.Fatal(err)
	}
	if _, err := f.log.js.CreateStream(ctx, c); err != nil {
		t.Fatal(err)
	}
	log, err := Open(ctx, Options{App: "a", Conn: f.log.nc})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	g, err := log.Feed(ctx, f.name, append(opts, Type[jotted]("note"))...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// withStray is a feed of 4 messages, of which the second was passed over.
func withStray(t *testing.T) *Feed {
	t.Helper()
	f := openNotes(t, t.TempDir())
	fill(t, f, 1, 1)
	if _, err := f.log.js.Publish(t.Context(), f.prefix+"k0", []byte("x")); err != nil {
		t.Fatal(err)
	}
	fill(t, f, 2, 1)
	if err := f.Pass(t.Context(), Note{Reason: "nats pub"}, 2); err != nil {
		t.Fatal(err)
	}
	return f
}

// A log that lost its end has other messages at the positions of those that
// were passed over, or are gone: they are read. Of a stream with another
// incarnation the register says nothing.
func TestPassedIsOneMessage(t *testing.T) {
	f := withStray(t)
	byHand(t, f, "k0")
	fill(t, f, 1, 1) // 5
	if _, err := f.AcceptGap(t.Context(), Note{Reason: "purged"}, 1, 0); err != nil {
		t.Fatal(err)
	}
	g := again(t, f, func(*jetstream.StreamConfig) {})
	fill(t, g, 4, 1)
	if got, err := all(g.Commits(t.Context())); err != nil || !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("read %d, %v", got, err)
	}
	if list, err := g.Gaps(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("registered %+v, %v", list, err)
	}
	g = again(t, g, func(c *jetstream.StreamConfig) { c.Metadata[metaIncarnation] = "other" }, Recreate())
	fill(t, g, 3, 2)
	if list, err := g.Gaps(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("registered %+v, %v", list, err)
	}
	byHand(t, g, "k1")
	if e, ok := errors.AsType[*GapsError](g.Check(t.Context())); !ok || e.Missing != 1 {
		t.Errorf("check: %v", e)
	}
}

// A register that can't be read explains nothing, isn't written over, and is
// told of; put back, it counts again.
func TestRegisterOfGapsDamaged(t *testing.T) {
	ctx := t.Context()
	f := withStray(t)
	e, err := f.log.feedRegister.Get(ctx, f.gapsKey())
	if err != nil {
		t.Fatal(err)
	}
	flipped, newer := slices.Clone(e.Data), slices.Clone(e.Data)
	flipped[len(flipped)/2] ^= 1
	newer[0]++
	for name, bad := range map[string][]byte{"damaged": flipped, "newer": newer, "empty": {}, "something else": []byte("x")} {
		if err := f.log.feedRegister.Put(ctx, f.gapsKey(), bad); err != nil {
			t.Fatal(err)
		}
		g := another(t, f)
		if got, err := all(g.Commits(ctx)); !errors.Is(err, ErrCorrupt) || !slices.Equal(got, []uint64{1}) {
			t.Errorf("%s: read %d, %v", name, got, err)
		}
		if err := g.Check(ctx); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: check: %v", name, err)
		}
		if _, err := g.Gaps(ctx); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: listed: %v", name, err)
		}
		if err := g.Pass(ctx, Note{Reason: "x"}, 2); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: written: %v", name, err)
		}
		if e, err := f.log.feedRegister.Get(ctx, f.gapsKey()); err != nil || string(e.Data) != string(bad) {
			t.Errorf("%s: it was written over: %q, %v", name, e.Data, err)
		}
	}
	if err := f.log.feedRegister.Put(ctx, f.gapsKey(), e.Data); err != nil {
		t.Fatal(err)
	}
	if got, err := all(another(t, f).Commits(ctx)); err != nil || !slices.Equal(got, []uint64{1, 3, 4}) {
		t.Errorf("put back: read %d, %v", got, err)
	}
}
