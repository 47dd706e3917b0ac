package projection

import (
	"runtime/debug"

	"github.com/tidemark-es/tidemark/internal/panics"
)

// contain turns a panic of the user's code into an error.
func contain(err *error) {
	if r := recover(); r != nil {
		*err = &PanicError{Value: r, At: panics.Place()}
	}
}

// containStack is contain with the stack of the panic.
func containStack(err *error, stack *string) {
	if r := recover(); r != nil {
		*err = &PanicError{Value: r, At: panics.Place()}
		*stack = string(debug.Stack())
	}
}

// hook calls a function of Config. Its panic ends nothing, and is logged.
func (u *unit) hook(name string, fn func()) {
	err := func() (err error) {
		defer contain(&err)
		fn()
		return nil
	}()
	if err != nil {
		u.rt.cfg.Logger.Error().Err(err).Str("unit", u.name).Msg("projection: Config." + name + " panicked")
	}
}
