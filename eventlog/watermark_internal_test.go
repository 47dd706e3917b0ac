package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/internal/highwater"
	"github.com/tidemark-es/tidemark/timeframe"
)

func markedFeed(t *testing.T, dir string) (*Log, *Feed) {
	t.Helper()
	log, err := Open(t.Context(), Options{App: "bank", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f, err := log.Feed(t.Context(), "acc", Type[int]("n"))
	if err != nil {
		t.Fatal(err)
	}
	return log, f
}

func appendN(t *testing.T, f *Feed, n int) {
	t.Helper()
	for i := range n {
		if _, err := f.Append(t.Context(), fmt.Sprint("k", i%3), ExpectAny, i); err != nil {
			t.Fatal(err)
		}
	}
}

// The process dies before the k-th step of writing a mark, for every k: the old
// one or the new one is there, and the log is usable.
func TestCrashWhileMarking(t *testing.T) {
	for k := 0; ; k++ {
		dir := t.TempDir()
		log, f := markedFeed(t, dir)
		appendN(t, f, 5)
		f.water.advance(t.Context())
		appendN(t, f, 5)
		steps, crash := 0, errors.New("crash")
		log.marks.(*markFiles).crash = func(string) error {
			if steps++; steps > k {
				return crash
			}
			return nil
		}
		f.water.advance(t.Context())
		died := steps > k
		_ = log.Close() // which writes no mark either
		log, f = markedFeed(t, dir)
		if at := f.Metrics().Marked; at != 5 && at != 10 || f.Lost() != nil || f.Metrics().BadMarks > 0 {
			t.Fatalf("step %d: %+v, %v", k, f.Metrics(), f.Lost())
		}
		appendN(t, f, 1)
		if err := log.Healthy(t.Context()); err != nil {
			t.Fatalf("step %d: %v", k, err)
		}
		_ = log.Close()
		if !died {
			return
		}
	}
}

// A save that dies in the middle of its bytes leaves the old mark.
func TestTornMark(t *testing.T) {
	dir := t.TempDir()
	log, f := markedFeed(t, dir)
	appendN(t, f, 5)
	_ = log.Close()
	path := (&markFiles{dir: dir + "/marks", app: "bank"}).path("acc")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(whole); n += 7 {
		if err := os.WriteFile(path+".new", whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		log, f := markedFeed(t, dir)
		if f.Metrics().Marked != 5 || f.Metrics().BadMarks > 0 {
			t.Fatalf("%d bytes: %+v", n, f.Metrics())
		}
		_ = log.Close()
	}
}

// What was acknowledged after the mark, and is gone after an unclean end, is
// counted, and no loss.
func TestShortfallInsideTheWindow(t *testing.T) {
	dir := t.TempDir()
	log, f := markedFeed(t, dir)
	appendN(t, f, 5)
	_ = log.Close()
	store := &markFiles{dir: dir + "/marks", app: "bank"}
	data, _, err := store.load(t.Context(), "acc")
	if err != nil {
		t.Fatal(err)
	}
	m, err := highwater.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	m.Acked = 9
	if data, err = m.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.save(t.Context(), "acc", data, 0); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	log, err = Open(t.Context(), Options{App: "bank", Dir: dir, Logger: zerolog.New(zerolog.SyncWriter(&lines)).Level(zerolog.WarnLevel)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if f, err = log.Feed(t.Context(), "acc", Type[int]("n")); err != nil {
		t.Fatal(err)
	}
	if f.Lost() != nil || f.Metrics().Short != 4 {
		t.Errorf("%v, %+v", f.Lost(), f.Metrics())
	}
	appendN(t, f, 1)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(lines.String(), `"feed":"acc","messages":4,"message":"eventlog: the log was not closed, and lost what was acknowledged last`); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &lines)
	}
}

// A mark is written where the log has moved, and only there; what only the
// server syncs is marked a while later.
func TestMarkMoves(t *testing.T) {
	_, f := markedFeed(t, t.TempDir())
	if f.water.moved() {
		t.Error("an empty feed has moved")
	}
	appendN(t, f, 4)
	if !f.water.moved() {
		t.Error("nothing moved")
	}
	f.water.advance(context.Background())
	if f.water.moved() || f.Metrics().Marked != 4 {
		t.Errorf("%+v", f.Metrics())
	}
	f.syncer.by = byNobody
	appendN(t, f, 1)
	f.water.advance(context.Background())
	if got := f.Metrics().Marked; got != 4 {
		t.Errorf("marked %d before anybody synced it", got)
	}
	f.water.waiting = aged{at: timeframe.Anchor{Seq: 5, Print: f.water.waiting.at.Print}} // long ago
	f.water.advance(context.Background())
	if got := f.Metrics().Marked; got != 5 {
		t.Errorf("marked %d", got)
	}
	f.syncer.by = byUs
}
