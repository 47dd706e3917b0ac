package projection

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/snapshot"
)

// storeWaits are the waits before a store that failed while a unit is restored
// is asked again. What comes behind the last one is an older snapshot, or a
// replay: those lose no event, but cost time, and what was decided of parked
// commits.
var storeWaits = []time.Duration{25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}

// passing says whether asking the store again may help: what is damaged or not
// there stays so.
func passing(err error) bool {
	return err != nil && !slices.ContainsFunc([]error{
		snapshot.ErrCorrupt, snapshot.ErrUnknownFormat, snapshot.ErrNotFound, snapshot.ErrInvalid,
	}, func(class error) bool { return errors.Is(err, class) })
}

// patiently calls ask until it ends without a passing error, or the waits are
// used up. They are begun anew only when the store has answered, so one that
// stays away costs a restore all of them once.
func (u *unit) patiently(ctx context.Context, what string, ask func() (failed error)) {
	for {
		err := ask()
		if !passing(err) {
			u.asked = 0
			return
		}
		if ctx.Err() != nil || u.asked == len(storeWaits) {
			return
		}
		wait := storeWaits[u.asked]
		u.asked++
		u.rt.cfg.Logger.Warn().Err(err).Str("unit", u.name).Dur("again_in", wait).Msg("projection: " + what + " failed")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// ask lists a unit's snapshots.
func (u *unit) ask(ctx context.Context, unit string) (found []snapshot.Candidate, err error) {
	u.patiently(ctx, "listing snapshots", func() error {
		if found, err = u.rt.cfg.Store.Candidates(ctx, unit); err != nil {
			return err
		}
		for _, c := range found {
			if passing(c.Problem) {
				return c.Problem
			}
		}
		return nil
	})
	return found, err
}

// load hands a member's rows to take, which keeps all of them or none; again
// where the store failed on the way.
func (u *unit) load(ctx context.Context, m *snapshot.Manifest, member string, take func(iter.Seq2[snapshot.Change, error]) error) (err error) {
	u.patiently(ctx, "loading a snapshot", func() (failed error) {
		err = take(func(yield func(snapshot.Change, error) bool) {
			for e, err := range u.rt.cfg.Store.Load(ctx, m, member) {
				failed = err // of the store; what take makes of the rows is another matter
				if !yield(e, err) {
					return
				}
			}
		})
		return failed
	})
	return err
}
