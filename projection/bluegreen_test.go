package projection_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// cents is what the readers of two versions with different types use.
type cents interface {
	projection.Projection
	Cents(key string) int64
}

type centsV1 struct {
	*projection.Table[string, int64]
}

func (v centsV1) Cents(key string) int64 { c, _ := v.Get(key); return c }

type account struct {
	Cents    int64
	Deposits int
}

type centsV2 struct {
	*projection.Table[string, account]
}

func (v centsV2) Cents(key string) int64 { a, _ := v.Get(key); return a.Cents }

func (b *bank) centsV2(opts ...projection.TableOption) centsV2 {
	t := projection.NewTable[string, account]("balances", append(opts, projection.Version(2))...)
	projection.On(t, b.accounts, func(t *projection.Tx[string, account], e eventlog.Event, d deposited) error {
		if d.Cents == 666 {
			return errPoison
		}
		a := t.Value(e.Key)
		t.Put(e.Key, account{a.Cents + d.Cents, a.Deposits + 1})
		return nil
	})
	return centsV2{t}
}

func (b *bank) versions(opts ...projection.TableOption) *projection.BlueGreen[cents] {
	return projection.NewBlueGreen[cents](centsV1{b.balances(projection.Version(1))}, b.centsV2(opts...))
}

// built waits until the version beside has applied a position.
func built(t *testing.T, bg *projection.BlueGreen[cents], rt *projection.Runtime, at eventlog.Position) {
	t.Helper()
	// Switching waits for exactly that.
	if err := bg.Switch(logtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if err := rt.Wait(logtest.Context(t), at); err != nil {
		t.Fatal(err)
	}
}

// R0.15, blue/green: the old version serves from its snapshot at once, the
// new one is built beside; the switch is there after a restart and can be
// taken back; each version alone finds its own snapshots.
func TestBlueGreen(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	saved(t, b, 9) // version 1 alone, as the program before had it
	recoveries := func(rt *projection.Runtime) map[uint64]projection.Recovery {
		m := make(map[uint64]projection.Recovery)
		for _, s := range rt.Metrics() {
			m[s.Version] = s.Recovery
		}
		return m
	}
	bg := b.versions()
	rt := b.start(t, projection.Config{}, bg)
	if r := recoveries(rt)[1]; r.Source != projection.FromSnapshot || r.Replayed != 0 {
		t.Errorf("version 1: %+v", r)
	}
	if _, is := bg.Live().(centsV1); !is || bg.Live().Cents("k0") != 3 {
		t.Errorf("%T serves, with %d", bg.Live(), bg.Live().Cents("k0"))
	}
	at := b.append(t, "k0", deposited{4})
	built(t, bg, rt, at)
	if _, is := bg.Live().(centsV2); !is || bg.Live().Cents("k0") != 7 {
		t.Errorf("%T serves, with %d", bg.Live(), bg.Live().Cents("k0"))
	}
	if build := bg.Build(); build.Live != 2 || build.Beside != 1 || !build.Ready || build.Remaining != 0 || !strings.Contains(build.String(), "version 1 is ready") {
		t.Errorf("%+v", build)
	}
	if err := rt.Ready(ctx, 0); err != nil {
		t.Error(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}

	// The switch holds after a restart, and can be taken back.
	bg = b.versions()
	rt = b.start(t, projection.Config{}, bg)
	for v, r := range recoveries(rt) {
		if r.Source != projection.FromSnapshot {
			t.Errorf("version %d: %+v", v, r)
		}
	}
	if bg.Build().Live != 2 {
		t.Errorf("after a restart %s", bg.Build())
	}
	for range 2 {
		if err := bg.Back(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, is := bg.Live().(centsV1); !is {
		t.Errorf("%T serves", bg.Live())
	}
	at = b.append(t, "k0", deposited{1})
	built(t, bg, rt, at)
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}

	// Either version alone: the program that comes next, or the one before.
	for range 2 {
		alone := b.centsV2()
		rt = b.start(t, projection.Config{}, alone)
		if r := recoveries(rt)[2]; r.Source != projection.FromSnapshot || r.Replayed > 1 || alone.Cents("k0") < 8 {
			t.Errorf("version 2 alone: %+v, %d", r, alone.Cents("k0"))
		}
		if err := rt.Wait(ctx, b.append(t, "k1", deposited{1})); err != nil {
			t.Fatal(err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
	old := b.balances(projection.Version(1))
	rt = b.start(t, projection.Config{}, old)
	// What version 2 had alone, and what was appended just before the close.
	if r := recoveries(rt)[1]; r.Source != projection.FromSnapshot || r.Replayed > 3 {
		t.Errorf("version 1 alone: %+v", r)
	}
	equal(t, "version 1", old, map[string]int64{"k0": 8, "k1": 5, "k2": 3})
}

// Whatever becomes of the new version, the old one serves: the new one stops,
// can't be built because the log was trimmed, or is migrated.
func TestBlueGreenTrouble(t *testing.T) {
	ctx := logtest.Context(t)
	t.Run("stops", func(t *testing.T) {
		b := openBank(t, logtest.Options(t))
		bg := b.versions()
		rt := b.start(t, projection.Config{}, bg)
		if err := rt.Wait(ctx, b.append(t, "a", deposited{666})); err != nil {
			t.Fatal(err)
		}
		if err := bg.Switch(ctx); !errors.Is(err, projection.ErrStopped) || !errors.Is(err, errPoison) {
			t.Errorf("switched to a version that stopped: %v", err)
		}
		if err := errors.Join(rt.Ready(ctx, 0), rt.Healthy(ctx)); err != nil || bg.Live().Cents("a") != 666 {
			t.Errorf("the old one: %v, %d", err, bg.Live().Cents("a"))
		}
		if build := bg.Build(); build.Err == nil || build.Live != 1 {
			t.Errorf("%+v", build)
		}
	})
	t.Run("trimmed", func(t *testing.T) {
		b := openBank(t, logtest.Options(t))
		saved(t, b, 9)
		purge(t, b, 9)
		bg := b.versions()
		rt := b.start(t, projection.Config{}, bg)
		if err := bg.Build().Err; !errors.Is(err, eventlog.ErrTrimmed) {
			t.Errorf("the new one: %v", err)
		}
		if err := bg.Switch(ctx); !errors.Is(err, eventlog.ErrTrimmed) {
			t.Errorf("switched: %v", err)
		}
		if err := rt.Wait(ctx, b.append(t, "k0", deposited{1})); err != nil || bg.Live().Cents("k0") != 4 {
			t.Errorf("the old one: %d, %v", bg.Live().Cents("k0"), err)
		}
		if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil { // isn't held up by the one that failed
			t.Error(err)
		}
		_, _, err := rt.Digest(ctx, "balances")
		if err := errors.Join(err, rt.CompareSnapshots(ctx)); err != nil { // nor are these
			t.Error(err)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
		// A migration needs no log.
		bg = b.versions(projection.Migrate(1, func(_ string, c int64) (account, bool) { return account{c, -1}, true }))
		rt = b.start(t, projection.Config{}, bg)
		built(t, bg, rt, b.append(t, "k0", deposited{1}))
		if a, _ := bg.Live().(centsV2).Get("k0"); a != (account{5, 0}) {
			t.Errorf("migrated %+v", a)
		}
	})
	t.Run("killed while it is built", func(t *testing.T) {
		b := openBank(t, logtest.Options(t))
		for range 50 {
			b.append(t, "a", deposited{1})
		}
		cfg := often(10)
		cfg.Snapshots.NotOnClose = true
		for round := range 2 {
			bg := b.versions()
			rt := b.start(t, cfg, bg)
			built(t, bg, rt, b.append(t, "a", deposited{1}))
			for round == 0 && !eachSaved(rt) {
				if ctx.Err() != nil {
					t.Fatal("not saved")
				}
				runtime.Gosched()
			}
			for _, s := range rt.Metrics() {
				if round == 1 && s.Recovery.Source != projection.FromSnapshot {
					t.Errorf("version %d: %+v", s.Version, s.Recovery)
				}
			}
			if got := bg.Live().Cents("a"); got != int64(51+round) {
				t.Errorf("%d", got)
			}
			if err := rt.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func eachSaved(rt *projection.Runtime) bool {
	return !slices.ContainsFunc(rt.Metrics(), func(s projection.Status) bool { return s.Snapshots.Saves == 0 })
}

// flakyStore fails saves of the unit that says what serves.
type flakyStore struct {
	projection.Store
	before, after error
}

func (s *flakyStore) Save(ctx context.Context, unit string, base *snapshot.Manifest, cut snapshot.Cut) (*snapshot.Manifest, error) {
	if !strings.HasSuffix(unit, "--serving") {
		return s.Store.Save(ctx, unit, base, cut)
	}
	if s.before != nil {
		return nil, s.before
	}
	m, err := s.Store.Save(ctx, unit, base, cut)
	return m, errors.Join(err, s.after)
}

// The switch is what is stored: one that failed didn't happen, one whose
// answer was lost is seen, and other processes follow.
func TestBlueGreenSwitchIsStored(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	b.append(t, "a", deposited{1})
	store := &flakyStore{Store: must(snapshot.Open(ctx, snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)}
	cfg := projection.Config{Store: store}
	here, there := b.versions(), b.versions()
	b.start(t, cfg, here)
	b.start(t, cfg, there)
	lost := errors.New("lost")
	live := func(what string, want uint64, wantThere uint64) {
		t.Helper()
		if err := errors.Join(here.Look(ctx), there.Look(ctx)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got, gotThere := here.Build().Live, there.Build().Live; got != want || gotThere != wantThere {
			t.Errorf("%s: version %d serves here and %d there, want %d and %d", what, got, gotThere, want, wantThere)
		}
	}
	live("at first", 1, 1)
	store.before = lost
	if err := here.Switch(ctx); !errors.Is(err, lost) || here.Build().Live != 1 {
		t.Errorf("%v, and %s", err, here.Build())
	}
	live("not stored", 1, 1)
	store.before, store.after = nil, lost
	if err := here.Switch(ctx); !errors.Is(err, lost) || here.Build().Live != 1 {
		t.Errorf("%v, and %s", err, here.Build())
	}
	live("stored without an answer", 2, 2)
	store.after = nil
	if err := there.Back(ctx); err != nil {
		t.Fatal(err)
	}
	live("taken back there", 1, 1)
}

// What one process switches to, others serve soon, though nobody asks them to look.
func TestBlueGreenSwitchReachesOthers(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		b := openBank(t, eventlog.Options{App: "app", Memory: true})
		b.append(t, "a", deposited{1})
		here, there := b.versions(), b.versions()
		b.start(t, projection.Config{}, here)
		b.start(t, projection.Config{}, there)
		if err := here.Switch(t.Context()); err != nil {
			t.Fatal(err)
		}
		bubble.Pass(6 * time.Second)
		if live := there.Build().Live; live != 2 {
			t.Errorf("version %d serves in the other process", live)
		}
	})
}

func TestBlueGreenInvalid(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	ctx := logtest.Context(t)
	one := func(v uint64) *projection.Table[string, int64] { return b.balances(projection.Version(v)) }
	same := one(1)
	for want, p := range map[string]projection.Projection{
		"both have version 1": projection.NewBlueGreen(one(1), one(1)),
		"same projection":     projection.NewBlueGreen(same, same),
		"one name":            projection.NewBlueGreen[projection.Projection](one(1), b.notes(projection.Version(2))),
		"single projections":  projection.NewBlueGreen[projection.Projection](one(1), projection.NewUnit("balances", one(2), b.notes())),
		"two projections":     projection.NewUnit("u", projection.NewBlueGreen(one(1), one(2))),
	} {
		if _, err := projection.Start(ctx, b.log, p); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	bg := projection.NewBlueGreen(one(1), one(2))
	if err := bg.Switch(ctx); !errors.Is(err, projection.ErrNotReady) || bg.Build() != (projection.Build{}) {
		t.Errorf("before the start: %v, %+v", err, bg.Build())
	}
}
