package eventlog

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Close waits for the appends in flight, for Options.ResolveTimeout at most,
// and closes what Open opened: connection and embedded server. Appends and
// reads that come later, and readers that wait, get ErrClosed. It may be
// called more than once; each call returns when the log is closed.
//
// It returns after ResolveTimeout and Options.CloseTimeout together at most:
// then with an ErrStuck that says what doesn't end. What was acknowledged is
// in the log, as after a crash. The directory of an embedded log then stays
// locked until the process ends (Open: ErrInUse), because the server may still
// write to it.
func (l *Log) Close() error {
	l.ending.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		go l.end()
	})
	l.mu.Lock()
	stuck := l.stuck
	l.mu.Unlock()
	if stuck != nil {
		return stuck
	}
	bound := l.opts.ResolveTimeout + l.opts.CloseTimeout
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case <-l.over:
		return nil
	case <-timer.C:
		return l.giveUp(bound)
	}
}

// end closes one thing after another.
func (l *Log) end() {
	defer close(l.over)
	l.does("a feed that is being opened, or deleted")
	// It is closed with the others, or not opened any more.
	l.opening.Lock()
	defer l.opening.Unlock()
	l.does("the appends in flight, and what is to be synced")
	var wg sync.WaitGroup
	for _, f := range l.Feeds() {
		wg.Go(f.close)
	}
	wg.Wait()
	close(l.ended)
	l.does("the connection")
	l.hangUp()
	if l.embedded != nil {
		l.does("the embedded server's shutdown")
		l.embedded.stop()
	}
}

func (l *Log) does(what string) { l.doing.Store(&what) }

// giveUp is the error of a Close that takes too long.
func (l *Log) giveUp(after time.Duration) error {
	what := *l.doing.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck != nil {
		return l.stuck
	}
	why := fmt.Sprintf("its Close still waited after %s for %s", after, what)
	if l.embedded != nil && l.embedded.lock != nil {
		if !l.embedded.lock.keep(why) {
			return nil // it has ended at this very moment
		}
		l.stuck = fmt.Errorf("eventlog: close of %s: %w: it still waits after %s for %s; the directory stays locked until the process ends", l.opts.Dir, ErrStuck, after, what)
		return l.stuck
	}
	l.stuck = fmt.Errorf("eventlog: close: %w: it still waits after %s for %s", ErrStuck, after, what)
	return l.stuck
}

// hangUp gives the connection back, or closes it.
func (l *Log) hangUp() {
	if l.unhear != nil {
		l.unhear()
	}
	if l.nc != nil && l.ownConn {
		l.nc.Close()
	}
}

// abandon closes what an Open has begun that failed.
func (l *Log) abandon(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.hangUp()
		if l.embedded != nil {
			l.embedded.stop()
		}
	}()
	if endsWithin(ctx, l.opts.CloseTimeout, done) {
		return
	}
	if l.embedded != nil && l.embedded.lock != nil {
		l.embedded.lock.say("an Open failed, and its server hasn't ended yet: try again, or end the process")
	}
}

// endGrace is how long a call goes on after its context's end for what it has
// begun to end as well.
const endGrace = 300 * time.Millisecond

// endsWithin waits for done: for a time, or until a moment after ctx's end.
func endsWithin(ctx context.Context, d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		timer.Reset(endGrace)
	}
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// startOpening waits for the turn to open a feed; done ends it.
func (l *Log) startOpening(ctx context.Context, feed string) (done func(), err error) {
	if l.opening.TryLock() {
		return l.opening.Unlock, nil
	}
	locked := make(chan struct{})
	go func() {
		l.opening.Lock()
		select {
		case locked <- struct{}{}:
		case <-ctx.Done():
			l.opening.Unlock()
		}
	}()
	select {
	case <-locked:
		return l.opening.Unlock, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("eventlog: feed %q: waiting for another one to be opened: %w", feed, context.Cause(ctx))
	}
}
