package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// importEarlier is how many of the feed's latest imports an import ends.
const importEarlier = 4

// scan learns the feed's IDs, once: when the first draft with an ID comes. A
// batch that an earlier import has left open is ended, and the log read once
// more, since such a batch may go on while its process is long dead.
func (im *importer) scan(ctx context.Context) error {
	if im.ids.scanned {
		return nil
	}
	if im.batch != nil {
		if err := im.flush(ctx); err != nil {
			return err
		}
	}
	im.ids.scanned = true
	im.known = im.opts.After
	batches, err := im.read(ctx, nil)
	if err != nil {
		return err
	}
	im.careful = true
	if im.plain != nil {
		return nil
	}
	for _, token := range batches {
		im.begin(attachBatch(im.f, im.link, token))
		if err := im.fence(ctx); err != nil {
			return err
		}
		im.drop()
	}
	im.trouble = time.Time{}
	if len(batches) > 0 {
		_, err = im.read(ctx, nil)
	}
	return err
}

// recover is for every kind of trouble: it ends the batch for good, finds out
// what of it is in the log, and leaves the rest to the next batch.
func (im *importer) recover(ctx context.Context) error {
	im.f.stats.retries.Add(1)
	if err := im.fence(ctx); err != nil {
		return err
	}
	st, _ := im.batch.state()
	im.collect()
	im.drop()
	im.careful = true
	for {
		err := im.learn(ctx)
		if err == nil {
			break
		}
		if err = im.patience(ctx, err); err != nil {
			return err
		}
	}
	if definite(st.err) && len(im.pending) > 0 {
		im.refused = true
		c := im.pending[0]
		return im.fail(&c.drafts()[0], &ServerError{Feed: im.f.name, Op: "append", Code: int(st.err.ErrorCode), Description: st.err.Description})
	}
	return nil
}

// fence ends the batch and waits for the server's word that it is over.
func (im *importer) fence(ctx context.Context) error {
	b := im.batch
	for {
		im.losses = im.link.losses()
		if im.trouble.IsZero() {
			im.trouble = time.Now()
		}
		err := b.fence()
		for err == nil {
			if st, _ := b.state(); st.over() {
				return nil
			}
			woken, err := im.wait(ctx, im.f.log.opts.RequestTimeout/4)
			if err != nil {
				return err
			}
			if !woken || im.losses != im.link.losses() {
				break
			}
		}
		if err := im.patience(ctx, errors.Join(ErrUnavailable, err)); err != nil {
			return err
		}
	}
}

// patience waits a moment before another try, where the trouble passes by
// itself and hasn't lasted too long.
func (im *importer) patience(ctx context.Context, err error) error {
	if err := im.ended(ctx); err != nil {
		return err
	}
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	if time.Since(im.trouble) > im.f.resolve {
		return fmt.Errorf("eventlog: import into %s: %w: what of %d commits is in the log: %w: import again with the same IDs", im.f.name, ErrAmbiguous, len(im.pending), err)
	}
	_, err = im.wait(ctx, reportEvery/2)
	return err
}

// learn reads what was appended since the log was last looked at, and takes
// out of what is still to be sent all that is there.
func (im *importer) learn(ctx context.Context) error {
	own := make(map[[16]byte]bool)
	for _, c := range im.pending {
		if !c.natural {
			own[idHash(c.id)] = false
		}
	}
	if _, err := im.read(ctx, own); err != nil {
		return err
	}
	if n := len(own); n == 0 && !im.ids.scanned {
		return nil
	}
	before := len(im.pending)
	left := im.pending[:0]
	for _, c := range im.pending {
		keep, err := im.remaining(c, own)
		if err != nil {
			return err
		}
		if keep != nil {
			left = append(left, keep)
		}
	}
	clear(im.pending[len(left):])
	im.pending = left
	if len(left) < before {
		im.trouble = time.Time{}
	}
	im.packer.drop(func(d *importDraft) bool {
		at := im.ids.where(d.ID)
		if d.ID == "" || at == 0 {
			return false
		}
		im.skip(at)
		return true
	})
	return nil
}

// remaining is what of a commit isn't in the log: nil for nothing.
func (im *importer) remaining(c *importCommit, own map[[16]byte]bool) (*importCommit, error) {
	if !c.natural {
		if own[idHash(c.id)] {
			im.confirm(c)
			return nil, nil
		}
		return c, nil
	}
	absent := func(d importDraft) bool { return im.ids.where(d.ID) == 0 }
	ds := c.drafts()
	if !slices.ContainsFunc(ds, func(d importDraft) bool { return !absent(d) }) {
		return c, nil
	}
	if c.sent && !slices.ContainsFunc(ds, absent) {
		im.confirm(c)
		im.reached(im.ids.where(ds[0].ID))
		return nil, nil
	}
	var left []importDraft
	for _, d := range ds {
		if absent(d) {
			left = append(left, d)
		} else {
			im.skip(im.ids.where(d.ID))
		}
	}
	if left == nil {
		return nil, nil
	}
	return im.encode(left)
}

// read reads the log behind what is known, marks the commits in own that it
// finds, and returns the latest batches that it met.
func (im *importer) read(ctx context.Context, own map[[16]byte]bool) (batches []uint64, err error) {
	st, err := im.f.State(ctx)
	if err != nil {
		return nil, err
	}
	for c, err := range im.f.Commits(ctx, After(im.known), Until(st.Last), AllowTrimmed(), Unreadable()) {
		if err != nil {
			return nil, err
		}
		im.met(c, own)
		if token, ok := parseBatchID(c.msg.get(headerImport)); ok {
			batches = append(batches, token)
			batches = batches[max(0, len(batches)-importEarlier):]
		}
	}
	im.known = max(im.known, st.Last)
	return batches, nil
}

func (im *importer) met(c *Commit, own map[[16]byte]bool) {
	if len(own) > 0 {
		h := idHash(c.ID)
		if _, ok := own[h]; ok {
			own[h] = true
			im.reached(c.Seq)
		}
	}
	if !im.ids.scanned {
		return
	}
	c.msg.eachID(func(id []byte, _, _ int) bool {
		im.ids.met(string(id), c.Key, c.Seq)
		return true
	})
}
