package effect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
)

type Placed struct{ Item string }

type mail struct{ To, Text string }

// post is the world outside: it notes what it was asked to do.
type post struct {
	mu   sync.Mutex
	sent []string // one for each attempt, as named makes of its ID
	news chan struct{}
	fail func(e effect.Effect[mail]) error
}

// named is an ID of the present form for people: where its cause is, for the
// outbox and the hash.
func named(id, cause string) string {
	_, rest, ok := strings.Cut(id, ":")
	if !ok || len(rest) < 22 {
		return id
	}
	return cause + rest[22:]
}

// id is the effect's of such a text.
func (s *shop) id(text string) string {
	s.t.Helper()
	due, err := s.mails.Due(time.Now().Add(1000*time.Hour), effect.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range s.mails.Parked() {
		due = append(due, e.Effect)
	}
	for _, e := range due {
		if named(e.ID, e.Cause.String()) == text {
			return e.ID
		}
	}
	return text // there is none
}

func newPost() *post { return &post{news: make(chan struct{}, 1000)} }

func (p *post) send(ctx context.Context, e effect.Effect[mail]) error {
	p.mu.Lock()
	p.sent = append(p.sent, named(e.ID, e.Cause.String()))
	fail := p.fail
	p.mu.Unlock()
	p.news <- struct{}{}
	if fail != nil {
		return fail(e)
	}
	return nil
}

func (p *post) ids() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sent)
}

// shop is a process: an outbox on a log, its runtime, and its runner.
type shop struct {
	t      *testing.T
	orders *eventlog.Feed
	mails  *effect.Outbox[mail]
	rt     *projection.Runtime
	cancel context.CancelFunc
	ended  chan error
	gate   atomic.Pointer[chan struct{}] // where there is one, the handler waits for it
}

// Version 2 thanks, too: also for what was ordered long ago, if it could.
func openShop(t *testing.T, log *eventlog.Log, version uint64) *shop {
	t.Helper()
	ctx := logtest.Context(t)
	s := &shop{t: t, ended: make(chan error, 1)}
	var err error
	if s.orders, err = log.Feed(ctx, "orders", eventlog.Type[Placed]("placed")); err != nil {
		t.Fatal(err)
	}
	if s.mails, err = effect.New[mail](ctx, log, "mails", version); err != nil {
		t.Fatal(err)
	}
	effect.On(s.mails, s.orders, func(tx *effect.Tx[mail], e eventlog.Event, d Placed) error {
		if gate := s.gate.Load(); gate != nil {
			<-*gate
		}
		tx.Want("", mail{To: e.Key, Text: d.Item})
		if version > 1 {
			tx.Want("thanks", mail{To: e.Key, Text: "thanks"})
		}
		return nil
	})
	if s.rt, err = (projection.Config{NoSnapshots: true}).Start(ctx, log, s.mails); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func (s *shop) run(p *post, o effect.Options) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.cancel = cancel
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	go func() { s.ended <- s.mails.Run(ctx, p.send, o) }()
}

func (s *shop) stop() {
	s.t.Helper()
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	if err := <-s.ended; err != nil {
		s.t.Errorf("run: %v", err)
	}
}

func (s *shop) close() {
	s.t.Helper()
	s.stop()
	if err := s.rt.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *shop) order(keys ...string) {
	s.t.Helper()
	for _, k := range keys {
		at, err := s.orders.Append(logtest.Context(s.t), k, eventlog.ExpectAny, Placed{"tea"})
		if err != nil {
			s.t.Fatal(err)
		}
		if err := s.rt.Wait(logtest.Context(s.t), at); err != nil {
			s.t.Fatal(err)
		}
	}
}

