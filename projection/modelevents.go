package projection

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/snapshot"
)

// modelEvents saves a model as the commits that it has consumed (R0.5): an
// entry for each, by feed and sequence, and one that names the event types
// that were handled. So a save writes what came since the last one, and a
// restore handles all of them, without the log. Commits of several feeds are
// restored in the order of their times.
type modelEvents[T any] struct {
	n *node
	// pending are the commits since the last cut.
	pending  []snapshot.Change
	bytes    int
	last     eventlog.Position // in pending
	restored bool              // pending has commits that the log may not have
	// whole: pending isn't all that has to be written, the log has the rest.
	whole bool
	typed bool // the types are saved
	saved bool // commits were taken out of pending
	// anew: the next save begins the digest with what it holds.
	anew bool
	// digest of what saves have taken; a pending change with a digest is in
	// it. It belongs to who encodes, one at a time.
	digest snapshot.Digest
}

// maxPending bounds what is kept for the next save, in bytes: beyond it the
// save reads the log.
const maxPending = 32 << 20

// typesKey is the entry of the handled types, before all others.
var typesKey = []byte{}

func commitKey(feed string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(feed), 0), seq)
}

func (s *modelEvents[T]) consumed(e eventlog.Event) error {
	if u := s.n.unit; u != nil && u.rt.cfg.NoSnapshots {
		return nil
	}
	at := eventlog.Position{Feed: e.Feed, Seq: e.Seq}
	if s.last == at {
		return nil // the commit is there already
	}
	data, err := e.AppendStored(nil)
	if err != nil {
		return err
	}
	s.last = at
	s.pending = append(s.pending, snapshot.Change{Key: commitKey(e.Feed, e.Seq), Value: data})
	if s.bytes += len(data); s.bytes > maxPending && !s.restored {
		s.pending, s.bytes, s.whole = nil, 0, true
	}
	return nil
}

type eventsCut[T any] struct {
	s        *modelEvents[T]
	commits  []snapshot.Change
	bytes    int
	restored bool
	typed    bool // false: the types have to be written
	types    string
	whole    bool
	anew     bool
	feeds    map[string]*eventlog.Feed
	handlers map[string]map[string]handler
	at       map[string]uint64
}

func (s *modelEvents[T]) peek(T) capture {
	return &eventsCut[T]{
		s: s, commits: s.pending, bytes: s.bytes, restored: s.restored, typed: s.typed, types: s.n.handled(),
		whole: s.whole, anew: s.anew, feeds: s.n.feeds, handlers: s.n.handlers, at: maps.Clone(s.n.pos),
	}
}

func (s *modelEvents[T]) capture(model T) capture {
	c := s.peek(model)
	s.discard()
	s.whole, s.anew, s.typed = false, false, true
	return c
}

func (s *modelEvents[T]) discard() {
	s.saved = s.saved || len(s.pending) > 0
	s.pending, s.bytes, s.last, s.restored = nil, 0, eventlog.Position{}, false
}

func (s *modelEvents[T]) requeue(c capture) {
	e := c.(*eventsCut[T])
	s.pending = append(e.commits, s.pending...)
	s.bytes += e.bytes
	s.restored = s.restored || e.restored
	s.whole = s.whole || e.whole
	s.anew = s.anew || e.anew
	s.typed = s.typed && e.typed
}

// touchAll: what other saves have taken must be read from the log.
func (s *modelEvents[T]) touchAll() {
	s.whole = s.whole || s.saved
	s.typed, s.anew = false, true
}

func (s *modelEvents[T]) clear() { *s = modelEvents[T]{n: s.n} }

func (c *eventsCut[T]) len() int { return len(c.commits) }

func (c *eventsCut[T]) encode() ([]snapshot.Change, snapshot.Digest, error) {
	out, digest, err := c.encoded()
	if err != nil {
		return nil, digest, err
	}
	c.s.digest = digest
	if !c.whole {
		c.commits = slices.Clone(out[:len(c.commits)]) // with their digests, in case they are put back
	}
	slices.SortFunc(out, func(a, b snapshot.Change) int { return bytes.Compare(a.Key, b.Key) })
	return out, digest, nil
}

func (c *eventsCut[T]) digest() (snapshot.Digest, error) {
	_, digest, err := c.encoded()
	return digest, err
}

// encoded returns the changes, and the digest with those that aren't in it.
func (c *eventsCut[T]) encoded() (out []snapshot.Change, digest snapshot.Digest, err error) {
	digest = c.s.digest
	out = c.commits
	if c.whole {
		if out, err = c.fromLog(); err != nil {
			return nil, digest, fmt.Errorf("reading again what the model has consumed: %w", err)
		}
	}
	out = slices.Clone(out)
	if c.whole || c.anew {
		digest = snapshot.Digest{}
		for i := range out {
			out[i].Digest = snapshot.Digest{}
		}
	}
	types := snapshot.Change{Key: typesKey, Value: []byte(c.types)}
	types.Digest = snapshot.DigestOf(types.Key, types.Value)
	if digest == (snapshot.Digest{}) { // of nothing yet
		digest = types.Digest
	}
	if !c.typed {
		out = append(out, types)
	}
	for i := range out {
		if out[i].Digest == (snapshot.Digest{}) {
			out[i].Digest = snapshot.DigestOf(out[i].Key, out[i].Value)
			digest = digest.Plus(out[i].Digest)
		}
	}
	return out, digest, nil
}

