package eventlog_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// Trimming takes what is below, whole, and nothing else; again, it changes
// nothing; what is left is read from its first commit on, and the log of a
// feed that was trimmed grows as before.
func TestTrim(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f := must(log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited")))(t)
	for range 20 {
		must(f.Append(ctx, "ada", eventlog.ExpectAny, deposited{1}))(t)
	}
	for _, bad := range []uint64{0, 21, 100} {
		if _, err := f.Trim(ctx, bad); !errors.Is(err, eventlog.ErrInvalid) {
			t.Errorf("to %d: %v", bad, err)
		}
	}
	for _, from := range []uint64{8, 8, 3} {
		if st := must(f.Trim(ctx, from))(t); st.First != 8 || st.Last != 20 || st.Messages != 13 {
			t.Errorf("to %d: %+v", from, st)
		}
	}
	if st := must(f.Trim(ctx, 20))(t); st.First != 20 || st.Messages != 1 {
		t.Errorf("to the last one: %+v", st)
	}
	// An expectation of what is left holds, and the log goes on.
	at := must(f.Append(ctx, "ada", eventlog.ExpectSeq(20), deposited{1}))(t)
	if at.Seq != 21 {
		t.Errorf("appended at %d", at.Seq)
	}
	var got []uint64
	for c, err := range f.Commits(ctx, eventlog.After(19)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Seq)
	}
	if !slices.Equal(got, []uint64{20, 21}) {
		t.Errorf("read %d", got)
	}
	if _, err := f.NewReader(ctx); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Errorf("from the start: %v", err)
	}
	if ds := f.Drift(); len(ds) != 0 {
		t.Errorf("drift %v", ds)
	}
}

// A stream that denies purging isn't trimmed, and drift says why; a stream
// that was replaced under the feed isn't touched.
func TestTrimRefused(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	f := must(log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited")))(t)
	for range 5 {
		must(f.Append(ctx, "ada", eventlog.ExpectAny, deposited{1}))(t)
	}
	js := log.JetStream()
	cfg := must(js.Stream(ctx, f.Stream()))(t).CachedInfo().Config
	cfg.DenyPurge = true
	if err := js.DeleteStream(ctx, f.Stream()); err != nil {
		t.Fatal(err)
	}
	logtest.CreateStream(t, js, cfg)
	for range 5 {
		must(f.Append(ctx, "ada", eventlog.ExpectAny, deposited{1}))(t)
	}
	if _, err := f.Trim(ctx, 3); !errors.Is(err, eventlog.ErrRefused) {
		t.Errorf("denied: %v", err)
	}
	if !slices.ContainsFunc(f.Drift(), func(d eventlog.Drift) bool { return d.Setting == "deny_purge" }) {
		t.Errorf("drift %v", f.Drift())
	}
	if err := js.DeleteStream(ctx, f.Stream()); err != nil {
		t.Fatal(err)
	}
	cfg.DenyPurge = false
	cfg.Metadata["tidemark-incarnation"] = "another"
	s := logtest.CreateStream(t, js, cfg)
	for range 5 {
		must(js.Publish(ctx, log.App()+".accounts.ada", nil))(t)
	}
	before := must(s.Info(ctx))(t).State
	if _, err := f.Trim(ctx, 3); !errors.Is(err, eventlog.ErrRecreated) && !errors.Is(err, eventlog.ErrMissing) {
		t.Errorf("recreated: %v", err)
	}
	if after := must(s.Info(ctx))(t).State; after.Msgs != before.Msgs || after.FirstSeq != before.FirstSeq {
		t.Errorf("it was trimmed: %+v, %+v before", after, before)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
