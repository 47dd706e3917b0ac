package projection

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/snapshot"
)

// owner holds the lease on a unit's snapshots where it can, and waits for it
// where another process has it: that one saves, and this one follows the log
// and serves all the same. Every save carries the lease's epoch, and whoever
// takes the lease puts it into the head before anything else, so that an owner
// that was paused is refused when it wakes up.
type owner struct {
	u    *unit
	kick chan struct{} // to the unit's goroutine: the lease was gained
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	lease   *lease.Lease  // nil while it isn't ours
	tried   chan struct{} // closed when it is known whether it is
	settled bool
	holder  string // who else has it, or why nobody can say
}

// claimer is a store that can refuse earlier epochs at once.
type claimer interface {
	Claim(ctx context.Context, unit string, epoch uint64) error
}

// releaseTimeout bounds how long Close waits to give the lease up; closeWait,
// how long it waits to learn whether there is one.
const (
	releaseTimeout = 2 * time.Second
	closeWait      = 2 * time.Second
)

func newOwner(u *unit) *owner {
	return &owner{u: u, kick: make(chan struct{}, 1), tried: make(chan struct{}), stop: func() {}}
}

// run takes the lease, and takes it again when it was lost, until end.
func (o *owner) run() {
	m := o.u.rt.cfg.Leases
	if m == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.stop = cancel
	o.mu.Lock()
	if o.settled { // it ran before
		o.settled, o.tried = false, make(chan struct{})
	}
	o.mu.Unlock()
	o.wg.Go(func() {
		for ctx.Err() == nil {
			l, err := m.TryAcquire(ctx, "snapshots."+o.u.name)
			if err == nil {
				if err = o.claim(ctx, l); err == nil {
					o.gained(l)
					select {
					case <-l.Done():
					case <-ctx.Done():
					}
					o.lost(l)
					continue
				}
				o.lost(l)
			}
			o.refused(err)
			wait := m.Heartbeat()
			if held, ok := errors.AsType[*lease.HeldError](err); ok {
				wait = min(wait, max(held.Wait, time.Millisecond))
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
	})
}

// claim puts the lease's epoch into the head. A head with a higher one says
// that the leases were lost, and began anew.
func (o *owner) claim(ctx context.Context, l *lease.Lease) error {
	c, ok := o.u.rt.cfg.Store.(claimer)
	for ok {
		err := c.Claim(ctx, o.u.name, l.Epoch())
		fenced, is := errors.AsType[*snapshot.FencedError](err)
		if !is {
			return err
		}
		if err := l.Raise(ctx, fenced.Head); err != nil {
			return err
		}
	}
	return nil
}

func (o *owner) gained(l *lease.Lease) {
	o.mu.Lock()
	o.lease, o.holder = l, ""
	o.mu.Unlock()
	o.u.leaseTold(nil)
	o.settle()
}

// lost gives the lease back, where it is still there, and forgets it.
func (o *owner) lost(l *lease.Lease) {
	o.mu.Lock()
	o.lease = nil
	o.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := l.Release(ctx); err != nil {
		o.u.rt.cfg.Logger.Warn().Err(err).Str("unit", o.u.name).Msg("projection: the lease on the snapshots wasn't released: others wait for it to expire")
	}
}

func (o *owner) refused(err error) {
	o.mu.Lock()
	was := o.holder
	o.holder = err.Error()
	if held, ok := errors.AsType[*lease.HeldError](err); ok {
		o.holder = held.Owner
	}
	now := o.holder
	o.mu.Unlock()
	o.u.leaseTold(err)
	if now != was && !errors.Is(err, context.Canceled) {
		o.u.rt.cfg.Logger.Info().Err(err).Str("unit", o.u.name).Msg("projection: another process saves this unit, or nobody can")
	}
	o.settle()
}

// settle tells the unit that the lease's state has changed.
func (o *owner) settle() {
	o.mu.Lock()
	if !o.settled {
		o.settled = true
		close(o.tried)
	}
	o.mu.Unlock()
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// held returns the lease, nil where it isn't ours, and whether that is known.
func (o *owner) held() (l *lease.Lease, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lease, o.settled
}

// await is held, after a moment's wait where it isn't known yet.
func (o *owner) await(ctx context.Context) *lease.Lease {
	if o.u.rt.cfg.Leases != nil {
		select {
		case <-o.tried:
		case <-time.After(closeWait):
		case <-ctx.Done():
		}
	}
	l, _ := o.held()
	return l
}

// end gives the lease up, and returns when nothing of it runs any more.
func (o *owner) end() {
	o.stop()
	o.wg.Wait()
}

// fenced is asked after a refused save: the lease was lost without our
// knowing, or it is ours and the head has a higher epoch, which another
// store's writer has put there or the leases' loss has left.
func fenced(ctx context.Context, l *lease.Lease, err error) {
	f, ok := errors.AsType[*snapshot.FencedError](err)
	if ok && l.Confirm(ctx) == nil {
		_ = l.Raise(ctx, f.Head) // ErrLost ends the lease, which its owner sees
	}
}

// describe says who saves, or why nobody does; u.mu is held.
func (s *SnapshotStatus) describe(o *owner) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Unsaved = o.u.saver.noLease; s.Unsaved == nil {
		s.Unsaved = o.u.saver.notSaved
	}
	s.Holder = o.holder
	if o.lease != nil {
		s.Owner, s.Epoch = true, o.lease.Epoch()
	}
}
