package projection_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// logged is a configuration whose log is counted.
func logged(cfg projection.Config) (projection.Config, *logtest.Lines) {
	lines := new(logtest.Lines)
	l := zerolog.New(lines)
	cfg.Logger = &l
	return cfg, lines
}

// awaitHealth waits until Healthy is an error of these classes; of none: nil.
func awaitHealth(t *testing.T, rt *projection.Runtime, classes ...error) error {
	t.Helper()
	ctx := logtest.Context(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := rt.Healthy(ctx)
		ok := (err == nil) == (len(classes) == 0)
		for _, class := range classes {
			ok = ok && errors.Is(err, class)
		}
		if ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("healthy: %v, want %v", err, classes)
		}
	}
}

func putRecord(t *testing.T, b *bank, bucket, key, data string) jetstream.KeyValue {
	t.Helper()
	kv := must(b.log.JetStream().KeyValue(t.Context(), b.log.App()+bucket))(t)
	must(kv.PutString(t.Context(), key, data))(t)
	return kv
}

// Where the record of a lease is damaged nobody can save the unit: Healthy says
// so, and the log once, however often it is tried. When the record is deleted
// saving goes on, without a restart.
func TestDamagedLeaseRecordIsTold(t *testing.T) {
	for name, damage := range map[string]string{"cut off": `{"version":1`, "of another release": `{"version":9}`} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b, dial := reachable(t)
			cfg, s := peer(t, b, dial(), 300*time.Millisecond)
			cfg, lines := logged(cfg)
			rt := b.start(t, cfg, b.balances())
			b.append(t, "ada", deposited{1})
			s.await(t, 1)
			awaitHealth(t, rt)
			kv := putRecord(t, b, "_leases", "snapshots.balances", damage)
			err := awaitHealth(t, rt, projection.ErrUnsaved, lease.ErrCorrupt)
			e, ok := errors.AsType[*projection.UnsavedError](err)
			if !ok || e.Unit != "balances" || e.Since.IsZero() || !strings.Contains(err.Error(), "delete the record") {
				t.Errorf("healthy: %v", err)
			}
			if got := status(t, rt, "balances").Snapshots.Unsaved; got == nil || got.Err.Error() != e.Err.Error() {
				t.Errorf("status: %v", got)
			}
			tries := make(chan *nats.Msg, 100)
			nc := dial()
			sub := must(nc.ChanSubscribe("$JS.API.STREAM.MSG.GET.KV_"+b.log.App()+"_leases", tries))(t)
			for range 4 {
				select {
				case <-tries:
				case <-ctx.Done():
					t.Fatal("the lease isn't asked for any more")
				}
			}
			_ = sub.Unsubscribe()
			if n := lines.Count("snapshots are not saved"); n != 1 {
				t.Errorf("logged %d times", n)
			}
			if err := rt.Wait(ctx, b.append(t, "ada", deposited{2})); err != nil {
				t.Fatal(err) // it goes on
			}
			if err := kv.Delete(ctx, "snapshots.balances"); err != nil {
				t.Fatal(err)
			}
			awaitStatus(t, rt, "saved again", func(s projection.SnapshotStatus) bool { return s.At.String() == "accounts=2" && s.Unsaved == nil })
			awaitHealth(t, rt)
		})
	}
}

// Saves that fail again and again are told; one that fails isn't.
func TestFailingSavesAreTold(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	s := newTrickyStore(t, b)
	full := errors.New("no room")
	s.fail = []error{full}
	cfg := often(1)
	cfg.Snapshots.MinInterval = 10 * time.Millisecond
	cfg.Store = s
	cfg, lines := logged(cfg)
	rt := b.start(t, cfg, b.balances())
	b.append(t, "ada", deposited{1})
	s.await(t, 2)
	awaitStatus(t, rt, "saved", func(s projection.SnapshotStatus) bool { return s.Saves == 1 })
	if n := lines.Count("snapshots are not saved"); n != 0 {
		t.Errorf("one failure is told %d times", n)
	}
	s.mu.Lock()
	s.fail = slices.Repeat([]error{full}, 100)
	s.mu.Unlock()
	b.append(t, "ada", deposited{1})
	awaitHealth(t, rt, projection.ErrUnsaved, full)
	s.await(t, 1)
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	awaitHealth(t, rt)
	if n := lines.Count("snapshots are not saved"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{1})); err != nil {
		t.Fatal(err)
	}
}

