package backup_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// The register of gaps is saved and restored with the feeds: what was erased and
// passed over stays so in the copy, which is healthy, restores the snapshots,
// and builds its tables anew.
func TestBackupKeepsGaps(t *testing.T) {
	ctx := logtest.Context(t)
	b := open(t, fresh(t, logtest.App(t)))
	b.deposit(t, b.accounts, 20)
	if _, err := b.log.JetStream().Publish(ctx, b.log.App()+".accounts.stray", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := b.accounts.Pass(ctx, eventlog.Note{Reason: "nats pub"}, 21); err != nil {
		t.Fatal(err)
	}
	must(b.append(b.accounts, "last", 1))(t)
	rt := b.start(t, 5)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := b.accounts.Erase(ctx, eventlog.Note{Reason: "Art. 17"}, "k1", 0)
	if err != nil || n == 0 {
		t.Fatalf("erased %d, %v", n, err)
	}
	gaps := must(b.accounts.Gaps(ctx))(t)
	dir := filepath.Join(t.TempDir(), "backup")
	m, err := backup.Save(ctx, b.log, dir)
	if err != nil || len(m.Notes) > 0 {
		t.Fatalf("save: %+v, %v", m, err)
	}
	log := fresh(t, b.log.App())
	if _, err := backup.Restore(ctx, log, dir); err != nil {
		t.Fatal(err)
	}
	copied := open(t, log)
	if got := must(copied.accounts.Gaps(ctx))(t); !reflect.DeepEqual(got, gaps) || len(got) != 2 {
		t.Errorf("registered %+v, want %+v", got, gaps)
	}
	if err := log.Healthy(ctx); err != nil {
		t.Error(err)
	}
	anew := projection.NewTable[string, int64]("anew")
	projection.On(anew, copied.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
		return nil
	})
	again := must(projection.Start(ctx, log, anew))(t)
	defer again.Close()
	if _, ok := anew.Get("k1"); ok || anew.Err() != nil || anew.Len() < 2 {
		t.Errorf("%d rows, %v", anew.Len(), anew.Err())
	}
	rt = copied.start(t, 5)
	defer rt.Close()
	for _, s := range rt.Metrics() {
		if s.Recovery.Source != projection.FromSnapshot {
			t.Errorf("%s: %+v", s.Projection, s.Recovery)
		}
	}
	if _, ok := copied.sums.Get("k1"); !ok {
		t.Error("the snapshot's row of the erased key isn't there")
	}
}
