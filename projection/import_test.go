package projection_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// exported runs a bank until it has n deposits and a snapshot, and exports
// that.
func exported(t *testing.T, b *bank, n int) (dir string) {
	t.Helper()
	saved(t, b, n)
	store := must(snapshot.Open(t.Context(), snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)
	dir = t.TempDir()
	must(store.Export(t.Context(), "balances", snapshot.Dir(dir)))(t)
	return dir
}

func (b *bank) loseSnapshots(t *testing.T) {
	t.Helper()
	if err := b.log.JetStream().DeleteKeyValue(t.Context(), b.log.App()+"_snapshots"); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Fatal(err)
	}
}

// deaf is a peer that never answers.
type deaf struct{}

func (deaf) Get(context.Context, string) ([]byte, error) { select {} }

// A peer that holds a start up is given up, and the next one is asked.
func TestPeerHoldsNoStartUp(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	dir := exported(t, b, 30)
	b.loseSnapshots(t)
	balances := b.balances(projection.Version(1))
	cfg := projection.Config{
		Peers:      []snapshot.Peer{deaf{}, snapshot.Dir(dir)},
		PeerLimits: snapshot.Limits{MaxTime: 2 * time.Second},
	}
	rt := b.start(t, cfg, balances)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot {
		t.Fatalf("recovery %+v", r)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	// Without another peer it replays.
	b.loseSnapshots(t)
	balances = b.balances(projection.Version(1))
	cfg.Peers = cfg.Peers[:1]
	rt = b.start(t, cfg, balances)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromReplay {
		t.Errorf("without a peer that answers: %+v", r)
	}
	equal(t, "replayed", balances, map[string]int64{"k0": 10, "k1": 10, "k2": 10})
}

// R0.19, R3.1: a process without snapshots starts from a peer's, that it gets
// from a process that runs, and reads what follows from its own log.
func TestStartFromAPeer(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	exportedDir := exported(t, b, 30)
	b.loseSnapshots(t)
	at := b.append(t, "k0", deposited{100})

	peer := snapshot.FS(os.DirFS(exportedDir))
	server := httptest.NewServer(http.StripPrefix("/s", snapshot.Handler(peer, nil)))
	defer server.Close()
	balances := b.balances(projection.Version(1))
	// A peer that is away costs nothing but a line in the log.
	cfg := projection.Config{Peers: []snapshot.Peer{snapshot.HTTP("http://127.0.0.1:1", nil), snapshot.HTTP(server.URL+"/s", nil)}}
	rt := b.start(t, cfg, balances)
	if err := rt.Wait(ctx, at); err != nil {
		t.Fatal(err)
	}
	equal(t, "balances", balances, map[string]int64{"k0": 110, "k1": 10, "k2": 10})
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 1 {
		t.Fatalf("recovery %+v", r)
	}
	if err := rt.Close(); err != nil { // and it saves on top of it
		t.Fatal(err)
	}

	// A runtime that runs serves its own, and another log isn't taken in by it.
	again := b.balances(projection.Version(1))
	rt = b.start(t, cfg, again)
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Fatalf("recovery of the second start %+v", r)
	}
	live := httptest.NewServer(rt.SnapshotHandler(nil))
	defer live.Close()
	other := openBank(t, logtest.Options(t))
	other.append(t, "x", deposited{1})
	theirs := other.balances(projection.Version(1))
	rt = other.start(t, projection.Config{Peers: []snapshot.Peer{snapshot.HTTP(live.URL, nil)}}, theirs)
	equal(t, "another log's balances", theirs, map[string]int64{"x": 1})
	if r := status(t, rt, "balances").Recovery; r.Source != projection.FromReplay {
		t.Fatalf("recovery %+v", r)
	}
}

// R3.16, R3.17, T3.14, T3.15, T3.12, T3.16: Import says what it would take, and
// refuses what belongs to another log, is trimmed off it, or of another code.
func TestImportIsCheckedAgainstTheLog(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	peer := snapshot.Dir(exported(t, b, 30))
	b.loseSnapshots(t)
	look := projection.ImportOptions{CheckOnly: true}

	r, err := projection.Import(ctx, b.log, peer, look, b.balances(projection.Version(1)))
	if at, _ := r[0].To.Get("accounts"); err != nil || at != 30 || !r[0].From.IsEmpty() || !r[0].Manifest.IsZero() {
		t.Fatalf("check only: %+v, %v", r, err)
	}
	refused := func(what string, b *bank, reason string, opts ...projection.TableOption) {
		t.Helper()
		_, err := projection.Import(ctx, b.log, peer, projection.ImportOptions{}, b.balances(opts...))
		if !errors.Is(err, snapshot.ErrNoMatch) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("another version", b, "version 1", projection.Version(2))
	other := openBank(t, logtest.Options(t))
	for range 40 {
		other.append(t, "k0", deposited{1})
	}
	refused("another log, with a higher head", other, "created again", projection.Version(1))

	for range 10 {
		b.append(t, "k1", deposited{1})
	}
	stream := must(b.log.JetStream().Stream(ctx, b.accounts.Stream()))(t)
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(35)); err != nil {
		t.Fatal(err)
	}
	refused("a log that was trimmed past it", b, "are gone too", projection.Version(1))
	if _, err := projection.Start(ctx, b.log, b.balances(projection.Version(1))); !errors.Is(err, eventlog.ErrTrimmed) {
		t.Errorf("start: %v", err)
	}
}

// R2.8: a unit that runs isn't imported into.
func TestImportWhileTheUnitRuns(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	peer := snapshot.Dir(exported(t, b, 3))
	rt := b.start(t, projection.Config{}, b.balances(projection.Version(1)))
	awaitStatus(t, rt, "it owns", isOwner)
	_, err := projection.Import(logtest.Context(t), b.log, peer, projection.ImportOptions{}, b.balances(projection.Version(1)))
	if !errors.Is(err, lease.ErrHeld) {
		t.Fatalf("import: %v", err)
	}
}
