package projection

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotOwner: another process holds the lease on the unit's snapshots, and saves
// it: what is decided here wouldn't last.
var ErrNotOwner = errors.New("another process saves this unit")

// save asks the unit's goroutine to save what isn't saved yet, whatever the
// policy says, and waits for the outcome. What is applied before the call is
// in it.
func (u *unit) save(ctx context.Context) error {
	defer u.awaited("a call that saves (RetryParked, DropParked, Compact)", u.name)()
	reply := make(chan error, 1)
	err := func() error {
		select {
		case u.saver.want <- reply:
		case <-u.ended:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case err := <-reply:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}()
	if err != nil {
		return fmt.Errorf("projection: save of unit %q: %w", u.name, err)
	}
	return nil
}

// force takes a wish for a save in.
func (s *saver) force(reply chan error) {
	s.asked = append(s.asked, reply)
	s.serve()
}

// serve starts the save that was asked for, once it can.
func (s *saver) serve() {
	if len(s.asked) == 0 || s.inFlight != nil {
		return
	}
	held, known := s.owner.held()
	switch {
	case s.u.rt.cfg.NoSnapshots:
		s.reply(errors.New("it has no snapshots"))
	case !known: // the kick comes
	case held == nil:
		s.reply(ErrNotOwner)
	case s.saved():
		s.reply(nil)
	default:
		s.start(held)
	}
}

// saved says whether the newest snapshot holds all that was applied.
func (s *saver) saved() bool {
	if s.base == nil || s.stale || s.events > 0 {
		return false
	}
	for _, n := range s.u.nodes {
		m, ok := s.base.Member(n.name)
		if n.reset || !ok || !m.At.Equal(n.at()) {
			return false
		}
	}
	return true
}

func (s *saver) reply(err error) {
	for _, r := range s.asked {
		r <- err
	}
	s.asked = nil
}

// answer tells who asked for the save.
func (j *saveJob) answer(err error) {
	for _, r := range j.asked {
		r <- err
	}
}
