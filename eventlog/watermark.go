package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemark-es/tidemark/internal/highwater"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// watermark is a feed's high-water mark: how far its log surely went, kept apart
// from the log (docs/format-mark.md). The keeper advances it in the background,
// when commits were acknowledged since the last time; appends never wait for it.
//
//	advance  embedded: ask for the log's end, sync up to there, write the mark
//	         elsewhere: the last sequence that this process was acknowledged
//	check    when the feed is opened, after a reconnect, and by Check
//
// It never goes back, except when a loss is accepted: a mark is
// only replaced where the log still has the message at the old one. A mark that
// is missing or damaged says nothing, and the log is used as it is.
type watermark struct {
	f     *Feed
	store markStore // nil: the feed has none

	seq  atomic.Uint64             // known.Seq()
	lost atomic.Pointer[LossError] // nil while the log is as the mark says

	mu       sync.Mutex // held while the log is compared, or the mark written
	known    highwater.Mark
	revision uint64
	off      error // why no mark is written; nil almost always
	waiting  aged  // of a log that only the server syncs
}

// aged is an anchor, and when the log was seen to have it.
type aged struct {
	at     timeframe.Anchor
	seenAt time.Time
}

// every is the least time between two writes.
func (w *watermark) every() time.Duration {
	if w.f.log.embedded != nil {
		return markEveryEmbedded
	}
	return markEveryElsewhere
}

// open reads the mark of a feed that is being opened, and compares its log.
func (w *watermark) open(ctx context.Context) error {
	if w.store = w.f.log.marks; w.store == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.load(ctx); err != nil {
		return w.f.serverError(ctx, "read the mark", err)
	}
	j, o, err := w.judge(ctx)
	if err != nil {
		return err
	}
	log := w.f.log.opts.Logger
	switch {
	case j.Verdict == highwater.Foreign:
		w.forget()
	case j.Verdict == highwater.Lost:
		w.bar(w.loss(j, o))
	case j.Verdict == highwater.Unread:
		log.Error().Str("feed", w.f.name).Uint64("seq", w.known.Seq()).Msg("eventlog: the message at the feed's mark can't be read: " + j.Reason)
	case j.Short > 0:
		w.f.stats.short.Add(j.Short)
		log.Warn().Str("feed", w.f.name).Uint64("messages", j.Short).Msg("eventlog: the log was not closed, and lost what was acknowledged last: " + j.Reason)
	}
	return nil
}

// load reads the record; one that says nothing is as none. w.mu is held.
func (w *watermark) load(ctx context.Context) error {
	data, revision, err := w.store.load(ctx, w.f.name)
	log := w.f.log.opts.Logger
	if errors.Is(err, ErrDenied) {
		w.off = err
		log.Info().Err(err).Str("feed", w.f.name).Msg("eventlog: the feed's mark may not be read: a log that was set back isn't noticed by it")
		return nil
	}
	if err != nil {
		return err
	}
	w.revision = revision
	w.forget()
	if data == nil {
		return nil
	}
	m, err := highwater.Decode(data)
	switch {
	case errors.Is(err, highwater.ErrVersion):
		w.off = err // a later release's: it is not overwritten
		log.Warn().Err(err).Str("feed", w.f.name).Msg("eventlog: the feed's mark isn't known to this release")
	case err == nil && m.Feed != w.f.name:
		err = fmt.Errorf("%w: it is of feed %q", highwater.ErrDamaged, m.Feed)
		fallthrough
	case err != nil:
		w.f.stats.badMarks.Add(1)
		log.Warn().Err(err).Str("feed", w.f.name).Msg("eventlog: the feed's mark is damaged, and says nothing: the log is used as it is")
	default:
		w.known = m
		w.seq.Store(m.Seq())
	}
	return nil
}

func (w *watermark) forget() {
	w.known = highwater.Mark{}
	w.seq.Store(0)
}

// settleFor is how long a loss has to be seen on servers elsewhere: the leader
// that was elected a moment ago may still be applying what it has.
const settleFor = 2 * time.Second

// judge compares the log with the mark, as its leader has it; w.mu is held, so
// that the mark isn't newer than what is asked.
func (w *watermark) judge(ctx context.Context) (j highwater.Judgement, o timeframe.Observed, err error) {
	if w.known.Seq() == 0 {
		return highwater.Judgement{Verdict: highwater.Holds}, o, nil
	}
	seqs := w.known.Seqs()
	begun := time.Now()
	for {
		if o, err = w.f.Observe(ctx, seqs[0]); err != nil {
			return j, o, err
		}
		if j = w.known.Judge(o); j.Verdict != highwater.Lost {
			return j, o, nil
		}
		if w.f.log.embedded != nil || w.lost.Load() != nil || time.Since(begun) > settleFor {
			break
		}
		if err := await(ctx, settleFor/10); err != nil {
			return j, o, err
		}
	}
	// How far back do the histories agree?
	if o, err = w.f.Observe(ctx, seqs...); err == nil {
		j = w.known.Judge(o)
	}
	return j, o, err
}

func (w *watermark) loss(j highwater.Judgement, o timeframe.Observed) *LossError {
	return &LossError{Feed: w.f.name, Stream: w.f.stream, From: j.From, To: j.To, Last: o.Last, Reason: j.Reason}
}

