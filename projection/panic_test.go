package projection_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// lineHere is file and line of its caller, so many lines further.
func lineHere(further int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", file, line+further)
}

// A reducer's panic is told in one line of the log, with the line of the
// program that panicked: in a handler, in an operator's function that is called
// through ours, in a partition, in a model, and in a hook.
func TestPanicSaysWhere(t *testing.T) {
	type tx = *projection.Tx[string, int64]
	for name, build := range map[string]func(b *bank) (projection.Projection, string){
		"handler": func(b *bank) (projection.Projection, string) {
			tab := projection.NewTable[string, int64]("broken")
			projection.On(tab, b.accounts, func(tx, eventlog.Event, deposited) error { panic("broken") })
			return tab, lineHere(-1)
		},
		"operator": func(b *bank) (projection.Projection, string) {
			src := b.balances()
			at := lineHere(1)
			f := projection.Filter("broken", src, func(string, int64) bool { panic("broken") })
			return projection.NewUnit("u", src, f), at
		},
		"partition": func(b *bank) (projection.Projection, string) {
			p := projection.NewPartitioned[int64]("broken", 2)
			projection.OnRow(p, b.accounts, func(projection.Row[int64], eventlog.Event, deposited) error { panic("broken") })
			return p, lineHere(-1)
		},
		"map": func(b *bank) (projection.Projection, string) {
			var none map[string]int
			tab := projection.NewTable[string, int64]("broken")
			projection.On(tab, b.accounts, func(_ tx, e eventlog.Event, _ deposited) error {
				none[e.Key]++
				return nil
			})
			return tab, lineHere(-3)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := openBank(t, inMemory(t))
			p, want := build(b)
			cfg, lines := logged(projection.Config{NoSnapshots: true})
			rt := b.start(t, cfg, p)
			err := rt.Wait(logtest.Context(t), b.append(t, "ada", deposited{1}))
			if e, ok := errors.AsType[*projection.PanicError](err); !ok || e.At != want {
				t.Errorf("at %v, want %s", err, want)
			}
			_ = rt.Close() // the line is written after the waiting ends
			if n := lines.Count(`"level":"error"`, "stopped", want); n != 1 {
				t.Errorf("%d lines have it:\n%s", n, lines)
			}
		})
	}
}

// A panic of a hook, too.
func TestPanicOfAHookSaysWhere(t *testing.T) {
	b := openBank(t, inMemory(t))
	cfg, lines := logged(projection.Config{NoSnapshots: true})
	cfg.Stopped = func(*projection.StoppedError) { panic("in the hook") }
	at := lineHere(-1)
	rt := b.start(t, cfg, b.balances())
	err := rt.Wait(logtest.Context(t), b.append(t, "ada", withdrawn{1}))
	if !errors.Is(err, projection.ErrStopped) {
		t.Fatal(err)
	}
	_ = rt.Close()
	if n := lines.Count("Config.Stopped panicked", at); n != 1 || strings.Count(lines.String(), "in the hook") != 1 {
		t.Errorf("%d lines:\n%s", n, lines)
	}
}
