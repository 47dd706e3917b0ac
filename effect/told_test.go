package effect_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// hooked are options whose hooks and log are kept.
type hooked struct {
	mu     sync.Mutex
	told   []string
	errs   []error
	lines  logtest.Lines
	broken bool // the hooks panic
}

func (h *hooked) options(attempts int) effect.Options {
	logger := zerolog.New(&h.lines)
	hook := func(name string) func(effect.Failure) {
		return func(f effect.Failure) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.told = append(h.told, fmt.Sprintf("%s %s %s %s %d again=%v %v", name, f.Outbox, f.Key, f.Cause, f.Attempt, f.Again > 0, f.GaveUp))
			h.errs = append(h.errs, f.Err)
			if h.broken {
				panic("hook")
			}
		}
	}
	return effect.Options{Attempts: attempts, Logger: &logger, Failed: hook("failed"), GaveUp: hook("gave up")}
}

// Every attempt that fails is a warning, and an effect that is given up an
// error; both are told to the hooks, whose panics end nothing.
func TestFailuresAreTold(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("hooks panic=%v", broken), func(t *testing.T) {
			s, p := openShop(t, logtest.Fresh(t), 1), newPost()
			p.fail = func(e effect.Effect[mail]) error {
				if e.Key == "ada" {
					return errAway
				}
				return nil
			}
			h := &hooked{broken: broken}
			s.order("ada", "bob")
			s.run(p, h.options(3))
			s.outcomes(4)
			s.stop()
			want := []string{"failed mails ada orders@1 1 again=true false", "failed mails ada orders@1 2 again=true false", "gave up mails ada orders@1 3 again=false true"}
			if !slices.Equal(h.told, want) {
				t.Errorf("told %q", h.told)
			}
			for _, err := range h.errs {
				if !errors.Is(err, errAway) {
					t.Errorf("not the handler's error: %v", err)
				}
			}
			id := s.mails.Parked()[0].ID
			if n := h.lines.Count(`"level":"warn"`, "an attempt failed", id, errAway.Error(), `"key":"ada"`); n != 2 {
				t.Errorf("%d warnings:\n%s", n, &h.lines)
			}
			if n := h.lines.Count(`"level":"error"`, "given up", id, `"attempt":3`); n != 1 {
				t.Errorf("%d errors:\n%s", n, &h.lines)
			}
			if n := h.lines.Count("panicked at", "told_test.go:"); (n == 3) != broken || (n == 0) == broken {
				t.Errorf("%d lines of panics", n)
			}
		})
	}
}

// A handler's panic is a failure whose line says where it was.
func TestPanicOfAnEffectSaysWhere(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	p.fail = func(effect.Effect[mail]) error { panic("no paper") }
	h := &hooked{}
	s.order("ada")
	s.run(p, h.options(1))
	s.outcomes(1)
	s.stop()
	if n := h.lines.Count(`"level":"error"`, `"error":"panic at `, "told_test.go:", "no paper", `"stack":"`); n != 1 {
		t.Errorf("%d lines:\n%s", n, &h.lines)
	}
	if got := s.mails.Parked()[0].Error; !strings.Contains(got, "told_test.go:") {
		t.Errorf("recorded: %s", got)
	}
}

// Where everything fails, the log is of a bounded length, and says how much it
// leaves out; the hooks are told of all.
func TestManyFailuresAreFewLines(t *testing.T) {
	s, p := openShop(t, logtest.Fresh(t), 1), newPost()
	p.fail = func(effect.Effect[mail]) error { return errAway }
	h := &hooked{}
	s.order("a", "b", "c", "d", "e", "f")
	s.run(p, h.options(5))
	s.outcomes(30)
	s.stop()
	if n := h.lines.Count("an attempt failed"); n != 10 {
		t.Errorf("%d warnings of 24 failures", n)
	}
	if n := h.lines.Count("given up"); n != 6 {
		t.Errorf("%d errors of 6 effects", n)
	}
	if len(h.told) != 30 {
		t.Errorf("the hooks were told %d times", len(h.told))
	}
}

// An outbox for which nothing states effects would do nothing, in silence.
func TestOutboxWithoutHandlers(t *testing.T) {
	log := logtest.Fresh(t)
	ctx := logtest.Context(t)
	mails, err := effect.New[mail](ctx, log, "mails", 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]projection.Projection{"alone": mails, "in a unit": projection.NewUnit("u", mails)} {
		if _, err := projection.Start(ctx, log, p); !errors.Is(err, projection.ErrInvalid) || !strings.Contains(err.Error(), `"mails" has no handler`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	effect.On[mail, Placed](mails, nil, nil)
	if _, err := projection.Start(ctx, log, mails); !errors.Is(err, projection.ErrInvalid) {
		t.Errorf("a nil handler: %v", err)
	}
}
