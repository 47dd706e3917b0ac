package eventlog

import (
	"context"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/internal/causal"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/timeframe"
)

// merger reads several feeds, each in a goroutine of its own that lends one
// batch at a time, and hands out what its gate admits.
type merger struct {
	opts     MergeOptions
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	gate     *causal.Gate
	feeds    []*merged
	arrivals chan lentBatch
	left     chan struct{} // closed when no batch is looked at any more
	turn     int           // feed that goes on
	raised   uint64        // counts later ends
}

// merged is one feed of a merge. i <= len(batch).
type merged struct {
	f     *Feed
	end   uint64 // last sequence to read, unless following
	batch []Commit
	at    uint64 // how far the feed was read with the batch
	i     int    // next commit of it
	taken chan struct{}
	has   bool // a batch is lent

	seen  timeframe.Timeframe // of the commit at i, where it waits
	since time.Time           // it waits; zero where it doesn't
	told  bool                // Stalled knows of it
}

// lentBatch is what a feed's reader hands over, valid until it is taken.
type lentBatch struct {
	m     *merged
	batch []Commit
	at    uint64
	err   error
}

func newMerger(ctx context.Context, opts MergeOptions, feeds []*Feed) (*merger, error) {
	if opts.StallAfter <= 0 {
		opts.StallAfter = 10 * time.Second
	}
	m := &merger{opts: opts, arrivals: make(chan lentBatch), left: make(chan struct{})}
	at := make(map[string]uint64)
	var p problem.List
	for _, f := range feeds {
		if f == nil {
			p.Add("a nil feed")
			continue
		}
		if _, ok := at[f.name]; ok {
			p.Add("feed %q comes twice", f.name)
		}
		at[f.name], _ = opts.After.Get(f.name)
		m.feeds = append(m.feeds, &merged{f: f, taken: make(chan struct{})})
	}
	if len(feeds) == 0 {
		p.Add("no feed")
	}
	if err := p.Err("eventlog: merge", ErrInvalid); err != nil {
		return nil, err
	}
	for _, s := range m.feeds {
		st, err := s.f.State(ctx)
		if err != nil {
			return nil, err
		}
		if s.end, err = s.f.Reach(ctx, st); err != nil {
			return nil, err
		}
		if opts.AllowTrimmed || s.f.adopted != nil {
			at[s.f.name] = max(at[s.f.name], st.First-1)
		}
	}
	m.gate = causal.New(at)
	m.ctx, m.cancel = context.WithCancel(ctx)
	for _, s := range m.feeds {
		after := at[s.f.name]
		m.wg.Go(func() { m.read(s, after) })
	}
	return m, nil
}

// read is a feed's goroutine. Its reader lends the batches, so it isn't closed
// while the merge has one, the context ended or not: the caller may be in the
// middle of a commit.
func (m *merger) read(s *merged, after uint64) {
	opts := []ReadOption{After(after), Follow(), Progress()}
	if m.opts.AllowTrimmed {
		opts = append(opts, AllowTrimmed())
	}
	r, err := s.f.NewReader(m.ctx, opts...)
	if err == nil {
		defer r.Close()
	}
	for {
		b := lentBatch{m: s, err: err}
		if err == nil {
			b.batch, b.err = r.Next(m.ctx)
			b.at, _, _ = r.At()
		}
		select {
		case m.arrivals <- b:
		case <-m.ctx.Done():
			return
		}
		if b.err != nil {
			return
		}
		select {
		case <-s.taken:
		case <-m.left:
			return
		}
	}
}

func (m *merger) close() {
	m.cancel()
	close(m.left)
	m.wg.Wait()
}

// next is the next commit that may be read; nil at the end.
func (m *merger) next() (*Commit, error) {
	for {
		if err := m.ctx.Err(); err != nil {
			return nil, context.Cause(m.ctx)
		}
		// The feed whose turn it is goes on as long as it can, which keeps what
		// is together in memory together.
		before := m.moves()
		for range m.feeds {
			c, err := m.step(m.feeds[m.turn])
			if c != nil || err != nil {
				return c, err
			}
			m.turn = (m.turn + 1) % len(m.feeds)
		}
		if m.moves() != before {
			continue // what one feed came to may be what an earlier one waits for
		}
		if m.ended() {
			return nil, nil
		}
		if err := m.wait(); err != nil {
			return nil, err
		}
	}
}

// moves changes with all that may let a feed go on which couldn't.
func (m *merger) moves() uint64 { return m.gate.Moves() + m.raised }

// step is a feed's next commit, if it may be read now. A batch is given back
// when what it lent isn't used any more, so at the step behind its last one.
func (m *merger) step(s *merged) (*Commit, error) {
	if !s.has {
		return nil, nil
	}
	if s.i == len(s.batch) {
		m.gate.Advance(s.f.name, s.at)
		s.batch, s.i, s.has = nil, 0, false
		select {
		case s.taken <- struct{}{}:
		case <-m.ctx.Done(): // then its goroutine doesn't wait for that
		}
		return nil, nil
	}
	c := &s.batch[s.i]
	if !m.opts.Follow && c.Seq > s.end {
		return nil, nil
	}
	if s.since.IsZero() {
		var err error
		if s.seen, err = c.Seen(); err != nil {
			return nil, err
		}
		if err := m.foreign(s, c); err != nil {
			return nil, err
		}
	}
	if !m.gate.Admit(s.f.name, c.Seq, s.seen) {
		return nil, m.hold(s)
	}
	m.gate.Advance(s.f.name, c.Seq)
	s.i, s.since, s.told = s.i+1, time.Time{}, false
	return c, nil
}

// foreign reports feeds that an event names and nobody reads here.
func (m *merger) foreign(s *merged, c *Commit) error {
	feeds := m.gate.Foreign(s.seen)
	if len(feeds) == 0 {
		return nil
	}
	return m.tell([]Stall{{Position: c.Position(), Foreign: feeds}})
}

// hold notes that a feed waits. Where reading has an end, that moves to what
// the event names, so that the end is a consistent one.
func (m *merger) hold(s *merged) error {
	if !s.since.IsZero() {
		return nil
	}
	s.since = time.Now()
	for _, o := range m.feeds {
		if n, ok := s.seen.Get(o.f.name); ok {
			if n > o.end {
				o.end = n
				m.raised++
			}
		}
	}
	return m.stalls(func(h causal.Held) bool { return h.Cycle })
}

// ended says whether all is read up to where the merge ends.
func (m *merger) ended() bool {
	if m.opts.Follow {
		return false
	}
	for _, s := range m.feeds {
		beyond := s.has && s.i < len(s.batch) && s.batch[s.i].Seq > s.end
		if !beyond && m.gate.At(s.f.name) < s.end {
			return false
		}
	}
	return true
}

// wait waits until a batch has come, or for the next stall that is due.
func (m *merger) wait() error {
	var due <-chan time.Time
	if first, ok := m.due(); ok {
		timer := time.NewTimer(time.Until(first))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case b := <-m.arrivals:
		if b.err != nil {
			return b.err
		}
		b.m.batch, b.m.at, b.m.i, b.m.has = b.batch, b.at, 0, true
		return nil
	case <-due:
		return m.stalls(func(causal.Held) bool { return true })
	case <-m.ctx.Done():
		return context.Cause(m.ctx)
	}
}
