package backup_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// A whole application is saved while it runs and appends, and restored
// elsewhere: the same lineages, digests and state, and it goes on from there.
func TestBackupOfARunningApplication(t *testing.T) {
	ctx := logtest.Context(t)
	b := open(t, fresh(t, logtest.App(t)))
	rt := b.start(t, 5)
	defer func() { _ = rt.Close() }()
	b.deposit(t, b.audits, 20)
	at := b.deposit(t, b.accounts, 200)
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Compact(ctx, projection.CompactOptions{Margin: 20}); err != nil {
		t.Fatal(err)
	}
	writing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for writing.Err() == nil {
			if _, err := b.append(b.accounts, "busy", 1); err != nil {
				t.Error(err)
				return
			}
		}
	})
	dir := filepath.Join(t.TempDir(), "backup")
	m, err := backup.Save(ctx, b.log, dir)
	stop()
	wg.Wait()
	if err != nil || len(m.Notes) > 0 || len(m.Snapshots) != 1 || len(m.Feeds()) != 2 {
		t.Fatalf("save: %+v, %v", m, err)
	}
	if snap := m.Snapshots[0]; snap.At["accounts"] > m.Feeds()[b.accounts.Stream()] || len(snap.Digests["sums"]) != 64 {
		t.Fatalf("snapshot %+v, feeds %v", snap, m.Feeds())
	}
	log := fresh(t, b.log.App())
	got, err := backup.Restore(ctx, log, dir)
	if err != nil || !slices.EqualFunc(got.Snapshots, m.Snapshots, func(a, b backup.Snapshot) bool { return a.ID == b.ID }) {
		t.Fatalf("restore: %+v, %v", got, err)
	}
	restored := started(t, b, log, m)
	if _, err := restored.accounts.Append(ctx, "k1", eventlog.ExpectNew, deposited{1}); !errors.Is(err, eventlog.ErrConflict) {
		t.Fatalf("a key of the original: %v", err)
	}
	restored.deposit(t, restored.accounts, 3)
	if _, err := backup.Save(ctx, log, dir); !errors.Is(err, backup.ErrExists) {
		t.Fatalf("a second one into the same directory: %v", err)
	}
}

