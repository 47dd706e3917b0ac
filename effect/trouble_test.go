package effect_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
)

// nilError is an error whose method panics.
type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// Whatever an attempt fails with, it is recorded, and so has an end.
func TestFailuresOfAnyKindEnd(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	p.fail = func(e effect.Effect[mail]) error {
		switch e.Key {
		case "long":
			return errors.New("\xff" + strings.Repeat("x", 2<<20))
		case "nil":
			var err *nilError
			return err
		}
		runtime.Goexit() // as t.FailNow does
		return nil
	}
	s.order("long", "nil", "goexit")
	s.run(p, effect.Options{Attempts: 1})
	wantList(t, "outcomes", s.outcomes(3), "orders@1.0 gave-up", "orders@2.0 gave-up", "orders@3.0 gave-up")
	for i, want := range []string{"\uFFFDxxx", "nilError, whose methods panic", "has ended its goroutine"} {
		if got := s.mails.Parked()[i].Error; !strings.Contains(got, want) || len(got) > 5000 {
			t.Errorf("%d bytes: %.60q, want %q", len(got), got, want)
		}
	}
}

// What was known of an effect, and the mark, were trimmed from the log behind a
// snapshot: both can still be followed by something.
func TestTrimmedOutcomes(t *testing.T) {
	log := logtest.Fresh(t)
	s, p := openShop(t, log, 1), newPost()
	p.fail = func(e effect.Effect[mail]) error {
		if e.Key == "ada" && e.Attempt == 1 {
			return errAway
		}
		return effect.Permanent(errAway)
	}
	s.order("ada", "bob", "cy")
	s.run(p, effect.Options{Backoff: time.Hour}) // ada's second attempt doesn't come
	s.outcomes(3)                                // failed, gave up, gave up
	s.stop()
	ctx := logtest.Context(t)
	feed := s.mails.Outcomes()
	at, err := feed.Append(ctx, "the last one stays", eventlog.ExpectAny, effect.Dropped{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	if st, err := feed.Trim(ctx, at.Seq); err != nil || st.Messages != 1 {
		t.Fatal(st, err)
	}
	if err := s.mails.Retry(ctx, s.id("orders@2.0"), "ops"); err != nil {
		t.Fatal(err)
	}
	if err := s.mails.Drop(ctx, s.id("orders@3.0"), "ops"); err != nil {
		t.Fatal(err)
	}
	p.fail = nil
	s.order("dee")
	s.run(p, effect.Options{})
	done := map[string]int{}
	for e, err := range feed.Read(ctx, eventlog.Follow(), eventlog.After(at.Seq)) {
		if err != nil {
			t.Fatal(err)
		}
		at = e.Position()
		if done[named(e.Key, e.Header("Effect-Cause"))+" "+e.Type]++; done["orders@1.0 done"]+done["orders@2.0 done"]+done["orders@4.0 done"] == 3 {
			break
		}
	}
	if err := s.rt.Wait(ctx, at); err != nil { // what is marked is what the table shows
		t.Fatal(err)
	}
	s.stop()
	if st, err := feed.State(ctx); err != nil {
		t.Fatal(err)
	} else if c, ok, err := feed.Lookup(ctx, st.Last); err != nil || !ok || c.Event(0).Type != "marked" {
		t.Errorf("where the effects stand isn't marked: %+v, %v", c, err)
	}
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0", "orders@3.0", "orders@1.0", "orders@2.0", "orders@4.0")
}

// told is a logger's writer that tells of each line.
type told chan string

func (w told) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// An outcome that can't be recorded is tried again; the effect isn't carried
// out once more for that.
func TestOutcomeThatCantBeRecorded(t *testing.T) {
	log := logtest.Fresh(t)
	s, p := openShop(t, log, 1), newPost()
	ctx := logtest.Context(t)
	limit := func(messages int64) {
		t.Helper()
		stream, err := log.JetStream().Stream(ctx, log.App()+"_mails-outcomes")
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		c.MaxMsgs, c.Discard = messages, jetstream.DiscardNew
		if _, err := log.JetStream().UpdateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	lines := make(told, 1000)
	logger := zerolog.New(lines)
	s.run(p, effect.Options{Logger: &logger})
	s.order("ada")
	s.outcomes(1)
	limit(1)
	s.order("bob")
	for range 3 {
		for line := ""; !strings.Contains(line, "could not be recorded"); {
			select {
			case line = <-lines:
			case <-ctx.Done():
				t.Fatal("it isn't told")
			}
		}
	}
	limit(-1)
	wantList(t, "outcomes", s.outcomes(2), "orders@1.0 done", "orders@2.0 done")
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0")
}

// Another process has recorded an end meanwhile: that is the one, and what
// waits behind it goes on. No more run at once than Parallel says, and what is
// pending can't be retried by hand.
func TestAnotherEndIsTheOne(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	ctx := logtest.Context(t)
	var atOnce atomic.Int32
	p.fail = func(e effect.Effect[mail]) error {
		if n := atOnce.Add(1); n > 1 {
			t.Errorf("%d at once", n)
		}
		defer atOnce.Add(-1)
		_, err := s.mails.Outcomes().AppendDraft(ctx, eventlog.Draft{
			Key: e.ID, Expect: eventlog.ExpectNew, Events: []any{effect.Dropped{By: "another one"}},
			Header: map[string]string{"Effect-Cause": e.Cause.String()},
		})
		return err
	}
	s.order("ada", "bob", "cy")
	if err := s.mails.Retry(ctx, s.id("orders@1.0"), "ops"); !errors.Is(err, effect.ErrNotParked) {
		t.Errorf("got %v", err)
	}
	s.run(p, effect.Options{Parallel: 1})
	wantList(t, "outcomes", s.outcomes(3), "orders@1.0 dropped", "orders@2.0 dropped", "orders@3.0 dropped")
	s.stop()
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0", "orders@3.0")
}

// Run ends with its projection also where another process has the lease, and
// says what to do where there is none.
func TestRunEndsWithItsProjection(t *testing.T) {
	log := logtest.Fresh(t)
	ctx := logtest.Context(t)
	leases, err := lease.New(lease.Options{App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Memory: log.InMemory()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := leases.Acquire(ctx, "effects.mails")
	if err != nil {
		t.Fatal(err)
	}
	s := openShop(t, log, 1)
	ended := make(chan error)
	go func() { ended <- s.mails.Run(ctx, newPost().send, effect.Options{}) }()
	s.order("ada")
	if err := s.rt.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again, behind the end
		if err := <-ended; !errors.Is(err, projection.ErrClosed) {
			t.Errorf("got %v", err)
		}
		go func() { ended <- s.mails.Run(ctx, newPost().send, effect.Options{}) }()
	}
	<-ended
	idle, err := effect.New[mail](ctx, log, "mails", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := idle.Run(ctx, newPost().send, effect.Options{}); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), "projection.Start") {
		t.Errorf("got %v", err)
	}
	if err := l.Release(context.WithoutCancel(ctx)); err != nil {
		t.Error(err)
	}
}
