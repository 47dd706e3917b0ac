package eventlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

func TestReadRanges(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	if got, err := seqs(ctx, f); err != nil || got != nil {
		t.Errorf("empty log: %v, %v", got, err)
	}
	if got, err := seqs(ctx, f, eventlog.OfKey("a")); err != nil || got != nil {
		t.Errorf("empty log, a key: %v, %v", got, err)
	}
	for i := range 10 { // a: 1 3 5 7 9, b: 2 4 6 8 10
		put(t, f, []string{"a", "b"}[i%2], 1)
	}
	after, until, of := eventlog.After, eventlog.Until, eventlog.OfKey
	for i, c := range []struct {
		opts []eventlog.ReadOption
		want []uint64
	}{
		{nil, span(1, 10)},
		{[]eventlog.ReadOption{after(4)}, span(5, 10)},
		{[]eventlog.ReadOption{after(9)}, span(10, 10)},
		{[]eventlog.ReadOption{after(10)}, nil},
		{[]eventlog.ReadOption{until(0)}, nil},
		{[]eventlog.ReadOption{until(1)}, span(1, 1)},
		{[]eventlog.ReadOption{until(10)}, span(1, 10)},
		{[]eventlog.ReadOption{until(99)}, span(1, 10)},
		{[]eventlog.ReadOption{after(3), until(6)}, span(4, 6)},
		{[]eventlog.ReadOption{after(6), until(3)}, nil},
		{[]eventlog.ReadOption{of("a")}, []uint64{1, 3, 5, 7, 9}},
		{[]eventlog.ReadOption{of("a"), after(3)}, []uint64{5, 7, 9}},
		{[]eventlog.ReadOption{of("a"), after(9)}, nil},
		{[]eventlog.ReadOption{of("a"), until(6)}, []uint64{1, 3, 5}},
		{[]eventlog.ReadOption{of("a"), until(99)}, []uint64{1, 3, 5, 7, 9}},
		{[]eventlog.ReadOption{of("b"), until(1)}, nil},
		{[]eventlog.ReadOption{of("b"), after(2), until(4)}, []uint64{4}},
		{[]eventlog.ReadOption{of("c")}, nil},
		{[]eventlog.ReadOption{of("c"), until(5), eventlog.Follow()}, nil},
		{[]eventlog.ReadOption{eventlog.Follow(), until(10)}, span(1, 10)},
		{[]eventlog.ReadOption{eventlog.Follow(), until(3), of("b")}, []uint64{2}},
		{[]eventlog.ReadOption{eventlog.Follow(), until(10), after(10)}, nil},
	} {
		if got, err := seqs(ctx, f, c.opts...); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("case %d: %v, %v, want %v", i, got, err, c.want)
		}
	}
}

// L1: the server accepts a start above the end and skips what comes next; a
// reader must not (R3.13).
func TestReadAboveTheEnd(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 90)
	for _, opts := range [][]eventlog.ReadOption{
		{eventlog.After(100)},
		{eventlog.After(91), eventlog.Follow()},
		{eventlog.After(100), eventlog.OfKey("k"), eventlog.AllowTrimmed()},
	} {
		_, err := seqs(ctx, f, opts...)
		re, ok := errors.AsType[*eventlog.RangeError](err)
		if !ok || !errors.Is(err, eventlog.ErrLostTail) || re.Last != 90 {
			t.Errorf("got %v", err)
		}
	}
}