// A file that is flipped, cut or gone: the backup is refused before anything
// is written.
func TestDamagedBackup(t *testing.T) {
	b := filled(t, 10)
	dir := t.TempDir()
	m := must(backup.Save(t.Context(), b.log, dir))(t)
	log := fresh(t, b.log.App())
	names := append(slices.Sorted(maps.Keys(m.Files)), "backup.json")
	if len(names) < 8 {
		t.Fatalf("only %q", names)
	}
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		whole := must(os.ReadFile(path))(t)
		flipped := slices.Clone(whole)
		flipped[len(flipped)/2] ^= 4
		for what, bad := range map[string][]byte{"flipped": flipped, "cut": whole[:len(whole)/2], "gone": nil} {
			err := os.Remove(path)
			if bad != nil {
				err = os.WriteFile(path, bad, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := backup.Restore(t.Context(), log, dir); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrNone) {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name := range log.JetStream().StreamNames(t.Context()).Name() {
		t.Errorf("stream %s was made from a damaged backup", name)
	}
	if _, err := backup.Verify(dir); err != nil {
		t.Fatal(err)
	}
}

// A restore never overwrites: another application, one that isn't empty, one
// that a restore of another backup was begun into, one that went on meanwhile.
func TestRestoreRefuses(t *testing.T) {
	ctx := logtest.Context(t)
	b := filled(t, 10)
	dir, other := t.TempDir(), t.TempDir()
	must(backup.Save(ctx, b.log, dir))(t)
	b.deposit(t, b.accounts, 1)
	must(backup.Save(ctx, b.log, other))(t)
	if _, err := backup.Restore(ctx, b.log, dir); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("over itself: %v", err)
	}
	if _, err := backup.Restore(ctx, fresh(t, "another"), dir); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("another application: %v", err)
	}
	if _, err := backup.Restore(ctx, fresh(t, b.log.App()), t.TempDir()); !errors.Is(err, backup.ErrNone) {
		t.Errorf("no backup: %v", err)
	}
	log := fresh(t, b.log.App())
	for k := 1; ; k++ { // until a restore was begun
		if _, err := backup.Restore(stopAfter(ctx, k), log, dir); err == nil {
			t.Fatal("it was never interrupted")
		}
		if pending := must(backup.Pending(ctx, log))(t); pending {
			break
		}
	}
	if _, err := backup.Restore(ctx, log, other); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("another backup: %v", err)
	}
	early := must(log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited")))(t) // too early: nothing was restored yet
	for range 11 {
		must(early.Append(ctx, "k", eventlog.ExpectAny, deposited{1}))(t)
	}
	if _, err := backup.Restore(ctx, log, dir); !errors.Is(err, backup.ErrNotEmpty) {
		t.Errorf("written to meanwhile: %v", err)
	}
	if st := must(early.State(ctx))(t); st.Last != 11 {
		t.Errorf("what was written meanwhile is gone: %+v", st)
	}
}

// R3.13: the log is restored from an older backup than a peer's snapshot, and
// goes on with other events under the same numbers. The peer's newest isn't
// taken; what belongs to both histories is.
func TestPeerIsAheadOfTheBackup(t *testing.T) {
	ctx := logtest.Context(t)
	b := filled(t, 20)
	dir := t.TempDir()
	must(backup.Save(ctx, b.log, dir))(t)
	b = b.again(t)
	rt := b.start(t, 5)
	if err := rt.Wait(ctx, b.deposit(t, b.accounts, 30)); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	theirs := must(snapshot.Open(ctx, snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)

	log := fresh(t, b.log.App())
	must(backup.Restore(ctx, log, dir))(t)
	again := open(t, log)
	for range 40 {
		must(again.accounts.Append(ctx, "other", eventlog.ExpectAny, deposited{1}))(t)
	}
	r, err := projection.Import(ctx, log, theirs.Peer(), projection.ImportOptions{CheckOnly: true}, again.unit())
	if at, _ := r[0].To.Get("accounts"); at != 20 {
		t.Fatalf("the import would reach %s: %+v, %v", r[0].To, r, err)
	}
	again = open(t, log)
	rt = must(projection.Config{Peers: []snapshot.Peer{theirs.Peer()}}.Start(ctx, log, again.unit()))(t)
	defer func() { _ = rt.Close() }()
	if n, _ := again.sums.Get("other"); n != 40 {
		t.Fatalf("sums %v", contents(again.sums))
	}
	if n, _ := again.counts.Get("k1"); n != 8 {
		t.Fatalf("counts %v", contents(again.counts))
	}
}

// A feed is trimmed while it is saved, at any point: the backup's snapshots
// are covered by its feeds all the same.
func TestTrimmedWhileItIsSaved(t *testing.T) {
	b := filled(t, 40)
	b = b.again(t)
	rt := b.start(t, 5)
	defer func() { _ = rt.Close() }()
	points := []int{1, 10, 20, 40, 60, 80, 120}
	if testing.Short() {
		points = points[2:4]
	}
	for _, k := range points {
		if err := rt.Wait(t.Context(), b.deposit(t, b.accounts, 20)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		compacted := make(chan error, 1)
		trimming := &stopping{Context: ctx, left: k, end: func() {
			done := make(chan struct{})
			go func() {
				_, err := rt.Compact(t.Context(), projection.CompactOptions{})
				compacted <- err
				close(done)
			}()
			select { // the client may ask the context while it holds a lock that Compact needs
			case <-done:
			case <-time.After(100 * time.Millisecond): // it goes on beside
			}
		}}
		dir := t.TempDir()
		m, err := backup.Save(trimming, b.log, dir)
		cancel()
		if err != nil || len(m.Notes) > 0 {
			t.Fatalf("trimmed at %d: %+v, %v", k, m, err)
		}
		if trimming.reached() {
			if err := <-compacted; err != nil {
				t.Error(err)
			}
		}
		log := fresh(t, b.log.App())
		must(backup.Restore(t.Context(), log, dir))(t)
		started(t, b, log, m)
	}
}

// An older backup is restored into the place of a log that had gone further, as
// its mark says: that is no loss. By other means than Restore it is one.
func TestRestoreOfAnOlderBackup(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	b := open(t, logtest.Open(t, o))
	b.deposit(t, b.accounts, 10)
	dir := t.TempDir()
	must(backup.Save(ctx, b.log, dir))(t)
	b.deposit(t, b.accounts, 10)
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	log := logtest.Open(t, o)
	for name := range log.JetStream().StreamNames(ctx).Name() {
		if err := log.JetStream().DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	must(backup.Restore(ctx, log, dir))(t)
	again := open(t, log)
	if err := errors.Join(log.Healthy(ctx), again.accounts.Lost()); err != nil {
		t.Fatal(err)
	}
	if last := again.deposit(t, again.accounts, 1); last.Seq != 11 {
		t.Errorf("the log went to %d", last.Seq)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if again = open(t, logtest.Open(t, o)); again.accounts.Metrics().Marked != 11 {
		t.Errorf("%+v", again.accounts.Metrics())
	}
}
