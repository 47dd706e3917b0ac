package eventlog

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// headerImport names the batch that a commit began, so that the next import
// can end it: a process that was killed may have left messages on their way.
const headerImport = "Tm-Import"

const (
	importFlow  = 500      // the server acknowledges every so many at most
	importBytes = 16 << 20 // on their way
	importSpan  = 5 * time.Second
	importSteps = 1 << 20 // messages in a batch
	// importPolite is how long the start of a batch insists on an unchanged
	// log, which others may keep changing. By then, whatever was still on its
	// way when an earlier batch was ended has come, and was read.
	importPolite = 2 * time.Second
)

// pump sends all that is pending, waiting where the window is full.
func (im *importer) pump(ctx context.Context) error {
	if im.plain != nil {
		return im.sendPlain(ctx)
	}
	for im.sent < len(im.pending) {
		if err := im.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) step(ctx context.Context) error {
	if im.batch == nil {
		return im.open(ctx)
	}
	b := im.batch
	st, _ := b.state()
	c := im.pending[im.sent]
	room := im.sent < min(im.opts.Window, 8*st.flow)
	fits := im.sent == 0 || im.bytes+c.msg.size() <= importBytes
	switch {
	case st.broke || st.ended || im.losses != im.link.losses():
		return im.recover(ctx)
	case room && fits && !b.due(im.f):
		if err := b.append(&c.msg); err != nil {
			return im.recover(ctx)
		}
		c.sent = true
		im.sent++
		im.bytes += c.msg.size()
		return nil
	case im.collect():
		return nil
	case b.due(im.f), !fits && im.sent < st.flow:
		// In the latter case the server says nothing until the batch ends.
		return im.endBatch(ctx)
	}
	if woken, err := im.wait(ctx, im.f.log.opts.RequestTimeout); err != nil || woken {
		return err
	}
	return im.recover(ctx)
}

// due says that a batch has gone on long enough: at its end the import learns
// what others have appended, well before the server forgets IDs.
func (b *fastBatch) due(f *Feed) bool {
	return b.next > importSteps || (b.next%64 == 0 && time.Since(b.born) > min(importSpan, f.resolve/2))
}

// wait waits until the server says something about the batch.
func (im *importer) wait(ctx context.Context, patience time.Duration) (woken bool, err error) {
	im.report(time.Now(), false)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-im.current.Load().event:
		return true, im.ended(ctx)
	case <-timer.C:
	case <-ctx.Done():
	case <-im.f.closing:
	}
	return false, im.ended(ctx)
}

// collect forgets what is acknowledged, and says whether there was any.
func (im *importer) collect() bool {
	if im.batch == nil {
		return false
	}
	st, _ := im.batch.state()
	n := 0
	for ; im.dropped < st.acked && n < im.sent; n++ {
		c := im.pending[n]
		im.pending[n] = nil
		im.bytes -= c.msg.size()
		im.confirm(c)
		if c.packed != nil {
			im.packer.recycle(c.packed)
			c.packed = nil
		}
		im.spare = append(im.spare, c)
		im.dropped++
	}
	im.pending = im.pending[n:]
	im.sent -= n
	if n > 0 {
		im.trouble = time.Time{}
	}
	return n > 0
}

// open begins a batch with the first commit that is pending. The next is sent
// when the server has taken that one, so that of a batch which the server
// hasn't begun no more than the first message can be on its way. That one
// expects, where an earlier batch wasn't ended in order, that the log hasn't
// changed since it was read: one that is late is refused.
func (im *importer) open(ctx context.Context) error {
	b := newFastBatch(im.f, im.link, max(1, min(importFlow, im.opts.Window/4)))
	im.begin(b)
	c := im.pending[0]
	m := c.msg.with(headerImport, b.id())
	if im.careful && (im.trouble.IsZero() || time.Since(im.trouble) < importPolite) {
		m = m.with(nats.ExpectedLastSeqHdr, strconv.FormatUint(im.known, 10))
	}
	c.sent = true
	if b.append(&m) != nil || b.ping() != nil {
		return im.recover(ctx)
	}
	im.sent, im.bytes = 1, c.msg.size()
	for {
		st, answers := b.state()
		switch {
		case st.broke || st.ended || im.losses != im.link.losses():
			return im.recover(ctx)
		case answers >= 2: // of the start, and of the ping behind it
			im.careful = false
			return nil
		}
		woken, err := im.wait(ctx, im.f.log.opts.RequestTimeout)
		if err != nil {
			return err
		}
		if !woken {
			return im.recover(ctx)
		}
	}
}

// begin makes b the batch whose answers are wanted.
func (im *importer) begin(b *fastBatch) {
	im.losses = im.link.losses()
	im.batch, im.dropped = b, 0
	im.current.Store(b)
}

// drop forgets the batch: nothing of it is on its way.
func (im *importer) drop() { im.batch, im.sent, im.bytes = nil, 0, 0 }

// endBatch ends the batch in order and waits until all of it is in the log.
func (im *importer) endBatch(ctx context.Context) error {
	b := im.batch
	if b.finish() != nil {
		return im.recover(ctx)
	}
	for {
		st, _ := b.state()
		im.collect()
		if st.ended && im.sent == 0 {
			im.drop()
			im.reached(st.seq)
			im.f.frontier.note(st.seq)
			// Where others have appended meanwhile, their IDs count as well.
			if count := b.next - 1; im.known+count == st.seq || !im.ids.scanned {
				im.known = max(im.known, st.seq)
				return nil
			}
			if err := im.learn(ctx); err != nil && !errors.Is(err, ErrUnavailable) {
				return err
			}
			return nil
		}
		if st.broke || st.ended || im.losses != im.link.losses() {
			return im.recover(ctx)
		}
		woken, err := im.wait(ctx, im.f.log.opts.RequestTimeout)
		if err != nil {
			return err
		}
		if !woken {
			return im.recover(ctx)
		}
	}
}
