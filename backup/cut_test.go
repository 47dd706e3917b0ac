package backup_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// Each commit follows from one of another feed, both ways round, while the
// application is saved: the backup has none without what it followed from, and
// no half of a transaction.
func TestBackupIsACut(t *testing.T) {
	ctx := logtest.Context(t)
	b := open(t, fresh(t, logtest.App(t)))
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var begun sync.WaitGroup
	for i := range 4 {
		begun.Add(1)
		wg.Go(func() {
			last := int64(0)
			for n := 0; writing.Err() == nil; n++ {
				for _, f := range []*eventlog.Feed{b.accounts, b.audits} {
					at, err := f.Append(ctx, fmt.Sprint("writer-", i), eventlog.ExpectAny, deposited{last})
					if err != nil {
						t.Error(err)
						return
					}
					last = int64(at.Seq)
				}
				if n == 20 {
					begun.Done()
				}
			}
		})
	}
	begun.Wait()
	both := []eventlog.Draft{{Key: "left", Events: []any{deposited{}}}, {Key: "right", Events: []any{deposited{}}}}
	wg.Go(func() {
		for writing.Err() == nil {
			if _, err := b.audits.AppendTransaction(ctx, eventlog.Transaction{Drafts: both}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	dirs := make([]string, 10)
	for i := range dirs {
		dirs[i] = filepath.Join(t.TempDir(), "backup")
		if m, err := backup.Save(ctx, b.log, dirs[i]); err != nil || len(m.Notes) > 0 {
			t.Fatal(m, err)
		}
	}
	stop()
	wg.Wait()
	for _, dir := range dirs {
		log := fresh(t, b.log.App())
		m := must(backup.Restore(ctx, log, dir))(t)
		restored := open(t, log)
		ends := map[*eventlog.Feed]uint64{restored.audits: m.Feeds()[restored.accounts.Stream()], restored.accounts: m.Feeds()[restored.audits.Stream()]}
		count := map[string]int{}
		for f, end := range ends {
			for e, err := range f.Read(ctx) {
				d := must(eventlog.Decode[deposited](e))(t)
				if err != nil || uint64(d.Cents) > end {
					t.Fatalf("%s follows from %d of the other feed, which ends at %d: %v", e.Position(), d.Cents, end, err)
				}
				count[e.Key]++
			}
		}
		if count["left"] != count["right"] || count["writer-0"] < 40 {
			t.Errorf("restored %v", count)
		}
	}
}