// A model that can't be saved beside a table that can: told, too.
func TestModelThatIsntSavedIsTold(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	disk := errors.New("out of ink")
	m := bookModel(b, "bytes", func() *savingLedger { return &savingLedger{ledger: newLedger(), fail: disk} }, func(l *savingLedger) *ledger { return &l.ledger })
	cfg, lines := logged(often(1))
	rt := b.start(t, cfg, projection.NewUnit("u", b.balances(), m))
	for range 3 {
		if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); err != nil {
			t.Fatal(err)
		}
		awaitHealth(t, rt, projection.ErrUnsaved, disk)
	}
	awaitStatus(t, rt, "the table is saved", func(s projection.SnapshotStatus) bool { return s.Saves > 1 })
	if n := lines.Count("snapshots are not saved"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// A damaged register of dependants holds nobody, so no log is trimmed: told
// once, and over when the record is deleted.
func TestDamagedRegisterIsTold(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	kv := must(b.log.JetStream().CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: b.log.App() + "_dependants"}))(t)
	must(kv.PutString(ctx, "register", "{"))(t)
	cfg, lines := logged(projection.Config{})
	rt := b.start(t, cfg, b.balances())
	err := awaitHealth(t, rt, projection.ErrUnregistered, dependants.ErrCorrupt)
	if !strings.Contains(err.Error(), "delete") {
		t.Errorf("it doesn't say what to do: %v", err)
	}
	b.filled(t, rt, 10)
	if r, err := rt.Compact(ctx, projection.CompactOptions{}); !errors.Is(err, dependants.ErrCorrupt) || b.first(t) != 1 {
		t.Errorf("compacted: begins at %d, %+v, %v", b.first(t), r, err)
	}
	if err := kv.Delete(ctx, "register"); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, rt)
	if n := lines.Count("not registered as a dependant"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// unknownServing can't say which version of a projection serves.
type unknownServing struct {
	projection.Store
	asked chan struct{}
}

func (s *unknownServing) Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error) {
	if strings.HasSuffix(unit, "--serving") {
		s.asked <- struct{}{}
		return nil, snapshot.ErrCorrupt
	}
	return s.Store.Candidates(ctx, unit)
}

// Which version serves can't be read: told once, for as long as it is so.
func TestUnknownServingIsTold(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	cfg, lines := logged(projection.Config{})
	store := &unknownServing{Store: newTrickyStore(t, b), asked: make(chan struct{}, 1000)}
	cfg.Store = store
	pair := b.versions()
	rt := b.start(t, cfg, pair)
	awaitHealth(t, rt, snapshot.ErrCorrupt)
	for range 2 {
		if err := pair.Look(logtest.Context(t)); !errors.Is(err, snapshot.ErrCorrupt) {
			t.Error(err)
		}
	}
	wait(t, rt, b.append(t, "ada", deposited{7}))
	if v, cents := pair.Build().Live, pair.Live().Cents("ada"); v != 1 || cents != 7 {
		t.Errorf("version %d serves, with %d", v, cents)
	}
	if n := lines.Count("serves"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// A process that runs and isn't in the register any more registers again within
// a minute, and not with its next sign of life, days later.
func TestUnitsRegisterAgain(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		ctx := t.Context()
		b := openBank(t, eventlog.Options{App: "app", Memory: true})
		rt := b.start(t, projection.Config{}, b.balances())
		bubble.Pass(2 * time.Minute)
		kv := must(b.log.JetStream().KeyValue(ctx, "app_dependants"))(t)
		register := must(dependants.New(dependants.Options{App: "app", JetStream: b.log.JetStream()}))(t)
		for _, what := range []func() error{
			func() error { return register.Deregister(ctx, "projection.balances") },
			func() error { _, err := kv.PutString(ctx, "register", "{"); return err },
		} {
			if err := what(); err != nil {
				t.Fatal(err)
			}
			bubble.Pass(2 * time.Minute)
			if rt.Healthy(ctx) != nil { // it is damaged: the operator deletes it
				if err := kv.Delete(ctx, "register"); err != nil {
					t.Fatal(err)
				}
				bubble.Pass(2 * time.Minute)
			}
			if ds, err := register.List(ctx); err != nil || len(ds) != 1 || rt.Healthy(ctx) != nil {
				t.Errorf("registered: %+v, %v, healthy: %v", ds, err, rt.Healthy(ctx))
			}
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
}
