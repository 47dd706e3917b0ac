//go:build unix

package eventlog

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// With Options.SyncAlways the server has done it before it acknowledges.
func TestSyncedBySyncAlways(t *testing.T) {
	log, err := Open(t.Context(), Options{App: "always", Dir: t.TempDir(), SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	f, err := log.Feed(t.Context(), "blobs", Type[blob]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	d := watch(t, f)
	if at, err := f.AppendDraft(t.Context(), blobDraft("k", Synced, 1)); err != nil || at.Seq != 1 || d.calls != 0 {
		t.Errorf("%v, %v; %d fsyncs of ours", at, err, d.calls)
	}
}

// Where Synced can't be kept it is refused, and nothing is appended.
func TestSyncedRefused(t *testing.T) {
	memory, err := Open(t.Context(), Options{App: "refused", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	server, err := Open(t.Context(), Options{App: "server", Dir: t.TempDir(), Listen: "127.0.0.1:-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	remote, err := Open(t.Context(), Options{App: "refused", URL: server.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = remote.Close() })
	for _, c := range []struct {
		log  *Log
		says string
	}{{memory, "Options.Dir"}, {remote, "sync_interval: always"}} {
		f, err := c.log.Feed(t.Context(), "blobs", Type[blob]("blob"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.AppendDraft(t.Context(), blobDraft("k", Synced, 1))
		if se, ok := errors.AsType[*SyncError](err); !ok || se.Pos.Seq != 0 || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v", err)
		}
		if _, err := f.AppendDraft(t.Context(), blobDraft("k", Durability(7), 1)); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
		if st, err := f.State(t.Context()); err != nil || st.Last != 0 {
			t.Errorf("%+v, %v", st, err)
		}
	}
	files := &Log{opts: Options{Dir: "d"}, embedded: &embedded{}}
	always := &Log{opts: Options{Dir: "d", SyncAlways: true}, embedded: &embedded{}}
	for _, c := range []struct {
		log  *Log
		cfg  jetstream.StreamConfig
		want syncedBy
	}{
		{files, jetstream.StreamConfig{}, byUs},
		{files, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, byNobody},
		{files, jetstream.StreamConfig{PersistMode: jetstream.AsyncPersistMode}, byNobody},
		{files, jetstream.StreamConfig{Replicas: 3}, byNobody},
		{files, jetstream.StreamConfig{Compression: jetstream.S2Compression}, byUs},
		{always, jetstream.StreamConfig{}, byServer},
		{always, jetstream.StreamConfig{PersistMode: jetstream.AsyncPersistMode}, byNobody},
	} {
		if by, reason := c.log.howSynced(c.cfg); by != c.want || (by == byNobody) != (reason != "") {
			t.Errorf("%+v: %v, %q", c.cfg, by, reason)
		}
	}
}

// The server's own sync is every 250 ms by default, and streams don't ask for
// persist_mode async.
func TestSyncIntervalDefault(t *testing.T) {
	log, err := Open(t.Context(), Options{App: "interval", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	if c := log.embedded.srv.JetStreamConfig(); c.SyncInterval != 250*time.Millisecond || c.SyncAlways {
		t.Errorf("the server syncs every %v (always: %v)", c.SyncInterval, c.SyncAlways)
	}
	f, err := log.Feed(t.Context(), "blobs", Type[blob]("blob"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := log.js.Stream(t.Context(), f.stream)
	if err != nil || s.CachedInfo().Config.PersistMode != jetstream.DefaultPersistMode {
		t.Errorf("%+v, %v", s.CachedInfo().Config, err)
	}
}
