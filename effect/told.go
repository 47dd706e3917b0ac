package effect

import (
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/panics"
)

// Failure is an attempt that failed.
type Failure struct {
	Outbox  string
	ID      string            // the effect's
	Key     string            // of the event that it was stated for
	Cause   eventlog.Position // of that event's commit
	Attempt int               // counts from 1
	Err     error             // the handler's
	// GaveUp: it was the last attempt. The effect is listed by Outbox.Parked.
	GaveUp bool
	// Again is how long after this attempt the next one comes; 0 where none does.
	Again time.Duration
}

// failure is what is told of an attempt; nil where that succeeded.
func (r *runner[I]) failure(id string, row *record[I], outcome any, err error) *Failure {
	f := &Failure{Outbox: r.o.name, ID: id, Key: row.Key, Cause: eventlog.Position{Feed: row.Feed, Seq: row.Seq}, Attempt: row.Attempts + 1, Err: err}
	switch outcome.(type) {
	case Failed:
		f.Again = r.opts.wait(f.Attempt)
	case GaveUp:
		f.GaveUp = true
	default:
		return nil
	}
	return f
}

const (
	// tellFailed and tellGaveUp are how many lines of each kind are logged in a
	// minute: an outage makes all effects fail, again and again.
	tellFailed = 10
	tellGaveUp = 100
	tellEvery  = time.Minute
)

// teller logs what fails, and tells the hooks.
type teller struct {
	opts          Options
	fails, losses quota
}

func newTeller(opts Options) *teller {
	return &teller{opts: opts, fails: quota{most: tellFailed}, losses: quota{most: tellGaveUp}}
}

// failed tells of an attempt that will be repeated.
func (t *teller) failed(f *Failure) {
	if f == nil || f.GaveUp {
		return
	}
	if ok, left := t.fails.take(time.Now()); ok {
		f.log(t.opts.Logger.Warn(), left).Dur("again_in", f.Again).Msg("effect: an attempt failed")
	}
	t.hook("Failed", t.opts.Failed, f)
}

// gaveUp tells of an effect that was given up.
func (t *teller) gaveUp(f *Failure) {
	if f == nil || !f.GaveUp {
		return
	}
	if ok, left := t.losses.take(time.Now()); ok {
		f.log(t.opts.Logger.Error(), left).Msg("effect: given up: Retry or Drop it")
	}
	t.hook("GaveUp", t.opts.GaveUp, f)
}

// log fills a line in. The error's further lines are a panic's stack.
func (f *Failure) log(line *zerolog.Event, left int) *zerolog.Event {
	text, stack, _ := strings.Cut(textOf(f.Err), "\n")
	line.Str("error", text).Str("outbox", f.Outbox).Str("effect", f.ID).Str("key", f.Key).Stringer("cause", f.Cause).Int("attempt", f.Attempt)
	if stack != "" {
		line.Str("stack", stack)
	}
	if left > 0 {
		line.Int("left_out", left)
	}
	return line
}

// textOf is an error's text, whatever its methods do.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("an error of type %T, whose methods panic", err)
		}
	}()
	return err.Error()
}

// hook calls a function of Options. Its panic ends nothing, and is logged.
func (t *teller) hook(name string, fn func(Failure), f *Failure) {
	if fn == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			t.opts.Logger.Error().Str("outbox", f.Outbox).Str("stack", string(debug.Stack())).
				Msgf("effect: Options.%s panicked at %s: %v", name, panics.Place(), p)
		}
	}()
	fn(*f)
}

// quota bounds how many lines there are in a minute.
type quota struct {
	most int

	mu    sync.Mutex
	since time.Time // of the present minute
	taken int
	left  int // lines that were left out
}

// take says whether a line may be written, and how many were left out before.
func (q *quota) take(now time.Time) (ok bool, left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.since) >= tellEvery {
		q.since, q.taken = now, 0
	}
	if q.taken == q.most {
		q.left++
		return false, 0
	}
	left, q.left = q.left, 0
	q.taken++
	return true, left
}
