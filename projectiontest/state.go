package projectiontest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tidemark-es/tidemark/projection"
)

// rowsOf is the state of all projections, by "<projection> <key>".
func rowsOf(r *run) (map[string]string, error) {
	if err := r.Verify(true); err != nil {
		return nil, err
	}
	dumps, err := r.Dump()
	if err != nil {
		return nil, err
	}
	rows := make(map[string]string)
	for _, d := range dumps {
		for k, v := range d.Rows {
			rows[d.Projection+" "+k] = v
		}
	}
	return rows, nil
}

// maxDifferences is how many rows that differ are shown.
const maxDifferences = 10

// difference says how two states differ, "" where they don't.
func difference(a, b map[string]string) string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var s strings.Builder
	n := 0
	for _, k := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[k]
		y, inB := b[k]
		if x == y && inA == inB {
			continue
		}
		if n++; n > maxDifferences {
			continue
		}
		fmt.Fprintf(&s, "\n\t%s: %s, and %s", k, orNone(x, inA), orNone(y, inB))
	}
	if n > maxDifferences {
		fmt.Fprintf(&s, "\n\tand %d more", n-maxDifferences)
	}
	return s.String()
}

func orNone(v string, ok bool) string {
	if !ok {
		return "none"
	}
	return v
}

// play applies commits in this order to empty projections. The error of a
// commit that a projection stopped at is part of the result, as text.
func play(r *run, commits []placed) (map[string]string, error) {
	r.reset()
	var stopped []string
	for _, c := range commits {
		err := r.stepAt(c)
		if stop := stoppedAt(err); stop != "" {
			stopped = append(stopped, stop)
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
	}
	rows, err := rowsOf(r)
	if err == nil && len(stopped) > 0 {
		rows["stopped"] = strings.Join(stopped, "; ")
	}
	return rows, err
}

// stoppedAt tells which projections an error is about.
func stoppedAt(err error) string {
	var all []string
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *projection.StoppedError:
			all = append(all, e.Error())
		case interface{ Unwrap() []error }:
			for _, one := range e.Unwrap() {
				walk(one)
			}
		}
	}
	walk(err)
	slices.Sort(all)
	return strings.Join(all, "; ")
}
