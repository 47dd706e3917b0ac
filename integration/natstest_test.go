//go:build integration

package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// What a server has acknowledged is there after it was stopped, and after it
// was killed, at the same address.
func TestServerKeepsItsFiles(t *testing.T) {
	ctx := limited(t, time.Minute)
	server := natstest.Start(t)
	o := eventlog.Options{App: "files", URL: server.URL()}
	for round, end := range []func(){server.Stop, server.Kill, server.Stop} {
		log := must(eventlog.Open(ctx, o))(t)
		book := must(openBook(ctx, log))(t)
		if n := len(readBook(ctx, t, book)); n != round {
			t.Errorf("round %d: %d commits", round, n)
		}
		must(book.AppendDraft(ctx, draft("w", round+1, 1, 1)))(t)
		_ = log.Close()
		end()
		if c, err := net.Dial("tcp", server.Host()); err == nil {
			_ = c.Close()
			t.Fatal("it still listens")
		}
		server.Restart()
	}
}

const holdVariable = "TIDEMARK_INTEGRATION_HOLD"

// A test that is killed leaves no server behind. The one that is killed is
// this same test in a child.
func TestKilledTest(t *testing.T) {
	if os.Getenv(holdVariable) != "" {
		fmt.Printf("server %s\n", natstest.Start(t).Host())
		<-t.Context().Done()
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends the children of a process that is killed")
	}
	ctx := limited(t, time.Minute)
	natstest.Binary(t) // or the child would build it
	exe := must(os.Executable())(t)
	cmd := exec.Command(exe, "-test.run=^TestKilledTest$")
	cmd.Env = append(os.Environ(), holdVariable+"=1")
	out := newOutput()
	cmd.Stdout = out
	p := natstest.Run(t, cmd)
	out.awaitBegun(ctx, t, p)
	host, ok := strings.CutPrefix(out.lines()[0], "server ")
	if !ok {
		t.Fatalf("it prints %q", out.lines())
	}
	if c, err := net.Dial("tcp", host); err != nil {
		t.Fatal(err)
	} else {
		_ = c.Close()
	}
	p.Kill()
	await(ctx, t, "the server is gone", func() bool {
		c, err := net.Dial("tcp", host)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}
