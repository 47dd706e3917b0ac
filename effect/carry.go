package effect

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/internal/panics"
)

// outcomeOf is what becomes of an effect by its n-th attempt. Its error is the
// caller's: neither its length nor what its methods do may keep it from being
// recorded.
func outcomeOf(n int, err error, most int) (outcome any) {
	if err == nil {
		return Done{Attempts: n}
	}
	permanent, text := false, textOf(err)
	func() {
		defer func() { _ = recover() }()
		permanent = errors.Is(err, ErrPermanent)
	}()
	if len(text) > maxError {
		text = text[:maxError] + " …"
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	if permanent || n >= most {
		return GaveUp{Attempts: n, Error: text}
	}
	return Failed{Attempts: n, Error: text}
}

// carry calls do. A panic is an error, and so is a goroutine that do ends
// (runtime.Goexit, as t.FailNow does), and a do that goes on for long after its
// context has ended: it is left behind.
func carry[I any](ctx context.Context, e Effect[I], do func(ctx context.Context, e Effect[I]) error, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := errors.New("the handler has ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic at %s: %v\n%s", panics.Place(), p, debug.Stack())
			}
			ended <- err
		}()
		err = do(ctx, e)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(finalTimeout):
		return fmt.Errorf("the handler doesn't heed its context, which ended %s ago, and was left behind: %w", finalTimeout, context.Cause(ctx))
	}
}
