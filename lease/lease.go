package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/internal/kv"
)

// Lease is one hold of a name. It renews itself until it is released or lost.
// It is safe for concurrent use.
type Lease struct {
	m    *Manager
	name string
	stop context.CancelFunc
	done chan struct{}
	wg   sync.WaitGroup

	writing sync.Mutex // one write to the record at a time; taken before mu

	mu        sync.Mutex
	rec       record
	revision  uint64
	confirmed time.Time // before the last request that succeeded was sent
	err       error     // why it ended; nil while it is held
}

func newLease(m *Manager, name string, r record, revision uint64, begun time.Time) *Lease {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Lease{m: m, name: name, stop: cancel, done: make(chan struct{}), rec: r, revision: revision, confirmed: begun}
	l.wg.Go(func() { l.keep(ctx) })
	return l
}

// Name is what is held.
func (l *Lease) Name() string { return l.name }

// Epoch is the fencing token: greater than that of every earlier hold of the
// name. It changes by Raise alone.
func (l *Lease) Epoch() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec.Epoch
}

// Valid says whether the lease is held at this moment: it was confirmed by
// the server less than a TTL ago.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil && time.Since(l.confirmed) < l.m.opts.TTL
}

// Done is closed when the lease is released or lost.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Err is nil while the lease is held, then ErrReleased or ErrLost with the
// reason.
func (l *Lease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// keep renews the lease. When the last confirmation is a TTL old it is lost:
// somebody else may have it a moment later.
func (l *Lease) keep(ctx context.Context) {
	beat := l.m.opts.heartbeat()
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		left := l.m.opts.TTL - time.Since(l.confirmed)
		l.mu.Unlock()
		if left <= 0 {
			l.end(fmt.Errorf("lease %q: %w: it could not be renewed for %s", l.name, ErrLost, l.m.opts.TTL))
			return
		}
		rctx, cancel := context.WithTimeout(ctx, left)
		err := l.write(rctx, func(*record) {})
		cancel()
		switch {
		case err == nil:
			timer.Reset(beat)
		case errors.Is(err, ErrLost):
			return
		default:
			timer.Reset(max(time.Millisecond, min(beat/4, left)))
		}
	}
}

// write changes the record. An answer that is lost is harmless: the next
// write finds the record moved, and by whom.
func (l *Lease) write(ctx context.Context, change func(*record)) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	for {
		l.mu.Lock()
		r, revision, err := l.rec, l.revision, l.err
		l.mu.Unlock()
		if err != nil {
			return err
		}
		change(&r)
		begun := time.Now()
		now, err := l.m.bucket.Swap(ctx, l.name, r.encode(), revision)
		if err == nil {
			l.mu.Lock()
			l.rec, l.revision, l.confirmed = r, now, begun
			l.mu.Unlock()
			return nil
		}
		if !errors.Is(err, kv.ErrMoved) {
			return storeError(l.name, err)
		}
		if err := l.reread(ctx, revision); err != nil {
			return err
		}
	}
}

// reread finds out why the record isn't where it was: because of a write of
// ours without an answer, or because somebody took the name.
func (l *Lease) reread(ctx context.Context, was uint64) error {
	e, err := l.m.bucket.Get(ctx, l.name)
	if err != nil {
		return storeError(l.name, err)
	}
	if e.Revision == was {
		return fmt.Errorf("lease %q: a write to it is under way", l.name)
	}
	var r record
	if e.Data != nil {
		if r, err = decodeRecord(l.name, e.Data); err != nil {
			return err
		}
	}
	if r.Token != l.rec.Token || r.Released {
		err := fmt.Errorf("lease %q: %w: %.200q has it, epoch %d", l.name, ErrLost, r.Owner, r.Epoch)
		if e.Data == nil {
			err = fmt.Errorf("lease %q: %w: its record was deleted", l.name, ErrLost)
		}
		l.end(err)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rec, l.revision = r, e.Revision
	return nil
}

// end marks the lease as over, once.
func (l *Lease) end(why error) bool {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return false
	}
	l.err = why
	l.mu.Unlock()
	l.stop()
	l.m.over(l.name, errors.Is(why, ErrReleased))
	close(l.done)
	l.m.opts.Logger.Info().Str("lease", l.name).Str("why", why.Error()).Msg("lease ended")
	return true
}

// Raise makes the epoch greater than one that the guarded store has seen:
// after the bucket was lost, epochs begin anew. It is ErrLost where the lease
// isn't held any more.
func (l *Lease) Raise(ctx context.Context, above uint64) error {
	return l.write(ctx, func(r *record) { r.Epoch = max(r.Epoch, above+1) })
}

// Confirm asks the server whether the lease is still held, and renews it:
// nil, ErrLost, ErrReleased, or an error of the connection.
func (l *Lease) Confirm(ctx context.Context) error { return l.write(ctx, func(*record) {}) }

// Release gives the name up, so that the next one needn't wait. It returns
// when nothing of the lease runs any more; an error says that the others have
// to wait for the TTL. Releasing again, or a lost lease, is harmless.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	l.wg.Wait()
	err := l.write(ctx, func(r *record) { r.Released = true })
	if !l.end(fmt.Errorf("lease %q: %w", l.name, ErrReleased)) {
		return nil
	}
	return err
}
