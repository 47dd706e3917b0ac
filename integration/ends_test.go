//go:build integration && linux

package integration

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/endtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
)

// Every call ends against a server whose process was stopped.
func TestCallsEndOnAStoppedServer(t *testing.T) {
	s := natstest.Start(t, "")
	e := endtest.New(t, eventlog.Options{App: "ends", URL: s.URL(), RequestTimeout: 20 * time.Second, ResolveTimeout: 25 * time.Second})
	s.Suspend()
	endtest.Check(t, e)
}

// Every call ends on a disk that is full, after appends have found that out,
// and so does Close.
func TestCallsEndOnAFullDisk(t *testing.T) {
	ctx := limited(t, 3*time.Minute)
	dir, filler := smallDisk(t)
	o := eventlog.Options{App: "ends", Dir: dir, CloseTimeout: 5 * time.Second, ResolveTimeout: 2 * time.Second}
	e := endtest.New(t, o)
	f := must(os.Create(filler))(t)
	for block := make([]byte, 64<<10); ; {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	if err := f.Close(); err != nil {
		t.Log(err)
	}
	var err error
	for i := 0; err == nil; i++ {
		_, err = e.Feed.Append(ctx, "k", eventlog.ExpectAny, endtest.Happened{N: i})
	}
	if !errors.Is(err, eventlog.ErrFull) {
		t.Fatal(err)
	}
	endtest.Check(t, e)
	begun := time.Now()
	err = errors.Join(e.RT.Close(), e.Log.Close())
	t.Logf("close after %s: %v", time.Since(begun), err)
	if err != nil && !errors.Is(err, eventlog.ErrStuck) {
		t.Log("closed with an error: ", err)
	}
}