// outcomes waits until so many outcomes are recorded, and returns them as
// "id type", without marks.
func (s *shop) outcomes(n int) (out []string) {
	s.t.Helper()
	ctx := logtest.Context(s.t)
	var last eventlog.Position
	for e, err := range s.mails.Outcomes().Read(ctx, eventlog.Follow()) {
		if err != nil {
			s.t.Fatalf("behind %q: %v", out, err)
		}
		if e.Type != "marked" {
			out, last = append(out, named(e.Key, e.Header("Effect-Cause"))+" "+e.Type), e.Position()
			if len(out) == n {
				break
			}
		}
	}
	if err := s.rt.Wait(ctx, last); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func wantList(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	got = slices.Sorted(slices.Values(got))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// R2.34: carried out, recorded, and never again: not by a restart, and not by
// a replay.
func TestCarriedOutOnce(t *testing.T) {
	log := logtest.Fresh(t)
	s, p := openShop(t, log, 1), newPost()
	s.order("ada")
	s.run(p, effect.Options{})
	s.order("bob")
	wantList(t, "outcomes", s.outcomes(2), "orders@1.0 done", "orders@2.0 done")
	s.close()
	s = openShop(t, log, 1) // without a snapshot: all is replayed
	if n := s.mails.Pending(); n != 0 {
		t.Errorf("%d are wanted behind a replay", n)
	}
	s.run(p, effect.Options{})
	s.order("cy")
	s.outcomes(3)
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0", "orders@3.0")
}

// T2.17: the process ends between an effect and its outcome: it is attempted
// again with the same ID, and one outcome is recorded.
func TestEndBetweenEffectAndOutcome(t *testing.T) {
	log := logtest.Fresh(t)
	s, p := openShop(t, log, 1), newPost()
	s.order("ada")
	ctx, cancel := context.WithCancel(t.Context())
	err := s.mails.Run(ctx, func(ctx context.Context, e effect.Effect[mail]) error {
		_ = p.send(ctx, e)
		cancel()
		<-ctx.Done()
		return ctx.Err() // nobody knows whether it arrived
	}, effect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	s = openShop(t, log, 1)
	s.run(p, effect.Options{})
	wantList(t, "outcomes", s.outcomes(1), "orders@1.0 done")
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@1.0")
}

var errAway = errors.New("post office closed")

// Failures are retried, also across a restart, and given up; then they are
// listed, retried, dropped.
func TestFailuresAreRetriedAndParked(t *testing.T) {
	log := logtest.Fresh(t)
	s, p := openShop(t, log, 1), newPost()
	p.fail = func(e effect.Effect[mail]) error {
		if e.Key == "cy" {
			panic("no such address")
		}
		return errAway
	}
	s.order("ada", "bob")
	s.run(p, effect.Options{Attempts: 3})
	got := s.outcomes(6)
	wantList(t, "outcomes", got, "orders@1.0 failed", "orders@1.0 failed", "orders@1.0 gave-up",
		"orders@2.0 failed", "orders@2.0 failed", "orders@2.0 gave-up")
	s.order("cy")
	s.outcomes(9)
	s.close()
	s = openShop(t, log, 1)
	parked := s.mails.Parked()
	if len(parked) != 3 || parked[0].ID != s.id("orders@1.0") || parked[0].Intent.To != "ada" || parked[0].Error != errAway.Error() || s.mails.Pending() != 0 {
		t.Fatalf("parked: %+v", parked)
	}
	ctx := logtest.Context(t)
	p.mu.Lock()
	p.fail = nil
	p.mu.Unlock()
	s.run(p, effect.Options{Attempts: 3})
	if err := s.mails.Retry(ctx, s.id("orders@1.0"), "ops"); err != nil {
		t.Fatal(err)
	}
	if err := s.mails.Drop(ctx, s.id("orders@2.0"), "ops"); err != nil {
		t.Fatal(err)
	}
	s.outcomes(12) // retried, dropped, done
	if parked := s.mails.Parked(); len(parked) != 1 || parked[0].ID != s.id("orders@3.0") || s.mails.Pending() != 0 {
		t.Errorf("left: %+v", parked)
	}
	for _, id := range []string{"orders@1.0", "orders@2.0", "orders@77.0"} {
		if err := s.mails.Retry(ctx, s.id(id), "ops"); !errors.Is(err, effect.ErrNotParked) {
			t.Errorf("%s: got %v", id, err)
		}
	}
	if n := len(p.ids()); n != 10 {
		t.Errorf("%d attempts", n)
	}
}

// An attempt that needs a feed whose log lost its tail would fail until somebody
// has decided: Run ends with that, and none of the attempts is used up.
func TestFeedOfAnEffectLostItsTail(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	lost := &eventlog.LossError{Feed: "letters", From: 3, To: 7}
	p.fail = func(effect.Effect[mail]) error { return fmt.Errorf("post: %w", lost) }
	s.order("ada")
	s.run(p, effect.Options{Attempts: 1})
	err := <-s.ended
	s.cancel()
	s.cancel = nil
	if got, ok := errors.AsType[*eventlog.LossError](err); !ok || got != lost {
		t.Fatalf("run: %v", err)
	}
	if n := len(s.mails.Parked()); n != 0 || s.mails.Pending() != 1 {
		t.Errorf("%d given up, %d wanted", n, s.mails.Pending())
	}
	p.fail = nil
	s.run(p, effect.Options{Attempts: 1})
	wantList(t, "outcomes", s.outcomes(1), "orders@1.0 done")
}

func TestPermanentFailure(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	p.fail = func(effect.Effect[mail]) error { return effect.Permanent(errAway) }
	s.order("ada")
	s.run(p, effect.Options{})
	wantList(t, "outcomes", s.outcomes(1), "orders@1.0 gave-up")
}

// A new version states more for old events: those aren't carried out, unless
// the old one hadn't gone so far.
func TestNewVersionStartsWhereTheOldStopped(t *testing.T) {
	log := logtest.Fresh(t)
	s, p := openShop(t, log, 1), newPost()
	p.fail = func(e effect.Effect[mail]) error {
		if e.Key == "cy" {
			return errAway
		}
		return nil
	}
	s.order("ada", "bob")
	s.run(p, effect.Options{Backoff: time.Hour})
	s.order("cy")
	s.outcomes(3) // done, done, failed
	s.close()     // where it stands is marked
	p.fail = nil
	s = openShop(t, log, 2)
	s.order("dee")
	s.run(p, effect.Options{})
	wantList(t, "outcomes", s.outcomes(9)[3:], "orders@1.0/thanks passed", "orders@2.0/thanks passed",
		"orders@3.0 done", "orders@3.0/thanks done", "orders@4.0 done", "orders@4.0/thanks done")
	wantList(t, "sent", p.ids(), "orders@1.0", "orders@2.0", "orders@3.0", "orders@3.0",
		"orders@3.0/thanks", "orders@4.0", "orders@4.0/thanks")
}

func TestSkipHistory(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	s.order("ada")
	s.run(p, effect.Options{SkipHistory: true})
	wantList(t, "outcomes", s.outcomes(1), "orders@1.0 passed")
	// Also where the process ends before it has passed all.
	for e, err := range s.mails.Outcomes().Read(logtest.Context(t)) {
		m, ok := func() any { v, _ := e.Value(); return v }().(effect.Marked)
		if err != nil || !ok || m.At["orders"] != 1 || m.From["orders"] != 1 || m.IDs != "2" {
			t.Errorf("marked first: %+v, %v", m, err)
		}
		break
	}
	s.order("bob")
	s.outcomes(2)
	wantList(t, "sent", p.ids(), "orders@2.0")
}

// T2.14 for effects: one process carries out at a time; another one takes over
// and repeats nothing that is ended.
func TestOneHolderAtATime(t *testing.T) {
	log := logtest.Fresh(t)
	lm := func() *lease.Manager {
		m, err := lease.New(lease.Options{App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), TTL: 5 * time.Second, Memory: log.InMemory()})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b, p := openShop(t, log, 1), openShop(t, log, 1), newPost()
	a.run(p, effect.Options{Leases: lm()})
	b.run(p, effect.Options{Leases: lm()})
	var want []string
	for i := range 20 {
		a.order(fmt.Sprint(i))
		want = append(want, fmt.Sprintf("orders@%d.0", i+1))
	}
	a.outcomes(20)
	a.stop()
	b.order("late")
	want = append(want, "orders@21.0")
	b.outcomes(21)
	wantList(t, "sent", p.ids(), want...)
}
