package eventlog

import (
	"context"
	"errors"
	"fmt"
)

// plainImport is how an import sends where the server has no fast ingest
// (before 2.14): through the feed's writer, which pipelines, sends again what
// had no answer, and finds out what became of it. A key has one commit in flight
// at a time, which keeps its order whatever happens; between keys a commit that
// had to be sent again comes later than it was handed over.
type plainImport struct {
	flying []plainCommit
	keys   map[string]*Pending // the last one of each key in flight
}

type plainCommit struct {
	c *importCommit
	p *Pending
}

// sendPlain sends all that is pending, waiting where a key or the window is
// busy.
func (im *importer) sendPlain(ctx context.Context) error {
	for len(im.pending) > 0 {
		c := im.pending[0]
		for len(im.plain.flying) >= im.opts.Window {
			if err := im.settlePlain(ctx, im.plain.flying[0].p); err != nil {
				return err
			}
		}
		if before := im.plain.keys[c.draft.Key]; before != nil {
			if err := im.settlePlain(ctx, before); err != nil {
				return err
			}
		}
		p := newPending(im.f)
		p.pr = c.prepared
		if err := im.f.writer.submit(ctx, p); err != nil {
			return im.ofDraft(c, err)
		}
		c.sent = true
		im.plain.flying = append(im.plain.flying, plainCommit{c, p})
		im.plain.keys[c.draft.Key] = p
		im.pending = im.pending[1:]
	}
	return nil
}

// settlePlain waits for a commit, and counts those that are acknowledged, in the
// order in which they were sent. nil is any: it doesn't wait.
func (im *importer) settlePlain(ctx context.Context, wait *Pending) error {
	if wait != nil {
		select {
		case <-wait.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-im.f.closing:
			return im.ended(ctx)
		}
	}
	left := im.plain.flying[:0]
	var failed error
	for _, f := range im.plain.flying {
		select {
		case <-f.p.done:
		default:
			left = append(left, f)
			continue
		}
		if im.plain.keys[f.c.draft.Key] == f.p {
			delete(im.plain.keys, f.c.draft.Key)
		}
		if f.p.err != nil {
			failed = errors.Join(failed, im.ofDraft(f.c, f.p.err))
			continue
		}
		im.confirm(f.c)
		im.reached(f.p.pos.Seq)
	}
	clear(im.plain.flying[len(left):])
	im.plain.flying = left
	return failed
}

// flushPlain waits for all that was sent.
func (im *importer) flushPlain(ctx context.Context) error {
	for len(im.plain.flying) > 0 {
		if err := im.settlePlain(ctx, im.plain.flying[0].p); err != nil {
			return err
		}
	}
	return nil
}

// ofDraft says which draft an error is about.
func (im *importer) ofDraft(c *importCommit, err error) error {
	if errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrClosed) {
		return fmt.Errorf("eventlog: import into %s: %w: import again with the same IDs", im.f.name, err)
	}
	im.refused = true
	return im.fail(&c.drafts()[0], err)
}
