package backup_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/tidemark-es/tidemark/timeframe"
)

type deposited struct{ Cents int64 }

// bank is an application of two feeds and a unit of two projections.
type bank struct {
	log              *eventlog.Log
	accounts, audits *eventlog.Feed
	sums, counts     *projection.Table[string, int64]
	past             *history
}

// history is what was appended to the accounts and the audits.
type history struct {
	mu     sync.Mutex
	events []entry
}

type entry struct {
	at    eventlog.Position
	key   string
	cents int64
}

// fold is what the projections are at a timeframe.
func (h *history) fold(at timeframe.Timeframe) (sums, counts map[string]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sums, counts = make(map[string]int64), make(map[string]int64)
	for _, e := range h.events {
		if seq, _ := at.Get(e.at.Feed); e.at.Seq > seq {
			continue
		}
		counts[e.key]++
		if e.at.Feed == "accounts" {
			sums[e.key] += e.cents
		}
	}
	return sums, counts
}

func (b *bank) append(f *eventlog.Feed, key string, cents int64) (eventlog.Position, error) {
	at, err := f.Append(context.Background(), key, eventlog.ExpectAny, deposited{cents})
	if err == nil {
		b.past.mu.Lock()
		defer b.past.mu.Unlock()
		b.past.events = append(b.past.events, entry{at, key, cents})
	}
	return at, err
}

