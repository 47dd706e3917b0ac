package eventlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Reader reads a feed in batches, as large as what has arrived. It is for
// one goroutine at a time.
type Reader struct {
	f      *Feed
	cfg    readConfig
	filter string // subject, "" for all
	src    source // nil where there is nothing to read
	dec    decoder
	end    uint64  // last sequence to read
	cursor uint64  // last sequence that was read, or is known to be skipped
	last   message // the one at cursor; seq 0 where none was read
	head   message // of the key that is read, where reading has an end
	batch  []Commit
	quiet  int      // small batches since the last large one
	lent   []Commit // what of it Next returned last; kept where mangling alone
	rest   []message
	err    error
}

// readBatch bounds a batch, so that who applies it can take turns.
const readBatch = 1024

// NewReader starts reading; see Read. ctx bounds the start alone.
func (f *Feed) NewReader(ctx context.Context, opts ...ReadOption) (*Reader, error) {
	if err := f.online(); err != nil {
		return nil, err
	}
	cfg := readConfig{until: math.MaxUint64}
	for _, o := range opts {
		o(&cfg)
	}
	if f.closed.Load() {
		return nil, f.closedRead()
	}
	if cfg.twice {
		return nil, fmt.Errorf("eventlog: read of feed %q: %w: OfKey for two keys: read each of them, or all keys", f.name, ErrInvalid)
	}
	r := &Reader{f: f, cfg: cfg, dec: decoder{f: f}, cursor: cfg.after, end: cfg.until}
	var err error
	if cfg.keyed {
		if r.filter, err = f.Subject(cfg.key); err != nil {
			return nil, err
		}
	}
	// What others have let go of is passed over, and counted.
	cfg.trimmed = cfg.trimmed || f.adopted != nil
	r.cfg.trimmed = cfg.trimmed
	st, err := f.rangeCheck(ctx, cfg.after, cfg.trimmed)
	if err != nil {
		return nil, err
	}
	if err := f.recognise(ctx, cfg.known, st); err != nil {
		return nil, err
	}
	if f.adopted != nil && !cfg.keyed && st.First > r.cursor+1 {
		f.adopted.missing(r.cursor+1, st.First)
	}
	// Without After it can only be what is left: st.First is at least 1.
	r.cursor = max(r.cursor, st.First-1)
	if !cfg.follow || cfg.until <= st.Last {
		last, err := f.Reach(ctx, st)
		if err != nil {
			return nil, err
		}
		if err := r.bound(ctx, last); err != nil {
			return nil, err
		}
	}
	if r.cursor >= r.end {
		return r, nil // nothing to read
	}
	if r.src, err = r.open(ctx, st); err != nil {
		return nil, err
	}
	return r, nil
}

// open finds the source for the way to go.
func (r *Reader) open(ctx context.Context, st State) (source, error) {
	switch {
	case strings.ContainsAny(r.filter, "*>"): // a key of an adopted feed
		return r.f.openProven(ctx, r.cursor, mark{}, r.filter, r.cfg.trimmed)
	case r.cfg.follow && r.end > st.Last:
		return r.f.openFollower(ctx, r.cursor, r.known(), st.Last, r.filter, r.cfg.trimmed, r.end)
	case r.cfg.keyed:
		return r.f.openKey(ctx, r.cursor, r.head, r.end, st)
	}
	return r.f.openLong(ctx, r.cursor, r.known(), r.end, r.cfg.trimmed)
}

// known is the mark of the message at the cursor, where reading begins after
// one that was read before.
func (r *Reader) known() mark {
	if r.cfg.keyed || r.cfg.known.seq != r.cursor {
		return mark{}
	}
	return r.cfg.known
}

// bound sets the end of a reader of what is there now.
func (r *Reader) bound(ctx context.Context, last uint64) error {
	r.end = min(last, r.cfg.until)
	if !r.cfg.keyed {
		return nil
	}
	head, ok, err := r.f.lastOf(ctx, r.filter)
	if err != nil {
		return err
	}
	if !ok {
		r.end = 0
		return nil
	}
	// Where the key's head is behind the end, reading ends when it arrives.
	r.end = min(r.end, head.seq)
	r.head = head
	return nil
}

