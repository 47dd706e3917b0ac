package effect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Parked is an effect that was given up: the dead letter.
type Parked[I any] struct {
	Effect[I]
	Error string
	Since time.Time
}

// Parked lists the effects that were given up, in the order of their events.
func (o *Outbox[I]) Parked() []Parked[I] {
	var out []Parked[I]
	for id, r := range o.table.All() {
		if r.Stated && r.Status == parked {
			out = append(out, Parked[I]{Effect: effectOf(id, &r), Error: r.Error, Since: r.Since})
		}
	}
	slices.SortFunc(out, func(a, b Parked[I]) int { return inOrder(a.Effect, b.Effect) })
	return out
}

// inOrder is the order of the effects' events.
func inOrder[I any](a, b Effect[I]) int {
	return cmp.Or(cmp.Compare(a.Cause.Feed, b.Cause.Feed), cmp.Compare(a.Cause.Seq, b.Cause.Seq), cmp.Compare(a.ID, b.ID))
}

// Pending is how many effects are wanted and neither ended nor given up.
func (o *Outbox[I]) Pending() (n int) {
	for _, r := range o.table.All() {
		if r.Stated && r.Status == pending {
			n++
		}
	}
	return n
}

// Retry lets a parked effect be attempted again, with the same ID and as many
// attempts as a new one. by says, for people, who wants it. It returns when
// that is recorded.
//
// Errors: ErrNotParked, also where somebody else was faster; those of
// eventlog.Feed.Append.
func (o *Outbox[I]) Retry(ctx context.Context, id, by string) error {
	return o.decide(ctx, id, Retried{By: by})
}

// Drop forgets a parked effect. Its errors are Retry's.
func (o *Outbox[I]) Drop(ctx context.Context, id, by string) error {
	return o.decide(ctx, id, Dropped{By: by})
}

func (o *Outbox[I]) decide(ctx context.Context, id string, outcome any) error {
	r, ok := o.table.Get(id)
	if !ok || r.Status != parked {
		return fmt.Errorf("effect: %.200q: %w", id, ErrNotParked)
	}
	at, err := o.record(ctx, id, r.Last, outcome, eventlog.Position{Feed: r.Feed, Seq: r.Seq})
	if errors.Is(err, eventlog.ErrConflict) {
		return fmt.Errorf("effect: %.200q: %w any more: %w", id, ErrNotParked, err)
	}
	if err != nil {
		return err
	}
	return o.table.WaitFor(ctx, at)
}
