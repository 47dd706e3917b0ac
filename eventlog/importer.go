package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/internal/grace"
)

// importer is an import under way. All of it belongs to one goroutine, except
// that the link delivers answers to the current batch.
//
// Commits go through fast batches of some seconds each. A batch stores a prefix
// of what was sent through it, so after any trouble the import ends it for
// good (fence), reads from the log what it has stored (learn), and sends the
// rest through another one. Nothing is ever in flight twice, and the server's
// window for duplicates decides nothing but who is first of two imports of
// the same IDs.
type importer struct {
	f       *Feed
	opts    ImportOptions
	link    link
	current atomic.Pointer[fastBatch] // whose answers are wanted
	packer  *packer

	ids     importIDs
	batch   *fastBatch // nil: none is open
	dropped uint64     // messages of the batch that were acknowledged and forgotten
	pending []*importCommit
	spare   []*importCommit // to be used again
	sent    int             // so many of pending are in the batch; <= len(pending)
	bytes   int             // in those
	losses  uint64          // of the link, when the batch began
	known   uint64          // up to here the log's IDs are in ids
	careful bool            // a message of an earlier batch may still be on its way
	trouble time.Time
	plain   *plainImport // how it is sent where the server has no fast ingest; else nil
	refused bool         // the server refused a commit for good

	res      ImportResult
	begun    time.Time
	now      time.Time // when input was last taken
	reported time.Time
}

func (f *Feed) newImporter(ctx context.Context, opts ImportOptions) (*importer, error) {
	st, err := f.State(ctx)
	if err != nil {
		return nil, err
	}
	im := &importer{
		f: f, opts: opts, packer: newPacker(opts.Pack, opts.ahead), ids: newImportIDs(),
		known: st.Last, begun: time.Now(), reported: time.Now(),
	}
	switch err := f.allowIngest(ctx); {
	case err == nil:
	case errors.Is(err, ErrUnsupported), errors.Is(err, ErrDenied):
		f.log.opts.Logger.Info().Err(err).Str("feed", f.name).Msg("eventlog: importing without fast ingest, more slowly")
		im.plain = &plainImport{keys: make(map[string]*Pending)}
		return im, nil
	default:
		return nil, err
	}
	im.link, err = f.openLink(func(token uint64, data []byte, noResponders bool) {
		if b := im.current.Load(); b != nil && b.token == token {
			b.onAnswer(data, noResponders)
		}
	}, wireEnough)
	if err != nil {
		return nil, f.serverError(ctx, "import", err)
	}
	return im, nil
}

// run takes the input to its end.
func (im *importer) run(ctx context.Context, in *inlet) error {
	err := im.consume(ctx, in)
	if _, bad := errors.AsType[*ImportError](err); err == nil || (bad && !im.refused) {
		// What came before a bad draft is good.
		if rest := im.flush(ctx); rest != nil {
			err = rest
		}
	}
	if err != nil && im.plain != nil {
		last, cancel := grace.After(ctx, im.f.log.opts.RequestTimeout)
		defer cancel()
		_ = im.flushPlain(last)
	}
	if err != nil && im.batch != nil {
		// Find out what of the batch is in, for the result's sake.
		im.pending = im.pending[:im.sent]
		last, cancel := grace.After(ctx, im.f.log.opts.RequestTimeout)
		defer cancel()
		_ = im.endBatch(last)
	}
	im.report(time.Now(), true)
	return err
}

func (im *importer) consume(ctx context.Context, in *inlet) error {
	var ds []importDraft
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		var done bool
		var bad error
		clear(ds)
		ds, done, bad = in.take(ds)
		im.now = time.Now()
		for i := range ds {
			if err := im.accept(ctx, &ds[i]); err != nil {
				return err
			}
		}
		if done && len(ds) == 0 {
			if bad != nil {
				return &ImportError{Feed: im.f.name, Index: im.res.Read, Err: bad}
			}
			return nil
		}
		if err := im.between(ctx, len(ds) == 0); err != nil {
			return err
		}
		if len(ds) > 0 {
			continue
		}
		select {
		case <-in.more:
		case <-tick.C:
		case <-ctx.Done():
		case <-im.f.closing:
		}
	}
}

// between does what is due by time. When nothing came since the last time,
// the batch is ended, so that the last few are acknowledged, too.
func (im *importer) between(ctx context.Context, idle bool) error {
	now := time.Now()
	for ds := im.packer.overdue(now.Add(-packPatience)); ds != nil; ds = im.packer.overdue(now.Add(-packPatience)) {
		if err := im.emit(ctx, ds); err != nil {
			return err
		}
	}
	if err := im.ended(ctx); err != nil {
		return err
	}
	if im.plain != nil {
		if err := im.settlePlain(ctx, nil); err != nil {
			return err
		}
	}
	if idle && im.batch != nil && now.Sub(im.batch.born) > reportEvery {
		return im.endBatch(ctx)
	}
	im.collect()
	im.report(now, false)
	return nil
}