// Next waits for commits and returns those that have arrived, in order; nil
// at the end. The batch and its commits are valid until the next call.
// Errors are final, except the context's. With Progress a batch may have no
// commits without being nil.
func (r *Reader) Next(ctx context.Context) ([]Commit, error) {
	for {
		batch, err := r.next(ctx)
		if err != nil || batch == nil || len(batch) > 0 || r.cfg.steps {
			return batch, err
		}
	}
}

// At is how far the feed was read: up to this sequence, every commit that the
// reader was asked for has been returned. With the fingerprint of the message
// there, a commit or a marker; ok is false where none was read.
func (r *Reader) At() (seq uint64, print timeframe.Fingerprint, ok bool) {
	if r.last.seq == 0 || r.last.seq != r.cursor {
		return r.cursor, print, false
	}
	return r.cursor, r.last.fingerprint(), true
}

// next is Next by what the source delivers: a batch without commits has
// markers alone.
func (r *Reader) next(ctx context.Context) ([]Commit, error) {
	if mangling {
		r.mangle()
	}
	if r.err != nil {
		return nil, r.err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for len(r.rest) == 0 {
		if r.cursor >= r.end {
			return nil, nil
		}
		if r.last.seq != 0 {
			r.last = r.last.clone() // its loan ends
		}
		msgs, err := r.src.next(ctx)
		if err == nil && len(msgs) == 0 {
			err = r.idle(ctx)
		}
		if err != nil {
			if ctx.Err() == nil {
				r.err = err
			}
			return nil, err
		}
		r.rest = msgs
	}
	if r.cursor >= r.end {
		return nil, nil
	}
	n := min(len(r.rest), readBatch)
	msgs := r.rest[:n]
	r.rest = r.rest[n:]
	return r.take(ctx, msgs)
}

// take decodes messages into the batch. Markers, and messages that are passed
// over, count, and aren't in it.
func (r *Reader) take(ctx context.Context, msgs []message) ([]Commit, error) {
	batch := r.room(len(msgs))
	known := r.f.gaps.now.Load()
	n := 0
	for i := range msgs {
		m := &msgs[i]
		seq := m.seq
		if seq > r.end { // what isn't wanted says what is missing before it
			seq = r.end + 1
		}
		err := r.account(ctx, seq)
		if err == nil && m.seq > r.end {
			r.cursor = r.end
			break
		}
		skip := r.f.isMarker(m) || known.Passes() && known.passes(m)
		if err == nil && !skip {
			if err = r.dec.decode(&batch[n], lend(m)); err != nil {
				skip, err = r.unreadable(ctx, err)
			}
		}
		if err != nil {
			// What came before the bad one is still good. Where only ctx ended,
			// the next call goes on here.
			if ctx.Err() != nil {
				r.rest = append(slices.Clone(msgs[i:]), r.rest...)
			} else {
				r.err = err
			}
			if i > 0 {
				return r.taken(batch[:n]), nil
			}
			return nil, err
		}
		if !skip {
			n++
		}
		r.cursor, r.last = m.seq, *m
	}
	return r.taken(batch[:n]), nil
}

// unreadable says what becomes of a message that is no commit: it is skipped
// where it is registered as passed over, delivered where that is asked for, and
// else the error that ends reading.
func (r *Reader) unreadable(ctx context.Context, err error) (skip bool, _ error) {
	corrupt, ok := errors.AsType[*CorruptError](err)
	if !ok {
		return false, err
	}
	if skip, err := r.f.gaps.met(ctx, corrupt); skip || err != nil {
		return skip, err
	}
	if r.cfg.unreadable {
		return false, nil
	}
	return false, corrupt
}

// room is the batch's memory for n commits. What a burst took is given back
// when it is over: there may be thousands of followers.
func (r *Reader) room(n int) []Commit {
	const small, patience = 16, 8
	if n > small {
		r.quiet = 0
	} else if cap(r.batch) > small {
		if r.quiet++; r.quiet > patience {
			r.batch, r.quiet = nil, 0
		}
	}
	if cap(r.batch) < n {
		r.batch = make([]Commit, max(n, min(2*cap(r.batch), readBatch)))
	}
	return r.batch[:n]
}

// taken counts; a batch without commits isn't nil, which is the end.
func (r *Reader) taken(batch []Commit) []Commit {
	r.f.stats.read.Add(uint64(len(batch)))
	if mangling {
		r.lent = batch
	}
	return batch
}

// account makes sure that no sequence is missed: our feeds deny deletes, so
// what is missing was trimmed, or is lost.
func (r *Reader) account(ctx context.Context, seq uint64) error {
	if r.cfg.keyed || seq == r.cursor+1 {
		return nil
	}
	if a := r.f.adopted; a != nil {
		a.missing(r.cursor+1, seq)
		return nil
	}
	st, err := r.f.State(ctx)
	if err != nil {
		return err
	}
	if st.First >= seq && r.cfg.trimmed {
		return nil
	}
	// What is registered need not be there; what is trimmed may be registered,
	// too.
	if known, err := r.f.gaps.explains(ctx, max(r.cursor+1, min(st.First, seq)), seq-1); known || err != nil {
		return err
	}
	e := &RangeError{Feed: r.f.name, Want: r.cursor + 1, First: seq, Last: st.Last, class: ErrGap}
	if st.First >= seq {
		e.class, e.First = ErrTrimmed, st.First
	}
	return e
}

// idle is called when the server has nothing more for the moment. A reader
// with an end that the log has reached would wait for ever where the rest was
// trimmed, or where the key's next commit is behind the end.
func (r *Reader) idle(ctx context.Context) error {
	if r.end == math.MaxUint64 {
		return nil
	}
	st, err := r.f.rangeCheck(ctx, r.cursor, r.cfg.trimmed || r.cfg.keyed)
	if errors.Is(err, ErrUnavailable) {
		return nil // the source notices, and waits for the server
	}
	if err != nil || st.Last < r.end {
		return err
	}
	subject := r.filter
	if subject == "" {
		subject = r.f.everything()
	}
	next, ok, err := r.f.get(ctx, getRequest{Seq: r.cursor + 1, NextFor: subject})
	switch {
	case errors.Is(err, ErrUnavailable):
		return nil
	case err != nil || (ok && next.seq <= r.end):
		return err // it is on its way
	case !r.cfg.keyed && r.f.adopted == nil:
		if err := r.account(ctx, r.end+1); err != nil {
			return err
		}
	}
	r.cursor = r.end // nothing is left up to there
	return nil
}

// Close ends reading. It may be called more than once.
func (r *Reader) Close() error {
	if mangling {
		r.mangle()
	}
	if r.src != nil {
		r.src.close()
		r.src = nil
	}
	r.end, r.rest = 0, nil
	return nil
}

// rangeCheck says whether the log can be read on behind a sequence, and what
// it holds. Where trimmed is true, commits behind the sequence may be gone.
func (f *Feed) rangeCheck(ctx context.Context, after uint64, trimmed bool) (State, error) {
	if err := f.intact(); err != nil {
		return State{}, err
	}
	st, err := f.asked.get(ctx)
	e := &RangeError{Feed: f.name, Want: after + 1, First: st.First, Last: st.Last}
	if se, ok := errors.AsType[*ServerError](err); ok && se.Code == codeNoStream {
		e.class, e.recreated = ErrLostTail, true
		return st, e
	}
	switch {
	case err != nil:
		return st, err
	case st.Incarnation != f.incarnation:
		e.class, e.recreated = ErrLostTail, true
		return st, e
	case after > st.Last:
		e.class = ErrLostTail
		return st, f.lossOr(ctx, e)
	case st.First > after+1 && !trimmed:
		e.class = ErrTrimmed
		return st, e
	}
	return st, nil
}
