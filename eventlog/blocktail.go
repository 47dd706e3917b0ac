package eventlog

import (
	"context"
	"runtime"
	"time"
)

// blockTail is a tail that does without its consumer while this process
// appends much: then it takes what was acknowledged from the embedded server's
// newest block file. A delivery by a consumer costs the server, nats.go and
// the tail about half of what the append did, each for itself; read from the
// file, it is a fraction of that.
//
// What others append is in the file, too, and is read with the next commit
// that is acknowledged here. When none has been for blockSilence, and at
// anything in the files that isn't as expected, there is a consumer again,
// which begins behind the last message and makes sure that the log still has
// that. So the commits of others may be late by blockSilence, once, and only
// just after this process has stopped to append.
//
// All methods are called by one goroutine.
type blockTail struct {
	f      *Feed
	tail   *tail
	cursor blockCursor
	timer  *time.Timer

	reading bool      // the files, not the consumer
	taken   uint64    // messages, since reading began
	last    message   // the last one that was returned
	window  time.Time // the acknowledgements before it were counted:
	counted uint64
	least   uint64 // acknowledgements in a window that reading is begun for; 0: none
	failed  int    // how often the files weren't as expected
}

const (
	blockWindow  = 10 * time.Millisecond
	blockSilence = 20 * time.Millisecond
	blockLeast   = 64   // acknowledgements in a window: one each 150 us
	blockMost    = 4096 // which it grows to where reading ends soon, as in bursts
	blockFailed  = 3    // then the files are of no use
)

// openEnd is the source for the end of the log.
func (f *Feed) openEnd(ctx context.Context, after uint64, known mark) (markedSource, error) {
	s, err := f.openProven(ctx, after, known, "", true)
	if err != nil {
		return nil, err
	}
	t, believed := s.(*tail)
	if !believed || f.log.embedded == nil || f.log.opts.Memory || f.adopted != nil {
		return s, nil
	}
	return f.newBlockTail(t), nil
}

func (f *Feed) newBlockTail(t *tail) *blockTail {
	b := &blockTail{f: f, tail: t, least: blockLeast, window: time.Now(), counted: f.frontier.count.Load()}
	b.cursor = blockCursor{stream: f.stream, files: blockFiles{dir: f.log.embedded.streamDir(f.stream)}}
	b.timer = time.NewTimer(blockSilence)
	b.timer.Stop()
	return b
}

func (b *blockTail) mark() mark { return b.tail.mark() }

func (b *blockTail) next(ctx context.Context) ([]message, error) {
	if b.reading {
		b.last = b.last.clone() // its loan ends
		if msgs, err := b.read(ctx); err != nil || len(msgs) > 0 {
			return msgs, err
		}
	}
	msgs, err := b.tail.next(ctx)
	if n := len(msgs); err == nil && n > 0 && b.worthwhile() {
		b.begin(&msgs[n-1])
	}
	return msgs, err
}

// worthwhile says whether this process has appended so much lately that the
// consumer isn't worth its while.
func (b *blockTail) worthwhile() bool {
	now, count := time.Now(), b.f.frontier.count.Load()
	switch {
	case b.failed >= blockFailed:
		return false
	case b.least == 0:
		return true
	case now.Sub(b.window) < blockWindow:
		return false
	}
	much := count-b.counted >= b.least && now.Sub(b.window) < 2*blockWindow
	b.window, b.counted = now, count
	return much
}

// begin gives up the consumer, and whatever it has delivered behind a message,
// unless the files have no place for that.
func (b *blockTail) begin(last *message) {
	if err := b.cursor.seek(last.seq); err != nil {
		b.fail(err)
		return
	}
	b.tail.pause()
	b.reading, b.taken, b.last = true, 0, *last
}

func (b *blockTail) fail(err error) {
	b.failed++
	b.f.log.opts.Logger.Debug().Err(err).Str("feed", b.f.name).Msg("eventlog: following by a consumer, not by the block files")
}

// read returns what was appended meanwhile, or waits for it; none when there
// is a consumer again.
func (b *blockTail) read(ctx context.Context) ([]message, error) {
	for {
		if b.f.closed.Load() {
			return nil, b.f.closedRead()
		}
		upto := b.f.frontier.upto.Load()
		if upto <= b.cursor.at {
			more, err := b.await(ctx)
			if err != nil {
				return nil, err
			}
			if !more {
				break
			}
			continue
		}
		msgs, err := b.cursor.read(upto)
		if n := len(msgs); n > 0 {
			b.last = msgs[n-1]
			b.taken += uint64(n)
			b.f.stats.files.Add(uint64(n))
			return msgs, nil
		}
		b.fail(err)
		break
	}
	b.end()
	return nil, nil
}

// await waits for an acknowledgement behind what was read, and says whether
// there was one.
func (b *blockTail) await(ctx context.Context) (bool, error) {
	a := &b.f.frontier
	a.waiting.Store(true)
	defer a.waiting.Store(false)
	b.timer.Reset(blockSilence)
	defer b.timer.Stop()
	for a.upto.Load() <= b.cursor.at {
		select {
		case <-a.bell:
			a.waiting.Store(true) // it may have been one that came before
		case <-b.timer.C:
			return a.upto.Load() > b.cursor.at, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-b.f.closing:
			return false, b.f.closedRead()
		}
	}
	b.gather()
	return true, nil
}

// gather lets what is ready to run, the writer's connection above all, bring
// further acknowledgements, as tail.gather does.
func (b *blockTail) gather() {
	for n, round := uint64(0), 0; n != b.f.frontier.upto.Load() && round < tailRounds; round++ {
		n = b.f.frontier.upto.Load()
		runtime.Gosched()
	}
}

// end goes back to the consumer.
func (b *blockTail) end() {
	b.reading = false
	if b.taken > 16*b.least {
		b.least = min(b.least, blockLeast)
	} else {
		b.least = min(2*b.least, blockMost)
	}
	b.window, b.counted = time.Now(), b.f.frontier.count.Load()
	b.cursor.rest()
	b.tail.resume(b.last)
	b.last = message{}
}

func (b *blockTail) close() {
	b.cursor.close()
	b.tail.close()
}