// again is the same application with projections that weren't started.
func (b *bank) again(t testing.TB) *bank {
	t.Helper()
	next := open(t, b.log)
	next.past = b.past
	return next
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fresh(t testing.TB, app string) *eventlog.Log {
	return logtest.Open(t, eventlog.Options{App: app, Dir: t.TempDir()})
}

// open opens the application's feeds, and makes projections to start.
func open(t testing.TB, log *eventlog.Log) *bank {
	t.Helper()
	b := &bank{log: log, past: &history{}}
	b.accounts = must(log.Feed(t.Context(), "accounts", eventlog.Type[deposited]("deposited")))(t)
	b.audits = must(log.Feed(t.Context(), "audits", eventlog.Type[deposited]("deposited")))(t)
	b.sums, b.counts = projection.NewTable[string, int64]("sums"), projection.NewTable[string, int64]("counts")
	projection.On(b.sums, b.accounts, func(t *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	for _, f := range []*eventlog.Feed{b.accounts, b.audits} {
		projection.On(b.counts, f, func(t *projection.Tx[string, int64], e eventlog.Event, _ deposited) error {
			t.Put(e.Key, t.Value(e.Key)+1)
			return nil
		})
	}
	return b
}

func (b *bank) unit() *projection.Unit { return projection.NewUnit("bank", b.sums, b.counts) }

func (b *bank) start(t testing.TB, every uint64) *projection.Runtime {
	t.Helper()
	c := projection.Config{Snapshots: projection.Policy{Events: every, MinInterval: 1}}
	return must(c.Start(logtest.Context(t), b.log, b.unit()))(t)
}

func (b *bank) deposit(t testing.TB, f *eventlog.Feed, n int) (at eventlog.Position) {
	t.Helper()
	for i := range n {
		at = must(b.append(f, fmt.Sprintf("k%d", i%5), int64(i)))(t)
	}
	return at
}

// filled is an application with snapshots, that doesn't run.
func filled(t testing.TB, n int) *bank {
	t.Helper()
	b := open(t, fresh(t, logtest.App(t)))
	b.deposit(t, b.accounts, n)
	b.deposit(t, b.audits, n)
	if err := b.start(t, 10).Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

func contents(t *projection.Table[string, int64]) map[string]int64 { return maps.Collect(t.All()) }

// started starts a restored application, and fails unless it comes from its
// snapshot and is what the original was at that timeframe.
func started(t testing.TB, original *bank, log *eventlog.Log, m *backup.Manifest) *bank {
	t.Helper()
	b := open(t, log)
	rt := b.start(t, 1000)
	t.Cleanup(func() { _ = rt.Close() })
	at := must(log.Heads(t.Context()))(t)
	for _, s := range must(rt.Status(t.Context()))(t) {
		if s.Recovery.Source != projection.FromSnapshot || len(s.Recovery.Skipped) > 0 {
			t.Fatalf("recovery of %s: %+v", s.Projection, s.Recovery)
		}
	}
	for feed, f := range map[string]*eventlog.Feed{"accounts": original.accounts, "audits": original.audits} {
		mine := must(log.Opened(feed))(t)
		seq, _ := at.Get(feed)
		theirs := must(f.Observe(t.Context(), seq))(t)
		ours := must(mine.Observe(t.Context(), seq))(t)
		if mine.Incarnation() != f.Incarnation() || seq != m.Feeds()[mine.Stream()] || ours.Prints[seq] != theirs.Prints[seq] {
			t.Fatalf("feed %s at %d isn't what it was", feed, seq)
		}
	}
	sums, counts := original.past.fold(at)
	if !maps.Equal(contents(b.sums), sums) || !maps.Equal(contents(b.counts), counts) {
		t.Fatalf("restored %v and %v, want %v and %v", contents(b.sums), contents(b.counts), sums, counts)
	}
	return b
}

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

// stopping is a context that ends when it was asked for the k-th time.
type stopping struct {
	context.Context
	mu   sync.Mutex
	left int
	end  func()
}

func stopAfter(ctx context.Context, k int) *stopping {
	ctx, cancel := context.WithCancel(ctx)
	return &stopping{Context: ctx, left: k, end: cancel}
}

func (s *stopping) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		s.end()
	}
}

func (s *stopping) Done() <-chan struct{} { s.count(); return s.Context.Done() }
func (s *stopping) Err() error            { s.count(); return s.Context.Err() }
func (s *stopping) reached() bool         { s.mu.Lock(); defer s.mu.Unlock(); return s.left <= 0 }

// T3.9, R3.11: Save ends at any point: there is no backup, and the next one
// into the same directory is whole.
func TestInterruptedSave(t *testing.T) {
	b := filled(t, 30)
	dir := t.TempDir()
	step := 1
	if testing.Short() {
		step = 7
	}
	for k := 1; ; k += step + k/4 {
		ctx := stopAfter(t.Context(), k)
		_, err := backup.Save(ctx, b.log, dir)
		if err == nil {
			if k == 1 || ctx.reached() && k < 10 {
				t.Fatalf("it wasn't interrupted at %d", k)
			}
			break
		}
		if _, opened := backup.Open(dir); !errors.Is(opened, backup.ErrNone) {
			t.Fatalf("interrupted at %d (%v), and there is a backup: %v", k, err, opened)
		}
	}
	log := fresh(t, b.log.App())
	m := must(backup.Restore(t.Context(), log, dir))(t)
	started(t, b, log, m)
}

// Restore ends at any point: an application that is started then has nothing,
// or finds its feeds missing; the same restore completes it.
func TestInterruptedRestore(t *testing.T) {
	b := filled(t, 30)
	dir := t.TempDir()
	m := must(backup.Save(t.Context(), b.log, dir))(t)
	log := fresh(t, b.log.App())
	step := 1
	if testing.Short() {
		step = 9
	}
	for k := 1; ; k += step + k/4 {
		ctx := stopAfter(t.Context(), k)
		_, err := backup.Restore(ctx, log, dir)
		if err == nil {
			break
		}
		if pending, asked := backup.Pending(t.Context(), log); asked != nil || !pending && k > 200 || k > 1e4 {
			t.Fatalf("interrupted at %d: %v, %v", k, err, asked)
		}
	}
	if pending, err := backup.Pending(t.Context(), log); pending || err != nil {
		t.Fatalf("after the end: %v, %v", pending, err)
	}
	started(t, b, log, m)
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
		trimming := &stopping{Context: ctx, left: k, end: func() {
			if _, err := rt.Compact(t.Context(), projection.CompactOptions{}); err != nil {
				t.Error(err)
			}
		}}
		dir := t.TempDir()
		m, err := backup.Save(trimming, b.log, dir)
		cancel()
		if err != nil || len(m.Notes) > 0 {
			t.Fatalf("trimmed at %d: %+v, %v", k, m, err)
		}
		log := fresh(t, b.log.App())
		must(backup.Restore(t.Context(), log, dir))(t)
		started(t, b, log, m)
	}
}
