package projection

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Delta is what one commit did to a table, or a fresh start.
type Delta[K comparable, V any] struct {
	// Cause is the commit; zero with Reset.
	Cause Cause
	// At is what the table includes behind the delta, as far as the watcher
	// was told: give it to Since to go on from here.
	At timeframe.Timeframe
	// Changes are the keys that changed, in no particular order.
	Changes []Change[K, V]
	// Reset: Changes are all rows of the table as it stands at At. Forget what
	// you had: the watcher was too slow (Missed), asked for a place that isn't
	// covered any more, or for the rows; or the table was restored.
	Reset bool
	// Missed is how many deltas were passed over, with Reset.
	Missed uint64
}

// WatchOption says where a watcher begins. Default: with the next commit that
// changes the table.
type WatchOption func(*watchConfig)

type watchConfig struct {
	rows  bool
	since *timeframe.Timeframe
}

// WithRows begins with the table's rows as they are: the first delta is a
// Reset.
func WithRows() WatchOption { return func(c *watchConfig) { c.rows = true } }

// Since begins behind a timeframe: the At of the last delta that was handled.
// Where the table's History doesn't reach back to it, the first delta is a
// Reset.
func Since(at timeframe.Timeframe) WatchOption {
	return func(c *watchConfig) { c.since = &at }
}

// History keeps a table's latest changes, this many, for watchers that come
// later (Since), and lets a watcher be that many behind. Default: 4,096 while
// somebody watches.
func History(changes int) TableOption {
	return tableOption(func(n *node) {
		if changes < 1 {
			n.problems.Add("a History of %d changes", changes)
			return
		}
		n.history = changes
	})
}

// Watcher tells of a table's changes: every one from where it began, in
// order, or a Reset. It is for one goroutine at a time.
type Watcher[K comparable, V any] struct {
	t     *Table[K, V]
	next  uint64 // number of the next delta in the hub
	epoch uint64
	at    map[string]uint64
	since map[string]uint64 // passed over up to here
	fresh bool              // the next delta is a Reset
	done  chan struct{}
	once  sync.Once
	// release: a Lazy table isn't needed by the watcher any more; nil: it
	// isn't Lazy.
	release func()
}

// Watch begins to watch a table; close the watcher when it isn't needed any
// more. What changes from now on is told, also what changes before the first
// Next. A watcher never keeps the table waiting: one that falls behind by more
// than the History gets a Reset.
func (t *Table[K, V]) Watch(opts ...WatchOption) *Watcher[K, V] {
	var c watchConfig
	for _, o := range opts {
		if o != nil {
			o(&c)
		}
	}
	w := &Watcher[K, V]{t: t, done: make(chan struct{}), fresh: c.rows}
	if t.n.lazy != nil {
		w.release = t.n.lazy.hold()
	}
	t.mu.read(t.n, "Watch") // no step is being taken
	defer t.mu.RUnlock()
	at := t.n.position()
	h := &t.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watched++; !t.n.watched.Swap(true) {
		h.forget(at) // at isn't nil
	}
	w.next, w.epoch, w.at = h.end(), h.epoch, at
	if c.since == nil || c.rows {
		return w
	}
	switch since := c.since.Map(); {
	case h.covers(since, at):
		w.next, w.since, w.at = h.first, since, maps.Clone(since)
		for w.next < h.end() && w.knows(h.deltas[w.next-h.first].cause) {
			w.next++
		}
	default:
		w.fresh = true
	}
	return w
}

// Close ends watching. It may be called more than once, and from elsewhere:
// then Next returns.
func (w *Watcher[K, V]) Close() error {
	w.once.Do(func() {
		close(w.done)
		if w.release != nil {
			w.release()
		}
		t := w.t
		t.mu.read(t.n, "Watch")
		defer t.mu.RUnlock()
		t.hub.mu.Lock()
		defer t.hub.mu.Unlock()
		if t.hub.watched--; t.hub.watched == 0 && t.n.history == 0 {
			t.n.watched.Store(false)
			t.hub.forget(nil)
		}
	})
	return nil
}

