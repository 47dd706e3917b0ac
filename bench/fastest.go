package main

import (
	"context"
	"fmt"
	"slices"
)

// fastest tries each candidate for a baseline's settings twice, with less to
// do, and returns the one with the highest rate. With -quick it is the first.
func fastest[T any](ctx context.Context, e *env, what string, candidates []T, try func(ctx context.Context, e *env, candidate T) (rate float64, err error)) (best T, err error) {
	if e.only != nil {
		candidates = slices.DeleteFunc(candidates, func(c T) bool { return !e.only.MatchString(fmt.Sprint(c)) })
	}
	switch {
	case len(candidates) == 0:
		return best, fmt.Errorf("%w: -baseline %q matches no candidate", errUsage, e.only)
	case len(candidates) == 1 || e.quick:
		return candidates[0], nil
	}
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	rates := make([]float64, len(candidates))
	for range 2 {
		for i, c := range candidates {
			if ctx.Err() != nil {
				return best, context.Cause(ctx)
			}
			rate, err := try(ctx, e.less(), c)
			if err != nil {
				return best, fmt.Errorf("trying %v: %w", c, err)
			}
			rates[i] = max(rates[i], rate)
		}
	}
	for i, r := range rates {
		e.logf("%s, tried %v: %s/s", what, candidates[i], number(r))
	}
	return candidates[slices.Index(rates, slices.Max(rates))], nil
}
