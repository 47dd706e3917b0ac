package projection

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrDormant: a Lazy projection was asked for something that it doesn't have
// while nobody needs it.
var ErrDormant = errors.New("the projection is dormant")

// Lazy lets a table do nothing until somebody needs it: then it is restored,
// catches up, and follows the log like any other. It is needed by who holds it
// (Runtime.Need), who watches it, who reads it (Get, GetAt, Len, All), who waits
// for it (WaitFor), and by tables that read it and aren't Lazy themselves. When nobody has needed it for
// the time idle it is saved, and lets its rows go; 0: it stays from then on.
//
// Reading never waits: the first Get of a dormant table wakes it, and finds
// nothing. Need waits.
//
// If one of its readers isn't Lazy, it is as if it weren't either. If none of
// its unit is, all of them sleep and wake together, and are saved before. A
// Lazy table beside others, because it reads some that aren't Lazy, must be
// Derived: when it is needed it is filled from the rows that it reads, at the
// commit where these are, and it isn't saved.
func Lazy(idle time.Duration) TableOption {
	return tableOption(func(n *node) {
		if idle < 0 {
			n.problems.Add("Lazy with an idle time of %v", idle)
		}
		n.lazy = &demand{idle: idle}
	})
}

// demand is who needs a Lazy table.
type demand struct {
	idle    time.Duration
	touched atomic.Bool // since somebody looked
	unit    atomic.Pointer[unit]
	last    time.Time // when a sleeper was needed; the unit's goroutine's

	mu    sync.Mutex
	holds int
}

// touch notes that somebody reads. nil: of a table that isn't Lazy.
func (d *demand) touch() {
	if d != nil && !d.touched.Load() {
		d.touched.Store(true)
		d.kick()
	}
}

// hold needs the table until release, which may be called more than once.
func (d *demand) hold() (release func()) {
	d.add(1)
	d.kick()
	return sync.OnceFunc(func() { d.add(-1) })
}

func (d *demand) add(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds += n
	d.touched.Store(true) // idle from now on
}

func (d *demand) kick() {
	if u := d.unit.Load(); u != nil {
		select {
		case u.wakes <- struct{}{}:
		default:
		}
	}
}

// used says whether somebody holds the table, or has read it since the last
// call.
func (d *demand) used() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.touched.Swap(false) || d.holds > 0
}

// naps is when a unit of Lazy tables sleeps; nil for other units. It is guarded
// by the unit's lock.
type naps struct {
	asleep bool
	ending bool  // it is about to sleep
	tries  int   // to wake up, that have ended
	err    error // of the last one
}

// lazily makes the unit sleep until it is needed, if all of its tables are
// Lazy.
func (u *unit) lazily() {
	for _, n := range u.nodes {
		if n.lazy == nil && n.of == nil {
			return
		}
	}
	u.naps = &naps{asleep: true}
	for _, n := range u.nodes {
		if n.lazy != nil {
			n.lazy.unit.Store(u)
		}
	}
}

func (u *unit) asleep() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.naps != nil && u.naps.asleep
}

func (u *unit) needed() (yes bool) {
	for _, n := range u.nodes {
		yes = n.lazy.used() || yes
	}
	return yes
}

// runLazy runs a unit while it is needed, again and again, until ctx ends.
func (u *unit) runLazy(ctx context.Context) {
	for u.sleep(ctx) {
		err := u.restore(ctx)
		if err == nil {
			u.turnOver(false, nil)
			u.notify() // the rows are there again
			life, cancel := context.WithCancel(ctx)
			u.rt.wg.Go(func() { u.watchIdle(life, cancel) })
			u.runLive(life)
			cancel()
			u.saver.reply(ErrDormant)
			u.putAway()
		}
		u.turnOver(true, err)
		if err == nil || ctx.Err() != nil {
			continue
		}
		u.rt.cfg.Logger.Warn().Err(err).Str("unit", u.name).Msg("projection: a lazy unit can't be restored")
		select { // who still needs it has it tried again, not too often
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// sleep waits until the unit is needed, and says whether it is.
func (u *unit) sleep(ctx context.Context) bool {
	for {
		if ctx.Err() != nil {
			return false
		}
		if u.needed() {
			return true
		}
		select {
		case <-u.wakes:
		case q := <-u.asks:
			q.reply <- digestAnswer{err: fmt.Errorf("%w: %w", ErrNotReady, ErrDormant)}
		case ask := <-u.saver.want:
			ask.reply <- saveAnswer{} // it was saved when it was put away
		case <-ctx.Done():
		}
	}
}

// turnOver makes known that the unit sleeps, or doesn't any more.
func (u *unit) turnOver(asleep bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.naps.asleep, u.naps.ending = asleep, false
	if asleep {
		u.naps.tries++
		u.naps.err = err
	}
	close(u.waiters)
	u.waiters, u.waiting = make(chan struct{}), 0
}

// watchIdle ends the unit's life when nobody has needed it for the longest of
// its tables' idle times.
func (u *unit) watchIdle(ctx context.Context, end context.CancelFunc) {
	var idle time.Duration
	for _, n := range u.nodes {
		if n.lazy == nil {
			continue
		}
		if n.lazy.idle == 0 {
			return
		}
		idle = max(idle, n.lazy.idle)
	}
	tick := time.NewTicker(max(idle/8, time.Millisecond))
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if u.needed() {
			last = time.Now()
		} else if time.Since(last) >= idle {
			if u.ends(true); !u.needed() {
				end()
				return
			}
			u.ends(false)
			last = time.Now()
		}
	}
}

// ends says whether the unit is about to sleep. Who comes to hold it does that
// before he looks, and the unit looks again when it has said so: so one of the
// two knows of the other, and Need never hands out rows that are let go.
func (u *unit) ends(soon bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.naps.ending = soon
	u.wakeLocked()
}

// awake lets a unit that is never run have its rows.
func (u *unit) awake() {
	if u.naps != nil {
		u.naps.asleep = false
	}
	for _, n := range u.sleepers {
		if n.dormant {
			u.stir(n)
			n.dormant = false
		}
	}
}

// putAway lets the unit's rows go.
func (u *unit) putAway() {
	u.mu.Lock()
	u.isCaught, u.isWhole, u.begun = false, false, time.Time{} // GetAt mustn't take cleared rows for those at a position
	u.held, u.stalled = nil, nil
	clear(u.oldest)
	u.mu.Unlock()
	for _, n := range u.nodes {
		n.state.clear()
		u.restored(n, make(map[string]uint64), Recovery{}, true)
	}
}
