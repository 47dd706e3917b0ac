package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// A benchCase compares one piece of work, done by us and by the baseline. To
// add one, write its Setup and sides and put it into allCases.
type benchCase struct {
	name  string
	about string // one line: what is compared
	// figures are what each side measures, in the order of sample.values.
	// None: one, under the case's name, in unit.
	figures []figure
	unit    string
	ratio   ratioKind
	// At full size the run fails where the ratio is below floor or, where they
	// are set, above ceiling, or our own figure above limit.
	floor, ceiling, limit float64

	// setup prepares what both sides share; it isn't timed and runs once.
	setup func(ctx context.Context, e *env) error
	ours  side
	base  side
	// note says which settings the baseline was found to be fastest with.
	note func() string
}

// A side does the work once and returns what it measured between clock.start
// and clock.stop.
type side func(ctx context.Context, e *env, c *clock) (sample, error)

// sample is what a side measured, and how much it did: the runner refuses
// figures of two sides that didn't do the same.
type sample struct {
	values []float64
	count  uint64 // of events or commits, as found in the log or in the state
	bytes  uint64 // of what was stored or read; 0: not comparable
}

type figure struct {
	name  string
	unit  string
	ratio ratioKind
}

// ratioKind says which way a ratio goes.
type ratioKind int

const (
	oursByBaseline ratioKind = iota // of rates: more is better; of times: a plain quotient
	baselineByOurs                  // of times: how many times faster we are
)

func (k ratioKind) of(ours, base float64) float64 {
	if k == baselineByOurs {
		ours, base = base, ours
	}
	return ours / base
}

func (k ratioKind) String() string {
	if k == baselineByOurs {
		return "baseline / ours"
	}
	return "ours / baseline"
}

// The units of figures.
const (
	unitCommits = "commits/s"
	unitEvents  = "events/s"
	unitMillis  = "ms"
	unitKeys    = "keys/s"
	unitBytes   = "bytes"
	unitNanos   = "ns/key"
)

func (c *benchCase) allFigures() []figure {
	if len(c.figures) > 0 {
		return c.figures
	}
	return []figure{{name: c.name, unit: c.unit, ratio: c.ratio}}
}

// allCases is the registry. It is made anew for each run, since cases keep
// what their setup found.
func allCases() []*benchCase {
	return slices.Concat(appendCases(), importCases(), replayCases(), restartCases(), overheadCases(), snapshotCases(), followCases(), graphCases(), nexmarkCases(), keyCases(), failoverCases(), decideCases(), testkitCases())
}

func choose(all []*benchCase, re *regexp.Regexp) ([]*benchCase, error) {
	var chosen []*benchCase
	var names []string
	for _, c := range all {
		names = append(names, c.name)
		if re.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: -run %q matches none of: %s", errUsage, re, strings.Join(names, " "))
	}
	return chosen, nil
}

func list(w io.Writer, all []*benchCase) error {
	for _, c := range all {
		for _, f := range c.allFigures() {
			if _, err := fmt.Fprintf(w, "%-22s %s; ratio: %s\n", f.name, f.unit, f.ratio); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%-22s %s\n", "", c.about); err != nil {
			return err
		}
	}
	return nil
}

// rate is the first value, where that is a rate.
func (s sample) rate() float64 {
	if len(s.values) == 0 {
		return 0
	}
	return s.values[0]
}
