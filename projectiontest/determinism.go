package projectiontest

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/tidemark-es/tidemark/projection"
)

// repeats is how often the commits are handled again; Go walks maps in
// another order each time.
const repeats = 8

// Deterministic checks that the handlers depend on nothing but their tables
// and the events: the commits are handled again and again, by projections that
// build makes anew, and once where time.Now is in the year 2000. All rows, and
// what each commit changes in them, must be the same. It finds the clock,
// randomness, the order of maps, and state outside the tables, as far as the
// commits get to where these are used.
//
// It must not be called within a synctest bubble; build uses feeds that were
// made before.
func Deterministic(t *testing.T, build func() []projection.Projection, commits ...Commit) {
	t.Helper()
	if problem := determinism(t, build, commits); problem != "" {
		t.Error(problem)
	}
}

func determinism(t *testing.T, build func() []projection.Projection, commits []Commit) (problem string) {
	t.Helper()
	if len(commits) == 0 {
		return "no commits are given: nothing was handled"
	}
	all := place(commits)
	want, err := trace(build, all)
	if err != nil {
		return err.Error()
	}
	again := func(what string) {
		if problem != "" {
			return
		}
		got, err := trace(build, all)
		if err != nil {
			problem = err.Error()
		} else if d := difference(want, got); d != "" {
			problem = fmt.Sprintf("handled again%s, the same %d commits lead to something else:%s", what, len(all), d)
		}
	}
	for range repeats {
		again("")
	}
	synctest.Test(t, func(*testing.T) { again(" at another time") })
	return problem
}

// trace is the state that commits lead to, with what each changed on the way.
func trace(build func() []projection.Projection, commits []placed) (map[string]string, error) {
	r, err := newRun(build())
	if err != nil {
		return nil, err
	}
	rows := make(map[string]string)
	for i, c := range commits {
		o, err := r.applyAt(c)
		stop := stoppedAt(err)
		if err != nil && stop == "" {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
		step := fmt.Sprintf("step %*d, %s", len(fmt.Sprint(len(commits))), i+1, c)
		if stop != "" {
			rows[step] = stop
		}
		changes, err := r.Changes(o)
		if err != nil {
			return nil, err
		}
		for _, d := range changes {
			for k, v := range d.Rows {
				rows[fmt.Sprintf("%s, changes %s %s", step, d.Projection, k)] = v
			}
		}
	}
	state, err := rowsOf(r)
	if err != nil {
		return nil, err
	}
	maps.Copy(rows, state)
	return rows, nil
}
