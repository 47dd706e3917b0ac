package projection_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// failsAt is a handler's failure at deposits of some cents.
func failsAt(bad int64) func(eventlog.Event, deposited) error {
	return func(_ eventlog.Event, d deposited) error {
		if d.Cents == bad {
			return errPoison
		}
		return nil
	}
}

// Two versions of a projection set aside each for itself: what the one fails
// at, the other may handle. Both go on, are saved with what they lack, each
// alone as well, and are retried apart.
func TestBlueGreenParks(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	park := projection.OnFailure(projection.FailurePolicy{Then: projection.ParkKey})
	side := func(version uint64) *fragile {
		return b.fragile(failsAt(int64(665+version)), park, projection.Version(version))
	}
	start := func() (blue, green *fragile, bg *projection.BlueGreen[*fragile], rt *projection.Runtime) {
		blue, green = side(1), side(2)
		bg = projection.NewBlueGreen(blue, green)
		return blue, green, bg, b.start(t, often(3), bg)
	}
	parked := func(rt *projection.Runtime, want string) {
		t.Helper()
		var got []string
		for _, p := range rt.Parked() {
			got = append(got, fmt.Sprintf("v%d:%s@%d", p.Version, p.Key, p.Position.Seq))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("parked: %s, want %s", s, want)
		}
	}
	blue, green, bg, rt := start()
	var at eventlog.Position
	for i, cents := range []int64{1, 666, 667, 2, 3} { // for a, b, c, b, c
		at = b.append(t, []string{"a", "b", "c", "b", "c"}[i], deposited{cents})
	}
	switchTo := func(to func() error) {
		t.Helper()
		if err := errors.Join(rt.Wait(ctx, at), to()); err != nil { // which waits for the other
			t.Fatal(err)
		}
	}
	switchTo(func() error { return bg.Switch(ctx) })
	equal(t, "blue", blue.Table, map[string]int64{"a": 1, "c": 667*3 + 3})
	equal(t, "green", green.Table, map[string]int64{"a": 1, "b": 666*3 + 2})
	all := "v1:b@2 v1:b@4 v2:c@3 v2:c@5"
	parked(rt, all)
	if build := bg.Build(); build.Beside != 1 || build.Parked != 2 || !strings.Contains(build.String(), "2 commits that are set aside") {
		t.Errorf("%+v: %s", build, build)
	}
	if err := errors.Join(rt.Ready(ctx, 0), rt.Close()); err != nil {
		t.Fatal(err)
	}

	blue, green, bg, rt = start()
	parked(rt, all)
	equal(t, "green, restored", green.Table, map[string]int64{"a": 1, "b": 666*3 + 2})
	if blue.calls.Load()+green.calls.Load() != 0 {
		t.Errorf("%d and %d events were handled again", blue.calls.Load(), green.calls.Load())
	}
	green.heal()
	if _, err := rt.RetryParked(ctx, projection.Parked{Projection: "fragile", Position: eventlog.Position{Feed: "accounts", Seq: 3}}); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("of no version: %v", err)
	}
	if n, err := rt.RetryParked(ctx); n != 2 || !errors.Is(err, errPoison) { // green's; blue's fails again
		t.Errorf("%d applied, %v", n, err)
	}
	equal(t, "green, retried", green.Table, map[string]int64{"a": 1, "b": 666*3 + 2, "c": 667*3 + 3})
	equal(t, "blue, retried", blue.Table, map[string]int64{"a": 1, "c": 667*3 + 3})
	parked(rt, "v1:b@2 v1:b@4")
	if err := rt.DropParked(ctx, rt.Parked()[1]); err != nil {
		t.Error(err)
	}
	switchTo(func() error { return bg.Back(ctx) })
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}

	for version, want := range map[uint64]string{1: "v1:b@2", 2: ""} {
		alone := side(version)
		rt = b.start(t, projection.Config{}, alone)
		parked(rt, want)
		if r := status(t, rt, "fragile").Recovery; r.Source != projection.FromSnapshot || alone.calls.Load() != 0 {
			t.Errorf("version %d alone: %+v, %d", version, r, alone.calls.Load())
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