// ended says whether the import has to stop.
func (im *importer) ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if im.f.closed.Load() {
		return fmt.Errorf("eventlog: import into %s: %w", im.f.name, ErrClosed)
	}
	return nil
}

const reportEvery = 100 * time.Millisecond

func (im *importer) report(now time.Time, last bool) {
	if im.opts.Progress == nil || (!last && now.Sub(im.reported) < reportEvery) {
		return
	}
	im.reported = now
	im.opts.Progress(ImportProgress{ImportResult: im.res, Elapsed: now.Sub(im.begun)})
}

// accept takes one draft in.
func (im *importer) accept(ctx context.Context, d *importDraft) error {
	im.res.Read++
	switch {
	case d.Expect != ExpectAny:
		return im.fail(d, fmt.Errorf("%w: an import appends whatever the key's state is", ErrInvalid))
	case len(d.Tags) > 0:
		return im.fail(d, fmt.Errorf("%w: tags need a transaction", ErrInvalid))
	case d.Durability != Acked:
		return im.fail(d, fmt.Errorf("%w: an import is acknowledged, not synced", ErrInvalid))
	}
	if d.ID != "" {
		if err := im.scan(ctx); err != nil {
			return err
		}
		at, known, same := im.ids.claim(d.ID, d.Key)
		switch {
		case known && !same:
			if at == 0 { // it isn't in the log yet
				return im.fail(d, fmt.Errorf("%w: this import has it already, with another key", ErrIdentity))
			}
			return im.fail(d, fmt.Errorf("%w: %s@%d", ErrIdentity, im.f.name, at))
		case known:
			im.skip(at)
			return nil
		}
	}
	if im.opts.Pack == 1 {
		c, err := im.encodeOne(d)
		if err != nil {
			return im.fail(d, err)
		}
		im.pending = append(im.pending, c)
		return im.pump(ctx)
	}
	for _, ds := range im.packer.add(d, im.now) {
		if err := im.emit(ctx, ds); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) skip(at uint64) {
	im.res.Skipped++
	im.reached(at)
}

func (im *importer) reached(seq uint64) {
	if seq > im.res.Last.Seq {
		im.res.Last = Position{Feed: im.f.name, Seq: seq}
	}
}

func (im *importer) fail(d *importDraft, err error) error {
	return &ImportError{Feed: im.f.name, Index: d.index, Key: d.Key, ID: d.ID, Err: err}
}

// flush sends all that is left and waits for its acknowledgement.
func (im *importer) flush(ctx context.Context) error {
	for ds := im.packer.first(); ds != nil; ds = im.packer.first() {
		if err := im.emit(ctx, ds); err != nil {
			return err
		}
	}
	if im.plain != nil {
		return im.flushPlain(ctx)
	}
	for im.batch != nil || len(im.pending) > 0 {
		if err := im.pump(ctx); err != nil {
			return err
		}
		if im.batch != nil {
			if err := im.endBatch(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// emit makes a commit of drafts and sends it. One that can't be made is
// halved, until it is small enough or the bad draft is found.
func (im *importer) emit(ctx context.Context, ds []importDraft) error {
	c, err := im.encode(ds)
	switch {
	case err == nil:
		im.pending = append(im.pending, c)
		return im.pump(ctx)
	case len(ds) == 1:
		return im.fail(&ds[0], err)
	}
	if err := im.emit(ctx, slices.Clip(ds[:len(ds)/2])); err != nil {
		return err
	}
	return im.emit(ctx, ds[len(ds)/2:])
}

// confirm counts a commit of this import that is in the log.
func (im *importer) confirm(c *importCommit) {
	im.res.Appended += uint64(max(1, len(c.packed)))
	im.res.Commits++
	im.res.Events += uint64(c.events)
	im.f.stats.outcome(&c.prepared, nil)
}

// definite says whether an error of the server means that sending the same
// again is of no use.
func definite(err *jetstream.APIError) bool {
	if err == nil {
		return false
	}
	switch err.ErrorCode {
	case codeWrongLastSequence, codeWriteInFlight, codeBatchUnknown, codeFastTooMany:
		return false
	}
	return (ack{Error: err}).outcome() == ackRefused
}

func parseBatchID(s string) (token uint64, ok bool) {
	token, err := strconv.ParseUint(s, 36, 64)
	return token, err == nil
}
