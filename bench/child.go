package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// childCommand is the first argument of the process that fills a log and
// waits to be killed: "child DIR EVENTS KEYS".
const childCommand = "child"

// childReady is what it prints when everything is acknowledged.
const childReady = "filled"

// fillAndKill fills the log in dir by a process of its own, which then dies
// of SIGKILL: neither its server nor its writer can put anything in order.
func fillAndKill(ctx context.Context, dir string, events, keys int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe, childCommand, dir, strconv.Itoa(events), strconv.Itoa(keys))
	cmd.Stderr = os.Stderr
	// The child ends when its standard input does, so it can't outlive us.
	if _, err := cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line := bufio.NewScanner(out)
	ready := line.Scan() && line.Text() == childReady
	killed := cmd.Process.Kill()
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !ready:
		return errors.Join(errors.New("the writing process ended early"), ended)
	case killed != nil:
		return fmt.Errorf("killing the writing process: %w", killed)
	}
	return nil
}

// childMain is that process, or a server of a cluster.
func childMain(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	work := childFill
	if len(args) > 0 && args[0] == childServer {
		work = childServe
	}
	if err := work(args); err != nil {
		fmt.Fprintln(stderr, "bench child:", err)
		return 1
	}
	fmt.Fprintln(stdout, childReady)
	_, _ = io.Copy(io.Discard, stdin)
	return 1 // nobody killed it
}

func childFill(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("%w: child DIR EVENTS KEYS", errUsage)
	}
	events, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	keys, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	ctx := context.Background()
	o, err := openOurs(ctx, args[0])
	if err != nil {
		return err
	}
	return fill(ctx, o.feed, 0, events, keys) // and leave it open
}
