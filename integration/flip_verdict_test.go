//go:build integration

package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/dependants"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// flipKind is what came of a flipped bit, from the best to the worst.
type flipKind string

const (
	flipRight       flipKind = "right"          // the right state
	flipLoud        flipKind = "loud"           // an error of one of our classes
	flipUnseen      flipKind = "not found"      // silent, and documented as what can't be found: see unseen
	flipServerPanic flipKind = "server's panic" // the server's own code panicked, or took too much memory
	flipUntyped     flipKind = "untyped"        // an error of no class
	flipSilent      flipKind = "silent"         // something else than was stored, and no error
	flipWait        flipKind = "wait"           // a call that ended only with its context, or not even then
	flipPanic       flipKind = "our panic"
)

var flipKinds = []flipKind{flipRight, flipLoud, flipUnseen, flipServerPanic, flipUntyped, flipSilent, flipWait, flipPanic}

// flipClasses are the classes of errors that may be said of a damaged store.
// ErrInvalid isn't among them: nobody gave a wrong argument.
var flipClasses = []error{
	eventlog.ErrUnknownType, eventlog.ErrUnavailable, eventlog.ErrRefused, eventlog.ErrTrimmed, eventlog.ErrLostTail,
	eventlog.ErrGap, eventlog.ErrCorrupt, eventlog.ErrForeign, eventlog.ErrUnsafe, eventlog.ErrMissing, eventlog.ErrRecreated,
	eventlog.ErrConflict, eventlog.ErrAmbiguous, eventlog.ErrInUse, eventlog.ErrStuck,
	projection.ErrStopped, projection.ErrAhead, projection.ErrDiverged, projection.ErrUnverified, projection.ErrNotReady,
	snapshot.ErrCorrupt, snapshot.ErrUnknownFormat, snapshot.ErrNotFound, snapshot.ErrConflict, snapshot.ErrStaleBase, snapshot.ErrFenced,
	lease.ErrCorrupt, lease.ErrHeld, lease.ErrLost,
	dependants.ErrCorrupt, dependants.ErrUnknown, dependants.ErrTooLate,
	effect.ErrNotParked,
}

