package projection

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// ErrStuck: a handler, a hook or a View hasn't returned for so long that
// something is wrong with it, and its unit doesn't go on meanwhile.
var ErrStuck = errors.New("projection stuck")

// stuckAfter is Config.StuckAfter. A Rehearsal has no configuration.
func (u *unit) stuckAfter() time.Duration {
	return cmp.Or(u.rt.cfg.StuckAfter, defaultStuckAfter)
}

const defaultStuckAfter = 5 * time.Second

// atWork is what a unit is at: since when, and with which commits. The unit
// writes it before each run, without a lock.
type atWork struct {
	since atomic.Int64 // nanoseconds of the wall clock; 0: nothing
	feed  atomic.Pointer[eventlog.Feed]
	first atomic.Uint64 // sequence of the run's first commit
	last  atomic.Uint64
}

func (w *atWork) begin(f *eventlog.Feed, run []eventlog.Commit, now time.Time) {
	w.feed.Store(f)
	w.first.Store(run[0].Seq)
	w.last.Store(run[len(run)-1].Seq)
	w.since.Store(now.UnixNano())
}

func (w *atWork) end() { w.since.Store(0) }

// busy is how long the unit has been at its present run, and what that is.
func (w *atWork) busy() (time.Duration, string) {
	since := w.since.Load()
	f := w.feed.Load()
	if since == 0 || f == nil {
		return 0, ""
	}
	what := eventlog.Position{Feed: f.Name(), Seq: w.first.Load()}.String()
	if last := w.last.Load(); last != w.first.Load() {
		what = fmt.Sprintf("%s to @%d", what, last)
	}
	return max(0, time.Since(time.Unix(0, since))), what
}

// stuck is an ErrStuck where the unit has been at one run for too long.
func (u *unit) stuck() error {
	took, what := u.work.busy()
	if took < u.stuckAfter() {
		return nil
	}
	return fmt.Errorf("projection: unit %q: %w: its handlers have been at %s for %s: a handler doesn't return, or waits for a View that doesn't", u.name, ErrStuck, what, took.Round(time.Second))
}

// warnLater warns where the present goroutine still waits for the unit after
// a while: it may be one that a handler has started and waits for, which can't
// be told from one that waits as others do.
func (u *unit) warnLater(call, name string) (stop func()) {
	after := u.stuckAfter()
	timer := time.AfterFunc(after, func() {
		_, what := u.work.busy()
		text := fmt.Sprintf("projection: %s of %q has waited %s for handlers that are at %s: does a handler wait for a goroutine that reads a table of its own unit?", call, name, after, what)
		if u.rt.log == nil { // a Rehearsal, in a test
			fmt.Fprintln(os.Stderr, text)
			return
		}
		u.rt.cfg.Logger.Warn().Str("unit", u.name).Str("stack", u.stack()).Msg(text)
	})
	return func() { timer.Stop() }
}

// stack is where the unit's goroutine is; "" where that isn't found in the
// first megabyte of all stacks.
func (u *unit) stack() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	_, mine, ok := bytes.Cut(buf, fmt.Appendf(nil, "goroutine %d [", u.runner.Load()))
	if !ok {
		return ""
	}
	mine, _, _ = bytes.Cut(mine, []byte("\n\n"))
	return "[" + string(mine[:min(len(mine), 4096)])
}
