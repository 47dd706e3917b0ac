package eventlog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// listening is a log that other programs reach.
func listening(t *testing.T) eventlog.Options {
	return eventlog.Options{App: logtest.App(t), Dir: t.TempDir(), Listen: "127.0.0.1:-1"}
}

// Each kind of message that is no commit: reading ends at it with an error that
// names it, reads on after it or with it, and goes past it, in every process,
// once it is registered. Healthy tells of it in between.
func TestStrayMessages(t *testing.T) {
	log := logtest.Open(t, listening(t))
	types := []eventlog.FeedOption{eventlog.Type[deposited]("deposited")}
	for i, s := range logtest.Strays("deposited") {
		t.Run(s.Name, func(t *testing.T) {
			ctx := logtest.Context(t)
			f := must(log.Feed(ctx, "feed-"+string(rune('a'+i)), types...))(t)
			put(t, f, "ada", 2)
			seq := s.Publish(t, log, f)
			put(t, f, "bob", 2)
			if seq != 3 {
				t.Fatalf("it is at %d", seq)
			}
			got, err := seqs(ctx, f)
			e, ok := errors.AsType[*eventlog.CorruptError](err)
			if !ok || !errors.Is(err, eventlog.ErrCorrupt) || e.Seq != 3 || e.Feed != f.Name() || !slices.Equal(got, span(1, 2)) || !strings.Contains(err.Error(), "Feed.Pass") {
				t.Fatalf("read %d, %v", got, err)
			}
			if got, err = seqs(ctx, f, eventlog.After(e.Seq)); err != nil || !slices.Equal(got, span(4, 5)) {
				t.Errorf("after it: %d, %v", got, err)
			}
			if err := log.Healthy(ctx); !errors.Is(err, eventlog.ErrCorrupt) || !strings.Contains(err.Error(), f.Name()+"@3") {
				t.Errorf("healthy: %v", err)
			}
			for c, err := range f.Commits(ctx, eventlog.Unreadable()) {
				switch {
				case err != nil:
					t.Fatal(err)
				case c.Seq != 3:
					if c.Problem() != nil {
						t.Errorf("%d: %v", c.Seq, c.Problem())
					}
				default:
					if c.Problem() == nil || c.Key != s.Key || c.Len() != 1 || c.Fingerprint() != e.Print {
						t.Errorf("%+v: %v", c, c.Problem())
					}
					if _, err := c.Event(0).Value(); !errors.Is(err, eventlog.ErrCorrupt) {
						t.Errorf("its value: %v", err)
					}
					if err := c.Event(0).Decode(new(deposited)); !errors.Is(err, eventlog.ErrCorrupt) || string(c.Event(0).Data()) != s.Data {
						t.Errorf("decoded: %v; %q", err, c.Event(0).Data())
					}
				}
			}
			m, ok, err := f.Stored(ctx, 3)
			if err != nil || !ok || string(m.Data) != s.Data || s.Raw != "" && string(m.Header) != s.Raw || m.Print != e.Print || m.Problem == nil || m.Passed {
				t.Errorf("stored: %+v, %v %v", m, ok, err)
			}
			if c, ok, err := f.Lookup(ctx, 3); err != nil || !ok || c.Problem() == nil {
				t.Errorf("looked up: %v %v", ok, err)
			}

			// The append path isn't held up by it.
			if s.Key != "" {
				must(f.AppendDraft(ctx, eventlog.Draft{Key: s.Key, ID: "an-id", Events: []any{deposited{1}}}))(t)
				if _, ok, err := f.Find(ctx, s.Key, "other", 0); ok || err != nil {
					t.Errorf("find: %v, %v", ok, err)
				}
			}

			why := eventlog.Note{Reason: "nats pub", By: "ops", Force: s.Name == "unknown codec"}
			if err := f.Pass(ctx, why, 3); err != nil {
				t.Fatal(err)
			}
			if got, err = seqs(ctx, f, eventlog.Until(5)); err != nil || !slices.Equal(got, []uint64{1, 2, 4, 5}) {
				t.Errorf("passed: %d, %v", got, err)
			}
			if got, err = seqs(ctx, f, eventlog.Unreadable(), eventlog.Until(5)); err != nil || !slices.Equal(got, []uint64{1, 2, 4, 5}) {
				t.Errorf("passed, with others: %d, %v", got, err)
			}
			if err := f.Check(ctx); err != nil {
				t.Errorf("healthy: %v", err)
			}
			gaps := must(f.Gaps(ctx))(t)
			if len(gaps) != 1 || gaps[0].Kind != eventlog.GapPassed || gaps[0].Reason != "nats pub" || gaps[0].By != "ops" || gaps[0].Print != e.Print || !slices.Equal(gaps[0].Ranges, []eventlog.SeqRange{{3, 3}}) {
				t.Errorf("registered: %+v", gaps)
			}
		})
	}
}

// What can be decoded isn't passed over, nor what isn't there; what another
// release may be able to read only by force.
func TestPassRefuses(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Open(t, listening(t))
	f := must(log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited")))(t)
	put(t, f, "ada", 1)
	unknown := logtest.Stray{Rest: "ada", Head: map[string][]string{"Tm-Type": {"newer"}}, Data: "\x80"}.Publish(t, log, f)
	damaged := logtest.Stray{Rest: "ada", Head: map[string][]string{"Tm-Type": {"deposited"}}, Data: "\xc1"}.Publish(t, log, f)
	must(f.AppendDraft(ctx, eventlog.Draft{Key: "ada", Events: []any{deposited{1}}, Tags: []string{"t"}}))(t)
	why := eventlog.Note{Reason: "because"}
	for name, c := range map[string]struct {
		seq  uint64
		why  eventlog.Note
		want string
	}{
		"healthy":      {1, eventlog.Note{Reason: "because", Force: true}, "nothing is wrong"},
		"unknown type": {unknown, why, "Force"},
		"nothing":      {99, why, "AcceptGap"},
		"zero":         {0, why, "begin at 1"},
		"marker":       {5, why, "isn't read"},
		"no reason":    {damaged, eventlog.Note{}, "Reason"},
		"long":         {damaged, eventlog.Note{Reason: strings.Repeat("x", 513)}, "Reason"},
	} {
		// One that could be passed over beside it doesn't help, and isn't.
		if err := f.Pass(ctx, c.why, c.seq, damaged); !errors.Is(err, eventlog.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if gaps := must(f.Gaps(ctx))(t); len(gaps) != 0 {
		t.Errorf("registered: %+v", gaps)
	}
	why.Force = true
	if err := f.Pass(ctx, why, unknown, damaged); err != nil {
		t.Error(err)
	}
	if got, err := seqs(ctx, f); err != nil || !slices.Equal(got, []uint64{1, 4}) {
		t.Errorf("read %d, %v", got, err)
	}
	if err := f.Pass(ctx, why, damaged, unknown); err != nil { // again
		t.Error(err)
	}
	if gaps := must(f.Gaps(ctx))(t); len(gaps) != 1 || gaps[0].By == "" {
		t.Errorf("registered: %+v", gaps)
	}
}
