package projection_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// scaled is a table of deposits, each times a factor, as values of any kind.
func scaled[V any](b *bank, factor int64, to func(int64) V, from func(V) int64, opts ...projection.TableOption) *projection.Table[string, V] {
	src := projection.NewTable[string, V]("src", opts...)
	projection.On(src, b.accounts, func(tx *projection.Tx[string, V], e eventlog.Event, d deposited) error {
		tx.Put(e.Key, to(from(tx.Value(e.Key))+factor*d.Cents))
		return nil
	})
	return src
}

// summed adds the rows of a table up, from one change to the next.
func summed[V any](src *projection.Table[string, V], from func(V) int64, bad int64) *projection.Table[string, int64] {
	sum := projection.NewTable[string, int64]("sum", projection.Derived())
	projection.OnChange(sum, src, func(tx *projection.Tx[string, int64], c projection.Change[string, V]) error {
		by := from(c.New) - from(c.Old)
		if by == bad {
			return errors.New("bad")
		}
		tx.Put("sum", tx.Value("sum")+by)
		return nil
	})
	return sum
}

// T2.12: whatever it is by which the present rows of a table aren't those that
// a table behind it was built from, that one comes out right.
func TestReadersOfOtherRows(t *testing.T) {
	type before struct{ A int64 }
	type now struct{ B int64 }
	plain := func(v int64) int64 { return v }
	toBefore, ofBefore := func(v int64) before { return before{v} }, func(v before) int64 { return v.A }
	toNow, ofNow := func(v int64) now { return now{v} }, func(v now) int64 { return v.B }
	two := projection.Version(2)
	ten := projection.Migrate(0, func(_ string, v int64) (int64, bool) { return 10 * v, true })
	for what, program := range map[string]func(b *bank, later bool) (projection.Projection, *projection.Table[string, int64]){
		"a migration": func(b *bank, later bool) (projection.Projection, *projection.Table[string, int64]) {
			src := scaled(b, 1, plain, plain)
			if later {
				src = scaled(b, 10, plain, plain, two, ten)
			}
			return src, summed(src, plain, 0)
		},
		"another codec": func(b *bank, later bool) (projection.Projection, *projection.Table[string, int64]) {
			src := scaled(b, 1, plain, plain, projection.Codec(eventlog.JSON))
			if later {
				src = scaled(b, 10, plain, plain, two)
			}
			return src, summed(src, plain, 0)
		},
		"other fields": func(b *bank, later bool) (projection.Projection, *projection.Table[string, int64]) {
			if later {
				src := scaled(b, 10, toNow, ofNow, two)
				return src, summed(src, ofNow, 0)
			}
			src := scaled(b, 1, toBefore, ofBefore)
			return src, summed(src, ofBefore, 0)
		},
		"a reader that had stopped": func(b *bank, later bool) (projection.Projection, *projection.Table[string, int64]) {
			if later {
				src := scaled(b, 10, plain, plain, two)
				return src, summed(src, plain, 0)
			}
			src := scaled(b, 1, plain, plain)
			return src, summed(src, plain, 13)
		},
	} {
		b := openBank(t, logtest.Options(t))
		src, sum := program(b, false)
		rt := b.start(t, projection.Config{}, src, sum)
		var at eventlog.Position
		for i, cents := range []int64{1, 2, 13, 4} {
			at = b.append(t, string(rune('a'+i)), deposited{cents})
		}
		if err := src.(interface {
			WaitFor(context.Context, eventlog.Position) error
		}).WaitFor(logtest.Context(t), at); err != nil {
			t.Fatal(err)
		}
		src, sum = program(b, true)
		b.restart(t, rt, src, sum)
		equal(t, what, sum, map[string]int64{"sum": 200})
	}
}

// A table behind one that isn't saved, in a unit that is joined to another one
// that is further: it is told what lies between.
func TestJoinedBehindUnsaved(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	program := func() (src, sum, other, joined *projection.Table[string, int64], all []projection.Projection) {
		plain := func(v int64) int64 { return v }
		src = scaled(b, 1, plain, plain)
		between := projection.Map("between", src, func(_ string, v int64) int64 { return v }, projection.Unsaved())
		sum, other = summed(between, plain, 0), b.balances()
		joined = projection.Join("joined", src, other, func(_ string, l, r int64) int64 { return l + r })
		return src, sum, other, joined, []projection.Projection{src, between, sum, other, joined}
	}
	_, _, _, _, all := program()
	rt := b.start(t, projection.Config{}, all[:3]...)
	wait(t, rt, b.append(t, "ada", deposited{1}))
	_, _, other, _, _ := program()
	rt = b.restart(t, rt, other)
	wait(t, rt, b.append(t, "ada", deposited{2}))
	_, sum, _, joined, all := program()
	b.restart(t, rt, all...)
	equal(t, "sum", sum, map[string]int64{"sum": 3})
	equal(t, "joined", joined, map[string]int64{"ada": 6})
}
