package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
)

// errUsage is a mistake on the command line.
var errUsage = errors.New("bad usage")

type options struct {
	list       bool
	json       bool
	quick      bool
	verbose    bool
	run        *regexp.Regexp
	rounds     int
	dir        string
	cpuProfile string
	memProfile string
	side       string // whose profile
	baseline   *regexp.Regexp
}

const (
	sideOurs     = "ours"
	sideBaseline = "baseline"
)

func parseFlags(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	pattern := fs.String("run", "", "only the cases whose name matches this `regexp`")
	candidates := fs.String("baseline", "", "only the candidates for the baseline that match this `regexp` (see -v)")
	fs.BoolVar(&o.list, "list", false, "say what each case measures, and stop")
	fs.BoolVar(&o.json, "json", false, "print a JSON object a line instead of a table")
	fs.BoolVar(&o.quick, "quick", false, "small sizes: shows that it works, not how fast")
	fs.BoolVar(&o.verbose, "v", false, "say on standard error what each candidate for the baseline reached")
	fs.IntVar(&o.rounds, "n", 3, "`rounds`: ours and the baseline take turns; the figures are medians")
	fs.StringVar(&o.dir, "dir", "", "keep data below this `directory`, in one that is removed at the end (default: that of temporary files)")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of the timed parts to this `file` (round i > 1: to file.i)")
	fs.StringVar(&o.memProfile, "memprofile", "", "write a profile of the allocations in the timed parts to this `file`")
	fs.StringVar(&o.side, "side", sideOurs, "whose profile to write: `ours` or baseline")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.run, err = regexp.Compile(*pattern); err != nil {
		return o, fmt.Errorf("%w: -run: %w", errUsage, err)
	}
	if o.baseline, err = regexp.Compile(*candidates); err != nil {
		return o, fmt.Errorf("%w: -baseline: %w", errUsage, err)
	}
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("%w: %q is no flag", errUsage, fs.Arg(0))
	case o.rounds < 1:
		err = fmt.Errorf("%w: -n %d: at least 1", errUsage, o.rounds)
	case o.side != sideOurs && o.side != sideBaseline:
		err = fmt.Errorf("%w: -side %q: ours or baseline", errUsage, o.side)
	}
	return o, err
}
