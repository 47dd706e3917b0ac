package projection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Preview finds out what a commit would change in all tables, behind what each
// of them includes now, and changes nothing: neither tables, positions,
// snapshots nor the log, and no watcher is told. It takes the time of one step,
// in which readers of the tables wait, on the goroutine of each unit that reads
// the feed. It may be called by several goroutines at a time.
//
// The commit is tried with the feed's next sequence, as far as the unit has
// read, and the present time. A table that has stopped, that has parked the
// key, or that is Lazy and dormant beside others isn't changed; nor is a Model,
// which isn't asked to undo what is only tried. Tables of
// a JoinBy, TopN or TopNBy that the preview reached build what they keep beside
// their rows again with the next commit.
//
// Errors: *HandlerError, joined where there are several, for tables whose
// handler fails, which those that read them don't hear of; the Outcome then
// has the others. Without an Outcome: those of Feed.Rehearse, ErrNotRead,
// ErrClosed, and the context's.
func (rt *Runtime) Preview(ctx context.Context, feed *eventlog.Feed, key string, events ...any) (*Outcome, error) {
	if feed == nil {
		return nil, fmt.Errorf("projection: preview: %w: nil feed", ErrInvalid)
	}
	o := &Outcome{at: make(map[*node]timeframe.Timeframe)}
	var failed []error
	read := false
	for _, u := range rt.units {
		if u.feeds[feed.Name()] != feed || u.twin.failed {
			continue
		}
		read = true
		err := u.do(ctx, func() error {
			c, err := feed.Rehearse(eventlog.Draft{Key: key, Events: events}, u.cursor[feed.Name()]+1, time.Now())
			if err == nil {
				failed = append(failed, u.preview(&c, o)...)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("projection: preview: %w", err)
		}
	}
	if !read {
		return nil, fmt.Errorf("projection: preview: %w: %q", ErrNotRead, feed.Name())
	}
	if err := errors.Join(failed...); err != nil {
		return o, fmt.Errorf("projection: preview: %w", err)
	}
	return o, nil
}

// preview tries a commit on all groups; it runs on the unit's goroutine.
func (u *unit) preview(c *eventlog.Commit, o *Outcome) (failed []error) {
	u.lockAll()
	defer u.unlockAll()
	for _, g := range u.groups {
		if g.begin(c.Feed) {
			failed = append(failed, g.preview(u.feeds[c.Feed], c, o)...)
		}
	}
	return failed
}

// undoable is a state that can take a commit back without a trace.
type undoable interface {
	mark() int
	release(mark int)
}

func (g *group) preview(f *eventlog.Feed, c *eventlog.Commit, o *Outcome) (failed []error) {
	taken := make([]func(), 0, len(g.nodes)) // take a node's part back
	for _, n := range g.nodes {
		s, ok := n.state.(undoable)
		if n.step.off = n.step.off || !ok; !n.step.off {
			mark := s.mark()
			taken = append(taken, func() { n.undo(); s.release(mark) })
			o.at[n] = n.at()
		}
	}
	for _, n := range g.nodes {
		if n.step.off || n.park != nil && n.step.on != nil && n.park.holds(c) {
			continue
		}
		if err := g.try(f, n, c); err != nil {
			failed = append(failed, err)
			n.undo()
			n.step.moved = false
			n.below(func(d *node) { d.step.off = true })
		} else if n.step.moved {
			o.add(n)
		}
	}
	for _, back := range taken {
		back()
	}
	return failed
}

// try lets one node handle a commit.
func (g *group) try(f *eventlog.Feed, n *node, c *eventlog.Commit) error {
	var stack string
	err := func() (err error) {
		defer containStack(&err, &stack)
		if err := g.apply(f, n, c); err != nil {
			return err
		}
		g.cause = causeOf(c)
		n.step.moved = n.out != nil && n.out.net(&g.cause)
		return nil
	}()
	if err == nil {
		return nil
	}
	failed := &HandlerError{Projection: n.name, Err: err, Stack: stack}
	if g.up != nil {
		failed.Upstream = g.up.name
	} else {
		failed.Type = g.event.Type
	}
	return failed
}

func causeOf(c *eventlog.Commit) Cause {
	return Cause{Feed: c.Feed, Seq: c.Seq, Key: c.Key, ID: c.ID, Time: c.Time}
}