// T3.14: a stream that was deleted and created again is another log, however
// far it reaches.
func TestReadRecreated(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f := accounts(t, log)
	put(t, f, "k", 5)
	follower, err := f.NewReader(ctx, eventlog.After(5), eventlog.Follow())
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	cfg := jsStream(t, f).CachedInfo().Config
	if err := log.JetStream().DeleteStream(ctx, f.Stream()); err != nil {
		t.Fatal(err)
	}
	_, err = seqs(ctx, f)
	wantErr(t, err, eventlog.ErrLostTail, "deleted")
	if o, err := f.Observe(ctx, 1); err != nil || o.Exists {
		t.Errorf("observed %+v, %v", o, err)
	}
	cfg.Metadata["tidemark-incarnation"] = "another"
	logtest.CreateStream(t, log.JetStream(), cfg)
	_, err = f.Append(ctx, "k", eventlog.ExpectAny, deposited{1})
	wantErr(t, err, eventlog.ErrMissing, "since the feed was opened")
	for range 20 {
		if _, err := log.JetStream().Publish(ctx, log.App()+".accounts.k", nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err = seqs(ctx, f, eventlog.After(5))
	wantErr(t, err, eventlog.ErrLostTail, "created again")
	_, err = follower.Next(ctx)
	wantErr(t, err, eventlog.ErrLostTail)
	if _, again := follower.Next(ctx); !errors.Is(again, eventlog.ErrLostTail) {
		t.Errorf("the error isn't final: %v", again)
	}
}

// R3.16, T3.15: a log that was trimmed past the position is a loud error.
func TestReadTrimmed(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 10)
	purge(t, f, 6)
	for _, opts := range [][]eventlog.ReadOption{nil, {eventlog.After(4)}, {eventlog.OfKey("k")}, {eventlog.Follow()}} {
		_, err := seqs(ctx, f, opts...)
		re, ok := errors.AsType[*eventlog.RangeError](err)
		if !ok || !errors.Is(err, eventlog.ErrTrimmed) || re.First != 6 {
			t.Errorf("got %v", err)
		}
	}
	for i, opts := range [][]eventlog.ReadOption{
		{eventlog.AllowTrimmed()},
		{eventlog.After(5)},
		{eventlog.After(2), eventlog.AllowTrimmed(), eventlog.OfKey("k")},
	} {
		if got, err := seqs(ctx, f, opts...); err != nil || !slices.Equal(got, span(6, 10)) {
			t.Errorf("case %d: %v, %v", i, got, err)
		}
	}
	purge(t, f, 11)
	if got, err := seqs(ctx, f, eventlog.After(10)); err != nil || got != nil {
		t.Errorf("all trimmed, at the end: %v, %v", got, err)
	}
	if got, err := seqs(ctx, f, eventlog.AllowTrimmed()); err != nil || got != nil {
		t.Errorf("all trimmed, allowed: %v, %v", got, err)
	}
	_, err := seqs(ctx, f, eventlog.After(9))
	wantErr(t, err, eventlog.ErrTrimmed)
	put(t, f, "k", 1)
	if got, err := seqs(ctx, f, eventlog.AllowTrimmed()); err != nil || !slices.Equal(got, span(11, 11)) {
		t.Errorf("after all: %v, %v", got, err)
	}
}

// What is trimmed before a reader gets there is an ErrTrimmed, or left out
// where that is allowed; a reader with an end doesn't wait for it for ever.
func TestPurgeAboveReader(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	big := opened{strings.Repeat("x", 500<<10)} // what is asked for ahead holds few
	for range 100 {
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, big); err != nil {
			t.Fatal(err)
		}
	}
	plain, err1 := f.NewReader(ctx)
	lenient, err2 := f.NewReader(ctx, eventlog.AllowTrimmed())
	keyed, err3 := f.NewReader(ctx, eventlog.OfKey("k"))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*eventlog.Reader{"plain": plain, "lenient": lenient, "keyed": keyed} {
		defer r.Close()
		if b, err := r.Next(ctx); err != nil || len(b) == 0 || b[len(b)-1].Seq == 100 {
			t.Fatalf("%s: %d commits, %v", name, len(b), err)
		}
	}
	purge(t, f, 101)
	for name, r := range map[string]*eventlog.Reader{"plain": plain, "lenient": lenient, "keyed": keyed} {
		b, err := r.Next(ctx)
		for err == nil && len(b) > 0 {
			b, err = r.Next(ctx)
		}
		if name == "plain" {
			wantErr(t, err, eventlog.ErrTrimmed)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadersReleaseTheirConsumers(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "k", 100)
	for range 3 {
		for range f.Read(ctx) {
			break
		}
		for range f.Commits(ctx, eventlog.Follow(), eventlog.OfKey("k")) {
			break
		}
		func() {
			defer func() { _ = recover() }()
			for range f.Read(ctx) {
				panic("of the loop's body")
			}
		}()
	}
	if _, err := seqs(ctx, f); err != nil {
		t.Error(err)
	}
	s := jsStream(t, f)
	eventually(t, "no consumer is left", func() bool {
		info, err := s.Info(ctx)
		return err == nil && info.State.Consumers == 0
	})
}

// Commits of 1 byte to nearly the largest size, mixed.
func TestReadMixedSizes(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	rnd := rand.New(rand.NewPCG(1, 2))
	sizes := []int{1, 10, 1000, 60_000, 300_000, 1<<20 - 400}
	var want []int
	for range 80 {
		n := sizes[rnd.IntN(len(sizes))]
		want = append(want, n)
		if _, err := f.Append(ctx, "k", eventlog.ExpectAny, opened{strings.Repeat("x", n)}); err != nil {
			t.Fatal(err)
		}
	}
	var readers []func() error
	for range 3 {
		readers = append(readers, func() error {
			i := 0
			for e, err := range f.Read(ctx) {
				if err != nil {
					return err
				}
				if v, err := e.Value(); err != nil || len(v.(opened).Owner) != want[i] {
					return fmt.Errorf("commit %d: %w", e.Seq, err)
				}
				i++
			}
			if i != len(want) {
				return fmt.Errorf("%d commits, want %d", i, len(want))
			}
			return nil
		})
	}
	errs := make(chan error, len(readers))
	for _, r := range readers {
		go func() { errs <- r() }()
	}
	for range readers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if m := f.Metrics(); m.Restarts != 0 {
		t.Errorf("%d restarts", m.Restarts)
	}
	if _, ok, err := f.Lookup(ctx, uint64(slices.Index(want, 1<<20-400)+1)); !ok || err != nil {
		t.Errorf("lookup of a large one: %v, %v", ok, err)
	}
}

func TestReadManyWhileWriting(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	const n = 50_000
	go func() {
		for i := range n {
			if _, err := f.AppendAsync(ctx, eventlog.Draft{Key: fmt.Sprint("k", i%100), Events: []any{deposited{int64(i)}}}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	want := uint64(1)
	for e, err := range f.Read(ctx, eventlog.Follow(), eventlog.Until(n)) {
		if err != nil {
			t.Fatal(err)
		}
		if v, err := e.Value(); err != nil || e.Seq != want || v != (deposited{int64(want - 1)}) {
			t.Fatalf("%d: %v, %v, want %d", e.Seq, v, err, want)
		}
		want++
	}
	if m := f.Metrics(); want != n+1 || m.Restarts != 0 || m.Read != n {
		t.Errorf("read up to %d, metrics %+v", want-1, m)
	}
}
