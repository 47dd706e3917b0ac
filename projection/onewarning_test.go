package projection_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// A raised version keeps all snapshots that are retained from being used, and
// those of what reads the table: one warning says so, and Recovery has the rest.
func TestARaisedVersionIsOneWarning(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	tables := func(version uint64) projection.Projection {
		src := b.balances(projection.Version(version))
		rich := projection.NewTable[string, int64]("rich")
		projection.OnChange(rich, src, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
			tx.Put(c.Key, c.New)
			return nil
		})
		return projection.NewUnit("u", src, rich)
	}
	cfg := often(1)
	cfg.Snapshots.Keep = 8
	rt := b.start(t, cfg, tables(1))
	for i := range 8 {
		b.append(t, "ada", deposited{int64(i)})
		awaitStatus(t, rt, "saved", func(s projection.SnapshotStatus) bool { return s.Saves > uint64(i) })
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	cfg, lines := logged(cfg)
	rt = b.start(t, cfg, tables(2))
	if err := rt.Ready(ctx, 0); err != nil {
		t.Fatal(err)
	}
	skipped := 0
	for _, s := range rt.Metrics() {
		skipped += len(s.Recovery.Skipped)
	}
	if skipped < 16 {
		t.Errorf("%d reasons in Recovery: the test needs more", skipped)
	}
	if n := lines.Count(`"level":"warn"`); n != 1 || lines.Count(`"projections":["balances","rich"]`, "holds version 1", "this program has 2") != 1 {
		t.Errorf("%d warnings:\n%s", n, lines)
	}
}

// What the owner of an adopted stream does with it is nothing to warn of at
// each start: neither its limits, nor that its beginning was dropped, nor that
// what a snapshot stands at is gone.
func TestAdoptedStreamsDontWarnAtEachStart(t *testing.T) {
	lines := new(logtest.Lines)
	o := logtest.Options(t)
	o.Logger = zerolog.New(lines)
	log := logtest.Open(t, o)
	ctx := logtest.Context(t)
	app := logtest.App(t)
	js := log.JetStream()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: app, Subjects: []string{app + ".>"}, MaxMsgs: 5, MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = js.DeleteStream(context.Background(), app) })
	publish := func(n int) {
		for range n {
			if _, err := js.Publish(ctx, app+".ada", []byte(`{"Cents":1}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(7)
	start := func() {
		t.Helper()
		feed, err := log.Adopt(ctx, "theirs", eventlog.Adoption{Stream: app, Layouts: []eventlog.Layout{{Subject: app + ".{key}", Type: "deposited", Codec: eventlog.JSON}}}, eventlog.Type[deposited]("deposited"))
		if err != nil {
			t.Fatal(err)
		}
		tab := projection.NewTable[string, int64]("sums")
		projection.On(tab, feed, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
			return nil
		})
		rt, err := projection.Start(ctx, log, tab)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", rt.Metrics()[0].Recovery)
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
	start() // from nothing, behind what was dropped
	start()
	stream, err := js.Stream(ctx, app)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	start()
	if n := lines.Count("sum", `"level":"warn"`) + lines.Count("adopted", `"level":"warn"`); n > 0 {
		t.Errorf("%d warnings:\n%s", n, lines)
	}
	publish(20) // more than it keeps: what this program never saw is a matter to warn of
	start()
	if n := lines.Count("were removed by its owner before they were read", `"level":"warn"`); n != 1 {
		t.Errorf("%d warnings of a loss:\n%s", n, lines)
	}
}
