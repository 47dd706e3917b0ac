// Command bench measures Tidemark beside raw nats.go: each case does the same
// work both ways, in alternating rounds of one run, each on an embedded
// server of its own with the same options, and checks that both did all of
// it. See docs/benchmarks.md for what exactly is compared.
//
//	go run ./bench                     all cases, at full size
//	go run ./bench -run '^append/'     some of them
//	go run ./bench -quick -n 1 -json   small sizes, for machines to read
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(childMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(mainStatus(os.Args[1:], os.Stdout, os.Stderr))
}

// mainStatus runs the command until it is done or interrupted. A second
// interrupt ends the process at once.
func mainStatus(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := run(ctx, args, stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	fmt.Fprintln(stderr, "bench:", err)
	return 1
}

// run is the command: it parses args, measures, and prints.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	all := allCases()
	if o.list {
		return list(stdout, all)
	}
	chosen, err := choose(all, o.run)
	if err != nil {
		return err
	}
	prof, err := newProfiler(o, len(chosen))
	if err != nil {
		return err
	}
	e, err := newEnv(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	var out reporter = &table{w: stdout}
	if o.json {
		out = &jsonLines{w: stdout}
	}
	return measureAll(ctx, e, prof, chosen, o.rounds, out)
}
