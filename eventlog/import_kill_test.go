package eventlog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

const (
	killDrafts = 40_000
	killKeys   = 40
)

// importingChild is this test binary, run to be killed: it imports into the
// log at a URL or in a directory, with another order of the keys and another
// packing in each round. Its argument is "<round> <where>".
func importingChild(arg string) int {
	var round int
	var where string
	if _, err := fmt.Sscan(arg, &round, &where); err != nil {
		fmt.Println("arguments:", err)
		return 3
	}
	ctx := context.Background()
	o := eventlog.Options{App: "child", Dir: where}
	if strings.HasPrefix(where, "nats://") {
		o.Dir, o.URL = "", where
	}
	log, err := eventlog.Open(ctx, o)
	if err != nil {
		fmt.Println("open:", err)
		return 3
	}
	f, err := log.Feed(ctx, "accounts", eventlog.Type[opened]("opened"), eventlog.Type[deposited]("deposited"))
	if err != nil {
		fmt.Println("feed:", err)
		return 3
	}
	fmt.Println("begun")
	if _, err := f.Import(ctx, killInput(round), eventlog.ImportOptions{Pack: 1 + round%3*6}); err != nil {
		fmt.Println("import:", err)
		return 3
	}
	return 0
}

// killInput is the whole input, where the order of the keys depends on the
// round.
func killInput(round int) iter.Seq2[eventlog.Draft, error] {
	return func(yield func(eventlog.Draft, error) bool) {
		for block := 0; block < killDrafts; block += killKeys {
			for k := range killKeys {
				if !yield(inputDraft(block+(k+round*17)%killKeys, killKeys), nil) {
					return
				}
			}
		}
	}
}

// A process that imports is killed again and again, and the next begins at
// once; on a server that lives on, what the killed one had sent may still
// come. In the end everything is there once.
func TestImportKilled(t *testing.T) {
	long(t)
	dir := t.TempDir()
	t.Run("embedded", func(t *testing.T) {
		importKilled(t, dir, func() (*eventlog.Log, error) {
			return eventlog.Open(t.Context(), eventlog.Options{App: "child", Dir: dir})
		})
	})
	srv := startServer(t)
	url := fmt.Sprintf("nats://127.0.0.1:%d", srv.port)
	t.Run("server", func(t *testing.T) {
		importKilled(t, url, func() (*eventlog.Log, error) {
			return eventlog.Open(t.Context(), eventlog.Options{App: "child", URL: url})
		})
	})
}

func importKilled(t *testing.T, where string, open func() (*eventlog.Log, error)) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for round := range 8 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=import %d %s", childVariable, round, where))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "begun" {
			t.Errorf("child: %s", lines.Text())
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			t.Errorf("child: %s", lines.Text())
		}
		_ = cmd.Wait()
		timer.Stop()
		if !cmd.ProcessState.Success() {
			killed++
		}
	}
	log, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f := accounts(t, log)
	res, err := f.Import(logtest.Context(t), killInput(3), eventlog.ImportOptions{})
	if err != nil || res.Appended+res.Skipped != killDrafts {
		t.Fatalf("%+v, %v", res, err)
	}
	wantInput(t, f, killDrafts, killKeys)
	t.Logf("killed %d times; the last import appended %d of %d", killed, res.Appended, res.Read)
	if killed < 2 {
		t.Errorf("killed only %d times", killed)
	}
}

// The server goes away in the middle of an import and comes back.
func TestImportServerRestarts(t *testing.T) {
	long(t)
	srv := startServer(t)
	f := accounts(t, srv.open(t))
	restarts := 0
	res, err := f.Import(logtest.Context(t), func(yield func(eventlog.Draft, error) bool) {
		for i := range killDrafts {
			if i == killDrafts/4 || i == killDrafts/2 {
				restarts++
				srv.stop()
				srv.start()
			}
			if !yield(inputDraft(i, killKeys), nil) {
				return
			}
		}
	}, eventlog.ImportOptions{})
	if err != nil || res.Appended != killDrafts || restarts != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	wantInput(t, f, killDrafts, killKeys)
}

// The log is closed, or the server is gone for good: the import ends.
func TestImportEnds(t *testing.T) {
	log := logtest.Embedded(t)
	f := accounts(t, log)
	_, err := f.Import(logtest.Context(t), func(yield func(eventlog.Draft, error) bool) {
		for i := 0; ; i++ {
			if i == 5000 {
				go log.Close()
			}
			if !yield(inputDraft(i, 3), nil) {
				return
			}
		}
	}, eventlog.ImportOptions{})
	if !errors.Is(err, eventlog.ErrClosed) {
		t.Error(err)
	}
	if _, err := f.Import(t.Context(), input(0, 1, 1), eventlog.ImportOptions{}); !errors.Is(err, eventlog.ErrClosed) {
		t.Error(err)
	}
	srv := startServer(t)
	gone, err := eventlog.Open(t.Context(), eventlog.Options{App: logtest.App(t), URL: fmt.Sprintf("nats://127.0.0.1:%d", srv.port), RequestTimeout: 200 * time.Millisecond, ResolveTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	f = accounts(t, gone)
	_, err = f.Import(logtest.Context(t), func(yield func(eventlog.Draft, error) bool) {
		for i := 0; ; i++ {
			if i == 5000 {
				srv.stop()
			}
			if !yield(inputDraft(i, 3), nil) {
				return
			}
		}
	}, eventlog.ImportOptions{})
	if !errors.Is(err, eventlog.ErrAmbiguous) || !errors.Is(err, eventlog.ErrUnavailable) {
		t.Error(err)
	}
}

// An iterator that panics takes nothing down with it but its caller.
func TestImportPanics(t *testing.T) {
	f := accounts(t, logtest.Fresh(t))
	func() {
		defer func() {
			if r := recover(); r != "boom" {
				t.Errorf("recovered %v", r)
			}
		}()
		_, _ = f.Import(t.Context(), func(yield func(eventlog.Draft, error) bool) {
			yield(inputDraft(0, 1), nil)
			panic("boom")
		}, eventlog.ImportOptions{})
	}()
	if _, err := f.Import(t.Context(), input(0, 10, 2), eventlog.ImportOptions{}); err != nil {
		t.Error(err)
	}
	wantInput(t, f, 10, 2)
}

// A stream that was made without batches takes them after the first import.
func TestImportEnables(t *testing.T) {
	f := accounts(t, logtest.Fresh(t))
	cfg := jsStream(t, f).CachedInfo().Config
	cfg.AllowBatchPublish = false
	if _, err := f.Log().JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	res, err := f.Import(logtest.Context(t), input(0, 100, 2), eventlog.ImportOptions{})
	if err != nil || res.Appended != 100 {
		t.Errorf("%+v, %v", res, err)
	}
	wantInput(t, f, 100, 2)
}
