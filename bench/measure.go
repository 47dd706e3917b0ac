package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// row is a measured figure: ours, the baseline's, and their ratio, over the
// rounds.
type row struct {
	figure
	ours, base, quotient spread
	note                 string
}

// reporter prints rows as they come.
type reporter interface{ report(row) error }

// errFloor is a figure that is worse than what the case promises.
var errFloor = errors.New("worse than promised")

// promised says where a row is worse than its case promises.
func (c *benchCase) promised(r row) error {
	switch q := r.quotient.median; {
	case q < c.floor:
		return fmt.Errorf("%s: %w: ratio %.3g, at least %.3g", r.name, errFloor, q, c.floor)
	case c.ceiling > 0 && q > c.ceiling:
		return fmt.Errorf("%s: %w: ratio %.3g, at most %.3g", r.name, errFloor, q, c.ceiling)
	case c.limit > 0 && r.ours.median > c.limit:
		return fmt.Errorf("%s: %w: %.3g %s, at most %.3g", r.name, errFloor, r.ours.median, r.unit, c.limit)
	}
	return nil
}

// measureAll measures the cases one after another. A figure that is
// worse than promised makes the run fail at its end; everything else at once.
func measureAll(ctx context.Context, e *env, prof *profiler, cases []*benchCase, rounds int, out reporter) error {
	var low []error
	for _, c := range cases {
		rows, err := measure(ctx, e, prof, c, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range rows {
			if err := out.report(r); err != nil {
				return err
			}
			if err := c.promised(r); err != nil && !e.quick {
				low = append(low, err)
			}
		}
	}
	return errors.Join(low...)
}

// measure lets the sides of a case take turns.
func measure(ctx context.Context, e *env, prof *profiler, c *benchCase, rounds int) ([]row, error) {
	if c.setup != nil {
		if err := c.setup(ctx, e); err != nil {
			return nil, fmt.Errorf("setup: %w", err)
		}
	}
	figures := c.allFigures()
	ours, base := make([][]float64, len(figures)), make([][]float64, len(figures))
	for round := range rounds {
		a, b, err := bothTurns(ctx, e, prof, c, len(figures), round%2 == 1)
		if err != nil {
			return nil, err
		}
		if err := sameWork(a, b); err != nil {
			return nil, err
		}
		for i := range figures {
			ours[i], base[i] = append(ours[i], a.values[i]), append(base[i], b.values[i])
		}
	}
	rows := make([]row, len(figures))
	for i, f := range figures {
		rows[i] = row{figure: f, ours: spreadOf(ours[i]), base: spreadOf(base[i])}
		// Of each round's own ratio, since the two of a round had the same
		// neighbours on the machine.
		q := make([]float64, rounds)
		for k := range q {
			q[k] = f.ratio.of(ours[i][k], base[i][k])
		}
		rows[i].quotient = spreadOf(q)
		if c.note != nil {
			rows[i].note = c.note()
		}
	}
	return rows, nil
}

// bothTurns measures a round. Who goes first finds the machine as the other
// left it in the round before, so they change places.
func bothTurns(ctx context.Context, e *env, prof *profiler, c *benchCase, figures int, baseFirst bool) (ours, base sample, err error) {
	for _, ofOurs := range [...]bool{!baseFirst, baseFirst} {
		if ofOurs {
			if ours, err = turn(ctx, e, c.ours, prof.of(sideOurs), figures); err != nil {
				return ours, base, fmt.Errorf("ours: %w", err)
			}
		} else if base, err = turn(ctx, e, c.base, prof.of(sideBaseline), figures); err != nil {
			return ours, base, fmt.Errorf("baseline: %w", err)
		}
	}
	return ours, base, nil
}

// turnLimit is how long a side may take.
const turnLimit = 10 * time.Minute

func turn(ctx context.Context, e *env, s side, prof *profiler, figures int) (sample, error) {
	if ctx.Err() != nil {
		return sample{}, context.Cause(ctx)
	}
	// One deadline for all: where a context has none, js.Publish makes one
	// for each call, which would slow the baseline down.
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	r, err := s(ctx, e, &clock{prof: prof})
	if err == nil && len(r.values) != figures {
		err = fmt.Errorf("%d figures, not %d", len(r.values), figures)
	}
	return r, err
}

// sameWork refuses to compare sides of which one did less.
func sameWork(a, b sample) error {
	if a.count != b.count || a.count == 0 {
		return fmt.Errorf("not the same work: ours did %d, the baseline %d", a.count, b.count)
	}
	if a.bytes != b.bytes && a.bytes != 0 && b.bytes != 0 {
		return fmt.Errorf("not the same work: ours has %d bytes, the baseline %d", a.bytes, b.bytes)
	}
	return nil
}
