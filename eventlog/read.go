package eventlog

import (
	"context"
	"fmt"
	"iter"
	"math"
)

// ReadOption says what to read.
type ReadOption func(*readConfig)

type readConfig struct {
	after   uint64
	until   uint64
	key     string
	keyed   bool
	follow  bool
	trimmed bool
}

// After starts reading behind this sequence. Default: at the feed's start.
func After(seq uint64) ReadOption { return func(c *readConfig) { c.after = seq } }

// Until ends reading with this sequence, inclusive. Default: with the last
// one that the log has when reading starts.
func Until(seq uint64) ReadOption { return func(c *readConfig) { c.until = seq } }

// OfKey reads the commits of one key alone.
func OfKey(key string) ReadOption { return func(c *readConfig) { c.key, c.keyed = key, true } }

// Follow goes on with what is appended later, until the context ends.
func Follow() ReadOption { return func(c *readConfig) { c.follow = true } }

// AllowTrimmed starts at the first commit that is left where the log no
// longer holds what comes behind After. Without it that is an ErrTrimmed.
func AllowTrimmed() ReadOption { return func(c *readConfig) { c.trimmed = true } }

// Read yields a feed's events in order, from the start to what is the end
// now, or as the options say. An error is the last step. An event is valid
// until the next step; what Decode and Value make of it stays.
//
// Errors: ErrTrimmed, ErrLostTail, ErrGap, ErrCorrupt, ErrUnavailable,
// ErrClosed, ErrInvalidKey, and the context's.
func (f *Feed) Read(ctx context.Context, opts ...ReadOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for c, err := range f.Commits(ctx, opts...) {
			if err != nil {
				yield(Event{}, err)
				return
			}
			for i := range c.Len() {
				if !yield(c.Event(i), nil) {
					return
				}
			}
		}
	}
}

// Commits is Read by whole commits.
func (f *Feed) Commits(ctx context.Context, opts ...ReadOption) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		r, err := f.NewReader(ctx, opts...)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		for {
			batch, err := r.Next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if batch == nil {
				return
			}
			for i := range batch {
				if !yield(&batch[i], nil) {
					return
				}
			}
		}
	}
}

// Reader reads a feed in batches, as large as what has arrived. It is for
// one goroutine at a time.
type Reader struct {
	f      *Feed
	cfg    readConfig
	src    *tail
	end    uint64 // last sequence to read
	cursor uint64 // last sequence that was read, or is known to be skipped
	batch  []Commit
	rest   []message
	err    error
}

// readBatch bounds a batch, so that who applies it can take turns.
const readBatch = 1024

// NewReader starts reading; see Read. ctx bounds the start alone.
func (f *Feed) NewReader(ctx context.Context, opts ...ReadOption) (*Reader, error) {
	cfg := readConfig{until: math.MaxUint64}
	for _, o := range opts {
		o(&cfg)
	}
	if f.closed.Load() {
		return nil, fmt.Errorf("eventlog: read of feed %q: %w", f.name, ErrClosed)
	}
	r := &Reader{f: f, cfg: cfg, cursor: cfg.after, end: math.MaxUint64}
	var filter string
	if cfg.keyed {
		var err error
		if filter, err = f.Subject(cfg.key); err != nil {
			return nil, err
		}
	}
	st, err := f.rangeCheck(ctx, cfg.after, cfg.keyed)
	switch {
	case err == nil:
	case cfg.trimmed && st.First > cfg.after+1 && st.Last >= cfg.after:
		r.cursor = st.First - 1
	default:
		return nil, err
	}
	if !cfg.follow {
		r.end = min(st.Last, cfg.until)
		if cfg.keyed {
			head, ok, err := f.get(ctx, getRequest{LastFor: filter})
			if err != nil {
				return nil, err
			}
			if !ok {
				head.seq = 0
			}
			// Where head is behind r.end, reading ends when it arrives.
			r.end = min(r.end, head.seq)
		}
	} else {
		r.end = cfg.until
	}
	if r.cursor >= r.end {
		return r, nil // nothing to read
	}
	r.src, err = f.openTail(ctx, r.cursor, filter)
	return r, err
}

// Next waits for commits and returns those that have arrived, in order;
// empty at the end. The batch and its commits are valid until the next call.
// Errors are final, except the context's.
func (r *Reader) Next(ctx context.Context) ([]Commit, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.cursor >= r.end {
		return nil, nil
	}
	if len(r.rest) == 0 {
		msgs, err := r.src.next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.err = err
			}
			return nil, err
		}
		r.rest = msgs
	}
	n := min(len(r.rest), readBatch)
	msgs := r.rest[:n]
	r.rest = r.rest[n:]
	if cap(r.batch) < n {
		r.batch = make([]Commit, n, max(n, readBatch/4))
	}
	batch := r.batch[:n]
	for i, m := range msgs {
		if m.seq > r.end {
			r.cursor = r.end
			return nilIfEmpty(batch[:i]), nil
		}
		err := r.account(ctx, m.seq)
		if err == nil {
			err = r.f.decode(&batch[i], m)
		}
		if err != nil {
			// What came before the bad one is still good.
			r.err = err
			if i > 0 {
				return batch[:i], nil
			}
			return nil, err
		}
		r.cursor = m.seq
	}
	r.f.stats.read.Add(uint64(n))
	return batch, nil
}

func nilIfEmpty(b []Commit) []Commit {
	if len(b) == 0 {
		return nil
	}
	return b
}

// account makes sure that no sequence is missed: our feeds deny deletes, so
// what is missing was trimmed, or is lost.
func (r *Reader) account(ctx context.Context, seq uint64) error {
	if r.cfg.keyed || seq == r.cursor+1 {
		return nil
	}
	st, err := r.f.State(ctx)
	if err != nil {
		return err
	}
	e := &RangeError{Feed: r.f.name, Want: r.cursor + 1, First: seq, Last: st.Last, class: ErrGap}
	if st.First >= seq {
		if r.cfg.trimmed {
			return nil
		}
		e.class, e.First = ErrTrimmed, st.First
	}
	return e
}

// Close ends reading. It may be called more than once.
func (r *Reader) Close() error {
	if r.src != nil {
		r.src.stop()
		r.src = nil
	}
	r.end = 0
	return nil
}

// rangeCheck says whether the log can be read on behind a sequence.
func (f *Feed) rangeCheck(ctx context.Context, after uint64, keyed bool) (State, error) {
	st, err := f.State(ctx)
	if err != nil {
		return st, err
	}
	e := &RangeError{Feed: f.name, Want: after + 1, First: st.First, Last: st.Last}
	switch {
	case st.Incarnation != f.incarnation || after > st.Last:
		e.class = ErrLostTail
		return st, e
	case st.First > after+1 && !keyed:
		e.class = ErrTrimmed
		return st, e
	}
	return st, nil
}

func (f *Feed) checkRange(ctx context.Context, after uint64, keyed bool) error {
	_, err := f.rangeCheck(ctx, after, keyed)
	return err
}
