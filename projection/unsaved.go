package projection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/snapshot"
)

// ErrUnsaved: a unit's snapshots aren't saved any more.
var ErrUnsaved = errors.New("snapshots are not saved")

// UnsavedError is an ErrUnsaved: no process can save a unit, or this one can't
// save some of it. Err is why. The unit goes on and loses nothing: the next
// start replays more, and no log is trimmed beyond the last snapshot. It is over
// by itself when saving works again; docs/operations.md says what to do.
type UnsavedError struct {
	Unit  string
	Since time.Time
	Err   error
}

func (e *UnsavedError) Error() string {
	return fmt.Sprintf("projection: unit %q: %v since %s: %v", e.Unit, ErrUnsaved, e.Since.Format(time.DateTime), e.Err)
}

func (e *UnsavedError) Unwrap() []error { return []error{ErrUnsaved, e.Err} }

// manyFailures is how many saves fail one after another before that is more
// than a server which was away.
const manyFailures = 3

// unsaved notes why saving doesn't work, nil where it does, and logs it once;
// u.mu is held.
func (u *unit) unsaved(why **UnsavedError, err error) {
	was := *why
	switch {
	case err == nil:
		*why = nil
		return
	case was == nil:
		was = &UnsavedError{Since: time.Now()}
	case was.Err.Error() == err.Error():
		return
	}
	*why = &UnsavedError{Unit: u.name, Since: was.Since, Err: err}
	u.rt.cfg.Logger.Error().Err(*why).Str("unit", u.name).Msg("projection: snapshots are not saved")
}

// leaseTold takes in why the lease on the unit's snapshots isn't this
// process's; nil where it is.
func (u *unit) leaseTold(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, lease.ErrHeld): // whoever has it saves
		u.unsaved(&u.saver.noLease, nil)
	case !slices.ContainsFunc(undecided, func(class error) bool { return errors.Is(err, class) }):
		u.unsaved(&u.saver.noLease, err)
	}
}

// undecided are errors after which the next try may take the lease.
var undecided = []error{eventlog.ErrUnavailable, lease.ErrLost, snapshot.ErrConflict, context.Canceled, context.DeadlineExceeded}

// saveTold takes in what came of a save; u.mu is held. What can't be saved
// because it wouldn't come back has an error of its own (LossError).
func (s *saver) saveTold(r saveResult) {
	err := r.err
	if err == nil {
		err = errors.Join(slices.DeleteFunc(r.job.leftOut(), func(e error) bool { return errors.Is(e, ErrLossy) })...)
	} else if s.failures < manyFailures {
		return
	}
	s.u.unsaved(&s.notSaved, err)
}
