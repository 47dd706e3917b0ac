package command

import (
	"context"
	"fmt"
)

// Handler carries out one kind of command by a function that is a value of
// its own, and can be tested as such: state and command in, events out.
type Handler[V, C any] struct {
	d      *Decider[V]
	decide func(state V, cmd C) ([]any, error)
}

// Handle makes a handler of commands of type C. decide has the duties of that
// of Decider.Do. Handlers of one decider share its queues.
func Handle[V, C any](d *Decider[V], decide func(state V, cmd C) ([]any, error)) Handler[V, C] {
	return Handler[V, C]{d: d, decide: decide}
}

// Do carries out a command on a key; see Decider.Do.
func (h Handler[V, C]) Do(ctx context.Context, key string, cmd C, opts ...Option) (Result, error) {
	if h.d == nil {
		return Result{}, fmt.Errorf("command: %w: a handler without a decider: make it by Handle, of one that New returned", ErrInvalid)
	}
	if h.decide == nil {
		return h.d.Do(ctx, key, nil, opts...)
	}
	return h.d.Do(ctx, key, func(state V) ([]any, error) { return h.decide(state, cmd) }, opts...)
}