// accept makes the log as it is the mark; w.mu is held.
func (w *watermark) accept(ctx context.Context, j highwater.Judgement, o timeframe.Observed) error {
	last, err := w.f.Observe(ctx, o.Last)
	if err != nil {
		return err
	}
	at := timeframe.Anchor{Seq: o.Last, Print: last.Prints[o.Last]}
	if _, there := last.Prints[o.Last]; !there {
		at = timeframe.Anchor{}
	}
	if err := w.write(ctx, w.known.Accept(j.From-1, at)); err != nil {
		return fmt.Errorf("eventlog: feed %q: the loss can't be accepted: %w", w.f.name, err)
	}
	w.lost.Store(nil)
	lost := j.To - j.From + 1
	w.f.stats.short.Add(lost)
	w.f.log.opts.Logger.Warn().Str("feed", w.f.name).Uint64("from", j.From).Uint64("to", j.To).Uint64("messages", lost).Msg("eventlog: a loss was accepted: " + j.Reason)
	return nil
}

// write stores a mark and keeps it; w.mu is held.
func (w *watermark) write(ctx context.Context, m highwater.Mark) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	revision, err := w.store.save(ctx, w.f.name, data, w.revision)
	if err != nil {
		return err
	}
	w.known, w.revision = m, revision
	w.seq.Store(m.Seq())
	return nil
}

// check compares the log with the mark, and bars the feed to appends where it
// lost what it had: each of them would make the loss harder to repair. Where
// reload is true the mark is read anew: other processes advance it too.
func (w *watermark) check(ctx context.Context, reload bool) error {
	if w.store == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if reload && w.off == nil && w.f.log.embedded == nil {
		if err := w.load(ctx); err != nil {
			return w.f.serverError(ctx, "read the mark", err)
		}
	}
	j, o, err := w.judge(ctx)
	if err != nil {
		return err
	}
	if j.Verdict != highwater.Lost {
		w.lost.Store(nil) // a backup was restored meanwhile
		if seq := w.known.Seq(); j.Verdict == highwater.Unread && !w.f.gaps.covers(seq) {
			return &GapsError{Feed: w.f.name, Missing: 1, Where: []SeqRange{{First: seq, Last: seq}}}
		}
		return nil
	}
	loss := w.loss(j, o)
	w.bar(loss)
	return loss
}

// bar closes the feed until the loss is repaired or accepted.
func (w *watermark) bar(loss *LossError) {
	if w.lost.Swap(loss) == nil {
		w.f.log.opts.Logger.Error().Err(loss).Str("feed", w.f.name).Msg("eventlog: the feed can't be used")
	}
}

// moved says whether the log may be further than its mark.
func (w *watermark) moved() bool {
	return w.store != nil && w.f.frontier.upto.Load() > w.seq.Load()
}

// advance moves the mark on. It is no error of anybody's where that can't be
// done: the old one stays true.
func (w *watermark) advance(ctx context.Context) {
	if w.store == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.advanceLocked(ctx)
	if err == nil || w.off != nil {
		return
	}
	if errors.Is(err, ErrDenied) {
		w.off = err
	}
	if errors.Is(err, kv.ErrMoved) {
		_ = w.load(ctx) // another process was faster; the next time shows
		return
	}
	w.f.log.opts.Logger.Info().Err(err).Str("feed", w.f.name).Msg("eventlog: the feed's mark stays where it is")
}

func (w *watermark) advanceLocked(ctx context.Context) error {
	if w.off != nil || w.lost.Load() != nil {
		return nil
	}
	st, err := w.f.State(ctx)
	if err != nil {
		return err
	}
	upto := st.Last
	if w.f.log.embedded == nil {
		upto = min(upto, w.f.frontier.upto.Load())
	}
	if upto <= w.known.Seq() || upto < st.First || st.Incarnation != w.f.incarnation {
		return nil
	}
	o, err := w.f.Observe(ctx, max(w.known.Seq(), 1), upto)
	if err != nil {
		return err
	}
	if w.known.Seq() > 0 && w.known.Judge(o).Verdict == highwater.Lost {
		return nil // check says so, after it has looked twice
	}
	print, there := o.Prints[upto]
	if !there {
		return nil // trimmed, or erased, at this moment
	}
	at, err := w.onDisk(ctx, timeframe.Anchor{Seq: upto, Print: print})
	if err != nil || at.Seq <= w.known.Seq() {
		return err
	}
	acked := at.Seq
	if w.f.log.embedded != nil {
		acked = max(acked, o.Last, w.f.frontier.upto.Load())
	}
	return w.write(ctx, w.known.Advance(w.f.name, w.f.incarnation, at, acked))
}

// onDisk brings the log up to an anchor to the disk, and returns how far it
// surely is there. On servers elsewhere that is their promise, not ours.
func (w *watermark) onDisk(ctx context.Context, at timeframe.Anchor) (timeframe.Anchor, error) {
	if w.f.log.embedded == nil {
		return at, nil
	}
	err := w.f.syncer.sync(ctx, Position{Feed: w.f.name, Seq: at.Seq})
	if e, ok := errors.AsType[*SyncError](err); !ok || e.Err != nil {
		return at, err
	}
	// It can't be synced by us (Windows): the server does, by and by.
	sure := w.waiting
	if time.Since(sure.seenAt) < max(2*w.f.log.opts.SyncInterval, w.every()/2) {
		return timeframe.Anchor{}, nil
	}
	w.waiting = aged{at: at, seenAt: time.Now()}
	return sure.at, nil
}

// closing bounds the last write of a mark.
const closing = 2 * time.Second

// close writes the mark for the last time. The writer must be closed before,
// and the syncer after it.
func (w *watermark) close() {
	if w.store == nil || !w.f.log.nc.IsConnected() || (w.f.log.embedded == nil && !w.moved()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	w.advance(ctx)
}
