package natstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// Process is a child process that ends with the test at the latest. It is
// safe for concurrent use.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

// Run starts a command as a child. The command must not be used otherwise
// from here on. On Linux the kernel kills the child when the test's process
// dies, however it dies.
func Run(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	dieWithParent(cmd)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel's signal comes when the thread ends that started the
		// child, so that thread is kept until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(p.Kill)
	return p
}

// Done is closed when the process has ended and all of its output is read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended: nil for exit status 0. Where ctx ends
// first it is the context's error, and the process runs on.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill ends the process at once (SIGKILL) and returns when it is gone. One
// that is gone is left alone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end (SIGTERM), returns when it is gone, and kills
// it after 20 s, which is an error.
func (p *Process) Stop() error {
	if err := terminate(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	select {
	case <-p.done:
		return nil
	case <-late.C:
		p.Kill()
		return fmt.Errorf("%s: didn't end when it was asked to", p.cmd.Path)
	}
}
