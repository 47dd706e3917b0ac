package eventlog

import (
	"context"
	"errors"
)

const (
	// bulkLeast is the distance below which bulk isn't worth its start, in
	// messages: the start takes some milliseconds, and leaves lines in the
	// server's log.
	bulkLeast = 20_000
	// bulkRatio is how many messages bulk reads in the time in which tail
	// reads one, at least: of 1,000,000 messages of 200 bytes on 2 cores, bulk
	// read 490,000 to 780,000 a second beside an ordered consumer's 313,000 to
	// 339,000 and tail's 263,000 (docs/benchmarks.md).
	bulkRatio = 2
)

// bulkPays says whether a feed is read faster by bulk, which has to read it
// from its first message on, than by tail, which begins behind the cursor. end
// is the last sequence that is wanted, and least the least distance.
func bulkPays(st State, cursor, end, least uint64) bool {
	end = min(end, st.Last)
	if end <= cursor || end-cursor < least {
		return false
	}
	return end-cursor >= (end-st.First+1)/bulkRatio
}

// openLong reads a feed behind a sequence, up to end and beyond, by what suits
// the distance. Where known is given, the log must still have that message.
func (f *Feed) openLong(ctx context.Context, after uint64, known mark, end uint64, trimmed bool) (source, error) {
	if end > after && end-after >= f.bulkLeast && !f.bulkOff.Load() && f.can().release.atLeast(releaseArchive) {
		st, err := f.State(ctx)
		if err == nil && bulkPays(st, after, end, f.bulkLeast) {
			var b *bulk
			if b, err = f.openBulk(ctx, after, known, trimmed); err == nil {
				return b, nil
			}
			f.noBulk(ctx, err)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if f.replicated.Load() {
		return f.openLed(ctx, after, known, end, trimmed)
	}
	return f.openTail(ctx, after, known, "", trimmed)
}

// noBulk takes note that a bulk couldn't be read to its end, and why. Where it
// won't be otherwise the next time, it isn't tried again on this feed.
func (f *Feed) noBulk(ctx context.Context, err error) {
	if f.closed.Load() || ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrDenied) || errors.Is(err, errArchive) {
		f.bulkOff.Store(true)
	}
	if !f.bulkTold.Swap(true) {
		f.log.opts.Logger.Warn().Err(err).Str("feed", f.name).Msg("eventlog: the backup API can't be used to the end: reading goes on by a consumer, more slowly")
	}
}