// Deltas yields what Next returns; an error is the last step.
func (w *Watcher[K, V]) Deltas(ctx context.Context) iter.Seq2[Delta[K, V], error] {
	return func(yield func(Delta[K, V], error) bool) {
		for {
			d, err := w.Next(ctx)
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// Next waits for the next delta. When the table has stopped and all that was
// before is told, it returns the *StoppedError; ErrClosed when the runtime or
// the watcher was closed; and the context's cause. Its Changes belong to all
// watchers: don't change them.
func (w *Watcher[K, V]) Next(ctx context.Context) (Delta[K, V], error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return Delta[K, V]{}, err
		}
		select {
		case <-w.done:
			return Delta[K, V]{}, fmt.Errorf("projection: watcher of %q: %w", w.t.Name(), ErrClosed)
		default:
		}
		// Asked before looking, so that what came before the end isn't missed.
		ended := w.t.n.ended()
		d, ok, news := w.poll()
		switch {
		case ok:
			return d, nil
		case ended != nil:
			return d, ended
		}
		w.wait(ctx, news)
	}
}

// wait waits for news. In a handler of the table's unit none can come.
func (w *Watcher[K, V]) wait(ctx context.Context, news <-chan struct{}) {
	if w.t.mu.TryRLock() { // it isn't called in a handler
		w.t.mu.RUnlock()
	} else if u := w.t.n.unitOf(); u != nil {
		defer u.awaited("Watcher.Next", w.t.n.name)()
	}
	select {
	case <-news:
	case <-w.done:
	case <-ctx.Done():
	}
}

// poll returns what there is, or a channel that tells when there is more.
func (w *Watcher[K, V]) poll() (d Delta[K, V], ok bool, news <-chan struct{}) {
	h := &w.t.hub
	h.mu.Lock()
	for !w.fresh && w.epoch == h.epoch && w.next >= h.first {
		if w.next == h.end() {
			news = h.news()
			h.mu.Unlock()
			return d, false, news
		}
		s := h.deltas[w.next-h.first]
		w.next++
		if w.knows(s.cause) {
			continue
		}
		h.mu.Unlock()
		if s.cause.Feed != "" {
			w.at[s.cause.Feed] = s.cause.Seq
		}
		return Delta[K, V]{Cause: s.cause, At: timeframeOf(w.at), Changes: s.changes}, true, nil
	}
	h.mu.Unlock()
	return w.resync(), true, nil
}

// knows says whether the place that the watcher asked for includes a commit.
func (w *Watcher[K, V]) knows(c Cause) bool { return c.Seq <= w.since[c.Feed] }

// resync starts afresh from the table's rows.
func (w *Watcher[K, V]) resync() Delta[K, V] {
	t := w.t
	t.mu.read(t.n, "Watch")
	defer t.mu.RUnlock()
	w.at = t.n.position()
	d := Delta[K, V]{Reset: true, At: timeframeOf(w.at), Changes: make([]Change[K, V], 0, len(t.rows))}
	for k, r := range t.rows {
		d.Changes = append(d.Changes, Change[K, V]{Key: k, New: r.value, Has: true})
	}
	h := &t.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.epoch == h.epoch {
		d.Missed = h.end() - w.next
	}
	w.next, w.epoch, w.since, w.fresh = h.end(), h.epoch, nil, false
	return d
}

func (t *Table[K, V]) publish(cause Cause) { t.hub.add(cause, t.delta) }

func (t *Table[K, V]) notify() { t.hub.notify() }

// replaced tells that the rows are others than the changes lead to.
func (t *Table[K, V]) replaced() {
	t.reset()
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	t.hub.epoch++
	t.hub.forget(nil)
}

// rebase says where the rows stand that the changes to come lead on from.
func (t *Table[K, V]) rebase(at map[string]uint64) {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	t.hub.forget(at)
	if t.hub.base == nil {
		t.hub.base = make(map[string]uint64)
	}
}

// notify wakes the watchers of the unit's tables.
func (u *unit) notify() {
	for _, n := range u.nodes {
		if n.out != nil && n.watched.Load() {
			n.out.notify()
		}
	}
}

// position is where the node stands.
func (n *node) position() map[string]uint64 {
	m := make(map[string]uint64)
	u := n.unitOf()
	if u == nil {
		return m
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !n.dormant {
		maps.Copy(m, n.pos)
	}
	return m
}

// ended says why there will be no more changes; nil while there may be.
func (n *node) ended() error {
	u := n.unitOf()
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case n.stopped != nil:
		return n.stopped
	case u.closed:
		return fmt.Errorf("projection: %q: %w", n.name, ErrClosed)
	}
	return nil
}

func timeframeOf(at map[string]uint64) timeframe.Timeframe {
	tf, _ := timeframe.FromMap(at) // of open feeds, so the names are valid
	return tf
}
