package projection_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// R3.13: the log loses its tail under a projection that runs, by a server that
// comes back with an older copy of the stream: the projection restores what
// belongs to the log that is left, by itself, and goes on; nothing of what is
// lost is left in it, whether its numbers are used again or not.
func TestRunningUnitRestoresAfterALostTail(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts a server: run without -short")
	}
	ctx := logtest.Context(t)
	s := natstest.Start(t)
	b := bankOf(t, logtest.Open(t, eventlog.Options{App: logtest.App(t), URL: s.URL()}))
	balances := b.balances()
	rt := b.start(t, often(5), balances)
	if err := rt.Wait(ctx, b.fill(t, 20)); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, rt, "saved", func(s projection.SnapshotStatus) bool { return s.Saves > 0 })
	dir, copied := s.StreamDir(b.accounts.Stream()), filepath.Join(t.TempDir(), "copy")
	s.Stop()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	for range 10 {
		b.append(t, "lost", deposited{1})
	}
	if err := rt.Wait(ctx, b.append(t, "lost", deposited{1})); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	want := map[string]int64{"k0": 7, "k1": 7, "k2": 6}
	for !maps.Equal(contents(balances), want) {
		if st := rt.Metrics()[0]; st.Err != nil || ctx.Err() != nil {
			t.Fatalf("%v, %+v", contents(balances), st)
		}
		_, _ = rt.Status(ctx)
	}
	if err := rt.Wait(ctx, b.append(t, "later", deposited{1})); err != nil {
		t.Fatal(err)
	}
	want["later"] = 1
	equal(t, "the log that is left", balances, want)
	if st := rt.Metrics()[0]; st.Err != nil || st.Recovery.Source != projection.FromSnapshot {
		t.Errorf("%+v", st)
	}
}