func kindOfError(err error) flipKind {
	if err == nil {
		return flipRight
	}
	if _, ok := errors.AsType[*different](err); ok {
		return flipSilent
	}
	for _, class := range flipClasses {
		if errors.Is(err, class) {
			return flipLoud
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return flipWait
	}
	return flipUntyped
}

// crashOf says whose code panicked, by the stack of the goroutine that did:
// "" where nobody's. Memory that ran out is the code's that asked for it.
func crashOf(stderr string) (k flipKind, stack string) {
	begin := -1
	for _, first := range []string{"panic: ", "fatal error: ", "runtime: out of memory", "SIGSEGV"} {
		if i := strings.Index(stderr, first); i >= 0 && (begin < 0 || i < begin) {
			begin = i
		}
	}
	if begin < 0 {
		return "", ""
	}
	stack = stderr[begin:min(len(stderr), begin+6000)]
	_, frames, _ := strings.Cut(stack, "\ngoroutine ")
	for line := range strings.Lines(frames) {
		switch {
		case line == "\n": // another goroutine's begins
			return flipPanic, stack
		case strings.HasPrefix(line, "github.com/nats-io/nats-server/"):
			return flipServerPanic, stack
		case strings.HasPrefix(line, "github.com/tidemark-es/"):
			return flipPanic, stack
		}
	}
	return flipPanic, stack
}

// flipResult is what came of one flipped bit.
type flipResult struct {
	flip     flip
	findings []flipFinding
	kind     flipKind // the worst of the findings
	stack    string   // of a panic
}

func (r *flipResult) add(fs ...flipFinding) {
	for _, f := range fs {
		r.findings = append(r.findings, f)
		if slices.Index(flipKinds, f.Kind) > slices.Index(flipKinds, r.kind) {
			r.kind = f.Kind
		}
	}
}

// unseen sorts out what docs/guarantees.md says isn't found: on a server
// elsewhere, whose files nobody can read, a commit whose record is damaged in its
// sequence or its subject isn't its key's head any more. Everything else that
// reads the feed has to be right, or loud.
func (r *flipResult) unseen() {
	feed, ofFeed := strings.CutPrefix(strings.TrimSuffix(r.flip.what, " *.blk"), flipApp+"_")
	if !r.flip.shape.separate || !ofFeed || !r.flip.whose {
		return
	}
	found := r.findings
	r.findings, r.kind = nil, flipRight
	for _, f := range found {
		if f.Kind == flipSilent && strings.HasSuffix(f.Step, ": heads of "+feed) {
			f.Kind = flipUnseen
		}
		r.add(f)
	}
}

// findingsOf are those of a kind.
func (r *flipResult) findingsOf(k flipKind) (s string) {
	for _, f := range r.findings {
		if f.Kind == k {
			s += fmt.Sprintf("\n      %s: %s", f.Step, f.Detail)
		}
	}
	return s
}

// report counts the results by kind, and lists all that aren't as they should
// be.
func reportFlips(t *testing.T, results []flipResult) {
	t.Helper()
	slices.SortFunc(results, func(a, b flipResult) int { return cmp.Compare(a.flip.seed, b.flip.seed) })
	counts := map[flipKind]int{}
	of := map[string]map[flipKind]int{}
	for _, r := range results {
		counts[r.kind]++
		if of[r.flip.what] == nil {
			of[r.flip.what] = map[flipKind]int{}
		}
		of[r.flip.what][r.kind]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d flipped bits:", len(results))
	for _, k := range flipKinds {
		fmt.Fprintf(&b, " %d %s,", counts[k], k)
	}
	for _, what := range slices.Sorted(maps.Keys(of)) {
		fmt.Fprintf(&b, "\n  %-40s %v", what, of[what])
	}
	for _, r := range results {
		if r.kind != flipRight && r.kind != flipLoud {
			fmt.Fprintf(&b, "\n  %s: %v%s", r.kind, r.flip, r.findingsOf(r.kind))
		}
		if r.stack != "" {
			fmt.Fprintf(&b, "\n%s", r.stack)
		}
	}
	t.Log(b.String())
	// What isn't found is rare: a record in a hundred is a key's last one, and of
	// it the part that says whose it is.
	if n := counts[flipUnseen]; n > 2+len(results)/100 {
		t.Errorf("%d of %d flipped bits weren't found", n, len(results))
	}
	for _, k := range []flipKind{flipUntyped, flipSilent, flipWait, flipPanic} {
		if counts[k] > 0 {
			t.Errorf("%d of %d flipped bits: %s", counts[k], len(results), k)
		}
	}
}

func TestCrashOf(t *testing.T) {
	for _, c := range []struct {
		stderr string
		want   flipKind
	}{
		{"all is well\n", ""},
		{"x\npanic: runtime error: index out of range\n\ngoroutine 7 [running]:\ngithub.com/nats-io/nats-server/v2/server.(*fileStore).x(0x1)\n\t/a.go:1\ngithub.com/tidemark-es/tidemark/eventlog.y()\n", flipServerPanic},
		{"panic: oops\n\ngoroutine 7 [running]:\npanic({0x1, 0x2})\n\t/b.go:1\nencoding/json.x()\n\t/c.go:1\ngithub.com/tidemark-es/tidemark/lease.y()\n\t/d.go:2\n", flipPanic},
		{"fatal error: runtime: cannot allocate memory\n\ngoroutine 1 gp=0x1 [running]:\nruntime.x()\n\t/b.go:1\n\ngoroutine 2 [select]:\ngithub.com/nats-io/nats-server/v2/server.x()\n", flipPanic},
	} {
		if got, _ := crashOf(c.stderr); got != c.want {
			t.Errorf("%q: %q, want %q", c.stderr, got, c.want)
		}
	}
}
