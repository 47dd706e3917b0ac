package racetest

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model tells good histories from bad ones.
func TestModel(t *testing.T) {
	write := func(from, to int64, c call, a answer) porcupine.Operation {
		return porcupine.Operation{Call: from, Return: to, Input: c, Output: a}
	}
	at := func(seqs ...uint64) answer { return answer{stored: true, seqs: seqs} }
	exact := func(key int, seq uint64, tags ...int) part {
		return part{key: key, exact: true, expect: seq, tags: tags}
	}
	one := func(p ...part) call { return call{parts: p} }
	guarded := func(tag int, after uint64, p part) call { return call{parts: []part{p}, guards: []guard{{tag, after}}} }
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"one after another":   {[]porcupine.Operation{write(0, 1, one(exact(0, 0)), at(1)), write(2, 3, one(exact(0, 1)), at(2))}, true},
		"stale":               {[]porcupine.Operation{write(0, 1, one(exact(0, 0)), at(1)), write(2, 3, one(exact(0, 0)), at(2))}, false},
		"stale, at once":      {[]porcupine.Operation{write(0, 9, one(exact(0, 0)), at(1)), write(0, 9, one(exact(0, 0)), at(2))}, false},
		"refused for nothing": {[]porcupine.Operation{write(0, 1, one(exact(0, 0)), answer{})}, false},
		"refused rightly":     {[]porcupine.Operation{write(0, 9, one(exact(0, 0)), at(1)), write(0, 9, one(exact(0, 0)), answer{})}, true},
		"half of it stale":    {[]porcupine.Operation{write(0, 1, one(exact(0, 0)), at(1)), write(2, 3, one(exact(1, 0), exact(0, 0)), at(2, 3))}, false},
		"guard":               {[]porcupine.Operation{write(0, 1, one(exact(0, 0, 2)), at(1)), write(2, 3, guarded(2, 1, exact(1, 0)), at(3))}, true},
		"stale guard":         {[]porcupine.Operation{write(0, 1, one(exact(0, 0, 2)), at(1)), write(2, 3, guarded(2, 0, exact(1, 0)), at(3))}, false},
		"sequence used again": {[]porcupine.Operation{write(0, 1, one(part{key: 0}), at(5)), write(2, 3, one(part{key: 1}), at(5))}, false},
		"unknown, and later":  {[]porcupine.Operation{write(0, math.MaxInt64, one(part{key: 0}), at(2)), write(2, 3, one(exact(0, 0)), at(1))}, true},
	} {
		if got := porcupine.CheckOperations(model, c.history); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