// fromLog reads all that the model had consumed at the cut.
func (c *eventsCut[T]) fromLog() (out []snapshot.Change, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	for feed, at := range c.at {
		if at == 0 {
			continue
		}
		for commit, err := range c.feeds[feed].Commits(ctx, eventlog.Until(at), eventlog.Unreadable()) {
			if err != nil {
				return nil, err
			}
			if commit.Problem() == nil && handles(c.handlers[feed], commit) {
				out = append(out, snapshot.Change{Key: commitKey(feed, commit.Seq), Value: commit.AppendStored(nil)})
			}
		}
	}
	return out, nil
}

func handles(types map[string]handler, c *eventlog.Commit) bool {
	for i := range c.Len() {
		if handlerOf(types, c.Event(i)) != nil {
			return true
		}
	}
	return false
}

// handlerOf is who takes an event, nil where nobody does.
func handlerOf(types map[string]handler, e eventlog.Event) handler {
	if h := types[e.Type]; h != nil {
		return h
	}
	if e.IsRaw() {
		return types[eventlog.AnyUnknown]
	}
	return nil
}

func (s *modelEvents[T]) load(_ T, e entries, _ migration, clean bool) (done func(), err error) {
	next := &modelEvents[T]{n: s.n, typed: clean, saved: clean, restored: !clean}
	commits := s.commits(e, next, clean)
	if len(s.n.feeds) > 1 {
		commits = ordered(commits)
	}
	for c, err := range commits {
		if err != nil {
			return nil, err
		}
		for i := range c.Len() {
			ev := c.Event(i)
			if h := handlerOf(s.n.handlers[c.Feed], ev); h != nil {
				err = h(ev)
			} else if err = ev.Problem(); s.n.passable(err) {
				err = nil
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ev.Position(), err)
			}
		}
	}
	return func() { *s = *next }, nil
}

// commits decodes the entries, and keeps those that have to be saved again.
func (s *modelEvents[T]) commits(e entries, next *modelEvents[T], clean bool) iter.Seq2[*eventlog.Commit, error] {
	return func(yield func(*eventlog.Commit, error) bool) {
		first := true
		for c, err := range e {
			if err == nil && clean {
				next.digest = next.digest.Plus(snapshot.DigestOf(c.Key, c.Value))
			}
			if err == nil && first {
				err = s.n.covered(c)
				first = false
				if err == nil {
					continue
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			feed, _, _ := strings.Cut(string(c.Key), "\x00")
			f := s.n.feeds[feed]
			if f == nil {
				continue // handled no longer
			}
			value := bytes.Clone(c.Value)
			if !clean {
				next.pending = append(next.pending, snapshot.Change{Key: bytes.Clone(c.Key), Value: value})
				next.bytes += len(value)
			}
			commit, err := f.DecodeStored(value)
			if err == nil && !bytes.Equal(commitKey(feed, commit.Seq), c.Key) {
				err = fmt.Errorf("%w: entry %x is of %s", snapshot.ErrCorrupt, c.Key, commit.Position())
			}
			if !yield(&commit, err) || err != nil {
				return
			}
		}
	}
}

// ordered puts the commits of several feeds into the order of their times; a
// feed's own order stays. It holds all of them.
func ordered(commits iter.Seq2[*eventlog.Commit, error]) iter.Seq2[*eventlog.Commit, error] {
	return func(yield func(*eventlog.Commit, error) bool) {
		var all []*eventlog.Commit
		for c, err := range commits {
			if err != nil {
				yield(nil, err)
				return
			}
			all = append(all, c)
		}
		// Not sorted by time alone: a clock that was set back doesn't change
		// a feed's order.
		var latest int64
		times := make(map[*eventlog.Commit]int64, len(all))
		for i, c := range all {
			if i > 0 && all[i-1].Feed != c.Feed {
				latest = 0
			}
			latest = max(latest, c.Time.UnixNano())
			times[c] = latest
		}
		slices.SortStableFunc(all, func(a, b *eventlog.Commit) int { return cmp.Compare(times[a], times[b]) })
		for _, c := range all {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// handled lists the event types that a node handles, a line for each feed.
func (n *node) handled() string {
	var b strings.Builder
	for _, feed := range n.feedNames() {
		fmt.Fprintf(&b, "%s %s\n", feed, strings.Join(slices.Sorted(maps.Keys(n.handlers[feed])), " "))
	}
	return b.String()
}

// covered makes sure that the stored commits are all that the present
// handlers take: a new version may handle more.
func (n *node) covered(c snapshot.Change) error {
	if len(c.Key) > 0 {
		return fmt.Errorf("%w: the event types that were handled are missing", snapshot.ErrCorrupt)
	}
	had := make(map[string]bool)
	for line := range strings.Lines(string(c.Value)) {
		words := strings.Fields(line)
		for _, w := range words[min(1, len(words)):] {
			had[words[0]+" "+w] = true
		}
	}
	for _, feed := range n.feedNames() {
		for typ := range n.handlers[feed] {
			if !had[feed+" "+typ] {
				return fmt.Errorf("its events don't include %q of feed %q, which this program handles", typ, feed)
			}
		}
	}
	return nil
}
