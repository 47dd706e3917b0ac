package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(childMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// runBench runs the benchmarks with small sizes, and checks that nothing is
// left of their data.
func runBench(t *testing.T, ctx context.Context, stdout io.Writer, args ...string) error {
	t.Helper()
	dir := t.TempDir()
	err := run(ctx, append([]string{"-quick", "-n", "1", "-dir", dir}, args...), stdout, io.Discard)
	left, readErr := os.ReadDir(dir)
	if readErr != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, readErr)
	}
	return err
}

// Every case runs, both of its sides do the same work (or run fails), and
// each of its figures is a line of JSON.
func TestEveryCase(t *testing.T) {
	// All but those on clusters, which the CI's bench step runs: three servers
	// take five seconds to start, and ten to elect another leader.
	pattern := "^[^afr]|^append/[^r]|^follow/latency|^re[^p]|^replay/([^r]|ra)"
	if testing.Short() {
		pattern = "append/64-occ|append/10events|replay/typed$|restart/snapshot|restart/open-kill"
	}
	var out bytes.Buffer
	if err := runBench(t, t.Context(), &out, "-json", "-run", pattern); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		name, _ := fields["name"].(string)
		names = append(names, name)
		if len(fields) != 5 || fields["unit"] == "" {
			t.Errorf("%s: not the five fields", line)
		}
		for _, f := range []string{"value", "baseline", "ratio"} {
			if x, ok := fields[f].(float64); !ok || x <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
				t.Errorf("%s: %s is %v", name, f, fields[f])
			}
		}
	}
	want := []string{
		"append/sync", "append/64", "append/64-async", "append/64-occ", "append/10events", "append/64-synced", "append/64-url",
		"import/single", "import/packed20",
		"replay/raw", "replay/typed", "replay/typed-reflect", "replay/packed20", "replay/memory",
		"restart/full", "restart/snapshot", "restart/open-clean", "restart/open-kill", "restart/overhead", "restart/long-log",
		"snapshot/restore", "snapshot/pause", "snapshot/overhead", "snapshot/delta-bytes", "snapshot/digest",
		"follow/latency", "follow/latency-p99",
		"graph/table", "graph/chain5", "graph/partitions2", "nexmark/q3", "nexmark/q4", "nexmark/q5", "nexmark/q8", "read/key", "read/key-again",
		"decide/64", "decide/64-occ", "decide/long-key", "testkit/cases",
	}
	if testing.Short() {
		want = []string{"append/64-occ", "append/10events", "replay/typed", "restart/snapshot", "restart/open-kill"}
	}
	if !slices.Equal(names, want) {
		t.Errorf("figures %v, want %v", names, want)
	}
}

// Each way to set the baseline up, of which a full run takes the fastest,
// does all of the work.
func TestBaselineCandidates(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every candidate for a baseline, some seconds; TestEveryCase runs the first of each")
	}
	e := quickEnv(t)
	check := func(what any, s sample, err error, want int) {
		t.Helper()
		if err != nil || s.count != uint64(want) {
			t.Errorf("%v: did %d of %d, %v", what, s.count, want, err)
		}
	}
	for _, how := range readers() {
		s, err := rawReplay(t.Context(), e, &clock{}, how)
		check(how, s, err, e.events)
	}
	one := appendLoad{callers: 1, exact: true, total: func(e *env) int { return 100 }}
	for _, how := range slices.Concat(waiting(), futures()) {
		s, err := rawAppends(t.Context(), e, &clock{}, one, how)
		check(how, s, err, 110)
	}
	for _, how := range rawBatchWays() {
		s, err := rawBatches(t.Context(), e, &clock{}, how)
		check(how, s, err, (e.batches+1)*batchSize)
	}
	for _, how := range followers() {
		s, err := rawFollow(t.Context(), e, &clock{}, how)
		check(how, s, err, e.follow+e.follow/10)
	}
}

func quickEnv(t *testing.T) *env {
	t.Helper()
	e, err := newEnv(t.Context(), options{quick: true, dir: t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestDifferentWork(t *testing.T) {
	did := sample{count: 10, bytes: 2000}
	for _, other := range []sample{{count: 9, bytes: 2000}, {count: 10, bytes: 1999}} {
		if sameWork(did, other) == nil || sameWork(other, did) == nil {
			t.Errorf("%+v was compared with %+v", did, other)
		}
	}
	if sameWork(sample{}, sample{}) == nil {
		t.Error("nothing was compared with nothing")
	}
	if err := sameWork(did, sample{count: 10}); err != nil {
		t.Errorf("bytes that can't be compared: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"-run", "no-such-case"}, {"-run", "("}, {"-n", "0"}, {"extra"}, {"-unknown"},
		{"-side", "both"}, {"-cpuprofile", "cpu"},
		{"-baseline", "("}, {"-run", "append/sync", "-baseline", "no-such-candidate"},
	} {
		if err := runBench(t, t.Context(), io.Discard, args...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v, want a bad usage", args, err)
		}
	}
	err := runBench(t, t.Context(), io.Discard, "-run", "no-such-case")
	if err == nil || !strings.Contains(err.Error(), "append/64-occ") {
		t.Errorf("no names in: %v", err)
	}
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	if err := runBench(t, t.Context(), &out, "-list"); err != nil {
		t.Fatal(err)
	}
	for _, c := range allCases() {
		if c.about == "" || !strings.Contains(out.String(), c.about) {
			t.Errorf("%s isn't explained", c.name)
		}
	}
}

// interrupter cancels a run when it prints its first figure.
type interrupter struct{ cancel context.CancelFunc }

func (i interrupter) Write(b []byte) (int, error) {
	i.cancel()
	return len(b), nil
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := runBench(t, ctx, interrupter{cancel}, "-run", "append/"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want a cancelled context", err)
	}
}

func TestProfiles(t *testing.T) {
	for _, side := range []string{sideOurs, sideBaseline} {
		dir := t.TempDir()
		cpu, mem := filepath.Join(dir, "cpu"), filepath.Join(dir, "mem")
		if err := runBench(t, t.Context(), io.Discard, "-n", "2", "-run", "append/sync", "-side", side, "-cpuprofile", cpu, "-memprofile", mem); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{cpu, cpu + ".2", mem} {
			if st, err := os.Stat(name); err != nil || st.Size() == 0 {
				t.Errorf("%s of %s: %v", name, side, err)
			}
		}
	}
}

// A ratio below its floor fails a full run, not a quick one.
func TestFloor(t *testing.T) {
	same := func(context.Context, *env, *clock) (sample, error) {
		return sample{values: []float64{1}, count: 1}, nil
	}
	cases := []*benchCase{{name: "slow", unit: unitMillis, floor: 2, ours: same, base: same}}
	out := &table{w: io.Discard}
	if err := measureAll(t.Context(), &env{}, nil, cases, 1, out); !errors.Is(err, errFloor) {
		t.Errorf("full: %v, want an error", err)
	}
	if err := measureAll(t.Context(), &env{quick: true}, nil, cases, 1, out); err != nil {
		t.Errorf("quick: %v", err)
	}
}
