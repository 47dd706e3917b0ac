//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// flipsVariable chooses seeds, as "7" or "100-199", instead of the first ones.
const flipsVariable = "TIDEMARK_FLIPS"

// flipLimit is how long one process with a damaged store may take in all.
const flipLimit = 4 * time.Minute

// TestBitFlips flips single bits in stores of every kind. Whatever file and
// bit it is, each way of reading finds what was stored, or an error of one of
// our classes, in bounded time and memory; and what was right is right again
// after another start.
func TestBitFlips(t *testing.T) {
	from, to := flipSeeds(t)
	var templates []flipTemplate
	for _, s := range flipShapes() {
		templates = append(templates, prepareFlips(t, s))
	}
	var mu sync.Mutex
	var results []flipResult
	t.Run("flip", func(t *testing.T) {
		for seed := from; seed < to; seed++ {
			f := chooseFlip(t, templates, seed)
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				r := flipAndCheck(t, f, templates[f.template])
				mu.Lock()
				defer mu.Unlock()
				results = append(results, r)
			})
		}
	})
	reportFlips(t, results)
}

// An undamaged store of each shape is right: else the harness would prove
// nothing.
func TestBitFlipsWithoutFlip(t *testing.T) {
	for _, s := range flipShapes() {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			tm := prepareFlips(t, s)
			r := flipResult{kind: flipRight}
			checkStore(t, &r, tm, tm.dir)
			if r.kind != flipRight {
				t.Errorf("%v", r.findings)
			}
		})
	}
}

func flipSeeds(t *testing.T) (from, to uint64) {
	t.Helper()
	v := os.Getenv(flipsVariable)
	if v == "" {
		return 0, uint64(fullOr(2000, 48))
	}
	first, last, several := strings.Cut(v, "-")
	from = must(strconv.ParseUint(first, 10, 64))(t)
	if !several {
		return from, from + 1
	}
	return from, must(strconv.ParseUint(last, 10, 64))(t) + 1
}

func flipAndCheck(t *testing.T, f flip, tm flipTemplate) flipResult {
	t.Helper()
	r := flipResult{flip: f, kind: flipRight}
	dir := filepath.Join(t.TempDir(), "store")
	f.damage(t, tm, dir)
	checkStore(t, &r, tm, dir)
	r.unseen()
	if slices.Index(flipKinds, r.kind) > slices.Index(flipKinds, flipUnseen) {
		f.damage(t, tm, filepath.Join(t.ArtifactDir(), "store"))
	}
	return r
}

// checkStore reads a store in processes of its own: once, and where all was
// right, once more.
func checkStore(t *testing.T, r *flipResult, tm flipTemplate, dir string) {
	t.Helper()
	for _, pass := range []string{"first", "again"} {
		if pass == "again" && r.kind != flipRight {
			return
		}
		at := dir
		var server flipProcess
		if tm.separate {
			server, at = flipServer(t, dir)
		}
		exe := must(os.Executable())(t)
		c := runFlip(t, []string{childVariable + "=flip-check"}, exe, at, tm.want, pass)
		ctx := limited(t, flipLimit)
		_ = c.p.Wait(ctx)
		if ctx.Err() != nil {
			r.add(flipFinding{pass, flipWait, fmt.Sprintf("the process didn't end in %v", flipLimit)})
		}
		c.p.Kill()
		c.into(r, pass)
		if server.p != nil {
			server.p.Kill()
			server.crash(r, "server")
		}
	}
}

// into adds what a checking child has printed.
func (p flipProcess) into(r *flipResult, pass string) {
	ended := false
	for _, line := range p.stdout.lines() {
		var f flipFinding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			continue
		}
		if f.Step == "end" {
			ended = true
			continue
		}
		f.Step = pass + ": " + f.Step
		r.add(f)
	}
	if p.crash(r, pass) || ended {
		return
	}
	if r.kind != flipWait {
		r.add(flipFinding{pass, flipPanic, "the process ended: " + strings.Join(p.stderr.lines(), "\n")})
	}
}

func (p flipProcess) crash(r *flipResult, who string) bool {
	k, stack := crashOf(strings.Join(p.stderr.lines(), "\n"))
	if k == "" {
		return false
	}
	r.add(flipFinding{who, k, "panic"})
	r.stack = stack
	return true
}
