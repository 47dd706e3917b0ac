package projection_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/timeframe"
)

// sources says where the projections of a start got their state from.
func sources(t testing.TB, rt *projection.Runtime, names ...string) string {
	t.Helper()
	var s []string
	for _, n := range names {
		s = append(s, string(status(t, rt, n).Recovery.Source))
	}
	return strings.Join(s, " ")
}

func (b *bank) restart(t testing.TB, rt *projection.Runtime, ps ...projection.Projection) *projection.Runtime {
	t.Helper()
	if rt != nil {
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.start(t, projection.Config{}, ps...)
}

// A table that is added keeps the snapshot of what it reads: a Derived one is
// built from the rows, and another one by a replay that ends where the
// snapshot does.
func TestAddedTable(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	rt := b.start(t, projection.Config{}, balances)
	b.append(t, "ada", deposited{1})
	b.append(t, "ada", deposited{2})
	if err := rt.Wait(logtest.Context(t), b.append(t, "bob", deposited{4})); err != nil {
		t.Fatal(err)
	}
	scaled := func(src *projection.Table[string, int64]) *projection.Table[string, int64] {
		return projection.Map("scaled", src, func(_ string, v int64) int64 { return 10 * v })
	}
	balances = b.balances()
	s := scaled(balances)
	rt = b.restart(t, rt, balances, s)
	if got := sources(t, rt, "balances", "scaled"); got != "snapshot rows" {
		t.Errorf("restored from %s", got)
	}
	equal(t, "built", s, map[string]int64{"ada": 30, "bob": 40})
	b.append(t, "bob", deposited{1})

	// And one that counts the changes, which no row tells.
	balances = b.balances()
	s = scaled(balances)
	changes := projection.NewTable[string, int]("changes")
	projection.OnChange(changes, s, func(tx *projection.Tx[string, int], c projection.Change[string, int64]) error {
		tx.Put(c.Key, tx.Value(c.Key)+1)
		return nil
	})
	rt = b.restart(t, rt, changes, s, balances)
	if got := sources(t, rt, "balances", "scaled", "changes"); got != "replay replay replay" {
		t.Errorf("restored from %s", got)
	}
	equal(t, "counted", changes, map[string]int{"ada": 2, "bob": 2})

	// Then all of it comes from one snapshot.
	balances = b.balances()
	s = scaled(balances)
	rt = b.restart(t, rt, balances, s)
	if got := sources(t, rt, "balances", "scaled"); got != "snapshot snapshot" {
		t.Errorf("restored from %s", got)
	}
	equal(t, "restored", s, map[string]int64{"ada": 30, "bob": 50})
}

// Two tables that were units of their own and are joined keep their
// snapshots, though they stand at different places.
func TestJoinedUnits(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	balances, notes := b.balances(), b.notes()
	rt := b.start(t, projection.Config{}, notes)
	b.append(t, "ada", deposited{1})
	if err := rt.Wait(ctx, b.audit(t, "ada", "x")); err != nil {
		t.Fatal(err)
	}
	rt = b.restart(t, rt, balances)
	if err := rt.Wait(ctx, b.append(t, "bob", deposited{2})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		balances, notes = b.balances(), b.notes()
		joined := projection.LeftJoin("joined", balances, notes, func(_ string, l int64, r int, _ bool) int64 { return l + int64(r) })
		rt = b.restart(t, rt, joined, notes, balances)
		if got := sources(t, rt, "balances", "notes"); got != "snapshot snapshot" {
			t.Errorf("restored from %s", got)
		}
		if u := status(t, rt, "notes").Unit; u != "balances" {
			t.Errorf("unit %q", u)
		}
		equal(t, "joined", joined, map[string]int64{"ada": 1002, "bob": 1002})
	}
	if got := sources(t, rt, "joined"); got != "snapshot" {
		t.Errorf("restored from %s", got)
	}
}

// R2.13, T2.12: when the version of a table is raised, what reads it is told
// just the rows that come out differently.
func TestCorrectiveDifference(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	program := func(version uint64) (src, low *projection.Table[string, int64], told *[]projection.Change[string, int64]) {
		src = projection.NewTable[string, int64]("src", projection.Version(version))
		projection.On(src, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			if version == 1 && d.Cents == 13 {
				return nil // the bug
			}
			tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
			return nil
		})
		low = projection.NewTable[string, int64]("low", projection.Derived())
		told = new([]projection.Change[string, int64])
		projection.OnChange(low, src, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
			*told = append(*told, c)
			tx.Put("sum", tx.Value("sum")+c.New-c.Old)
			return nil
		})
		return src, low, told
	}
	src, low, _ := program(1)
	rt := b.start(t, projection.Config{}, src, low)
	for i := range int64(20) {
		b.append(t, string(rune('a'+i)), deposited{i})
	}
	if err := rt.Wait(ctx, b.append(t, "a", deposited{13})); err != nil {
		t.Fatal(err)
	}
	equal(t, "wrong", low, map[string]int64{"sum": 190 - 13})
	src, low, told := program(2)
	rt = b.restart(t, rt, low, src)
	if got := sources(t, rt, "src", "low"); got != "replay snapshot" {
		t.Errorf("restored from %s", got)
	}
	equal(t, "mended", low, map[string]int64{"sum": 190 + 13})
	if len(*told) != 2 {
		t.Fatalf("told %+v", *told)
	}
	for _, c := range *told {
		if !c.Cause.Rebuild() || c.New-c.Old != 13 || (c.Key != "n" && c.Key != "a") {
			t.Errorf("told %+v", c)
		}
	}
	// What was mended is saved.
	if err := rt.Wait(ctx, b.append(t, "z", deposited{1})); err != nil {
		t.Fatal(err)
	}
	src, low, told = program(2)
	rt = b.restart(t, rt, low, src)
	if got := sources(t, rt, "src", "low"); got != "snapshot snapshot" || len(*told) != 0 {
		t.Errorf("restored from %s, told %v", got, *told)
	}
	equal(t, "restored", low, map[string]int64{"sum": 204})
}

// What could not be built, or not be corrected, isn't taken for whole at the
// next start, when the code is mended and no event has come.
func TestFailureWhileRestoringIsMended(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	program := func(version uint64, bad bool) (src, low, more *projection.Table[string, int64], all []projection.Projection) {
		src = projection.NewTable[string, int64]("src", projection.Version(version))
		projection.On(src, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
			tx.Put(e.Key, int64(version)*d.Cents)
			return nil
		})
		minus := func(_ string, v int64) int64 {
			if bad {
				panic("bad")
			}
			return -v
		}
		low = projection.Map("low", src, minus)
		more = projection.Map("more", src, minus)
		lower := projection.Map("lower", low, func(_ string, v int64) int64 { return 2 * v })
		return src, low, lower, []projection.Projection{src, low, lower, more}[:3+min(1, version-1)]
	}
	_, _, _, all := program(1, false)
	rt := b.start(t, projection.Config{}, all...)
	wait(t, rt, b.append(t, "ada", deposited{1}))
	_, low, behind, all := program(2, true)
	rt = b.restart(t, rt, all...)
	if !errors.Is(behind.Err(), projection.ErrUpstream) || behind.Len() != 0 {
		t.Errorf("what reads it: %v, %v", contents(behind), behind.Err())
	}
	if low.Err() == nil || low.Len() != 0 || !low.At().IsEmpty() {
		t.Fatalf("not corrected: %v at %s, %v", contents(low), low.At(), low.Err())
	}
	_, low, lower, all := program(2, false)
	rt = b.restart(t, rt, all...)
	if got := sources(t, rt, "src", "low", "lower", "more"); got != "snapshot rows rows rows" {
		t.Errorf("restored from %s", got)
	}
	equal(t, "low", low, map[string]int64{"ada": -2})
	equal(t, "lower", lower, map[string]int64{"ada": -4})
	equal(t, "more", all[3].(*projection.Table[string, int64]), map[string]int64{"ada": -2})
}

// Two readers of a table of another version whose snapshots are of different
// places: what the one is told is relative to what it was built from, and not
// to what the other was.
func TestCorrectionOfReadersApart(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}} {
		b := openBank(t, logtest.Options(t))
		program := func(version uint64) []projection.Projection {
			src := projection.NewTable[string, int64]("src", projection.Version(version))
			projection.On(src, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
				tx.Put(e.Key, tx.Value(e.Key)+int64(version)*d.Cents)
				return nil
			})
			sum := func(name string) *projection.Table[string, int64] {
				t := projection.NewTable[string, int64](name, projection.Derived())
				projection.OnChange(t, src, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
					tx.Put("sum", tx.Value("sum")+c.New-c.Old)
					return nil
				})
				return t
			}
			return []projection.Projection{src, sum("kept"), sum("left-out")}
		}
		rt := b.start(t, projection.Config{}, program(1)...)
		wait(t, rt, b.append(t, "ada", deposited{1}))
		rt = b.restart(t, rt, program(1)[:2]...) // without the second one
		wait(t, rt, b.append(t, "ada", deposited{10}))
		all := program(2)
		b.restart(t, rt, all[order[0]], all[order[1]], all[order[2]])
		for _, p := range all[1:] {
			sum := p.(*projection.Table[string, int64])
			equal(t, sum.Name(), sum, map[string]int64{"sum": 22})
		}
	}
}

// The state of a graph as of a timeframe is built as any other: from a
// snapshot that is old enough, the rest beside it, and the events between.
func TestGraphAsOf(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	program := func() (src, low, high *projection.Table[string, int64], count *projection.Table[string, int]) {
		src = b.balances()
		low = projection.Map("low", src, func(_ string, v int64) int64 { return -v })
		high = projection.Filter("high", low, func(_ string, v int64) bool { return v < -10 }, projection.Unsaved())
		count = projection.NewTable[string, int]("count")
		projection.OnChange(count, high, func(tx *projection.Tx[string, int], c projection.Change[string, int64]) error {
			tx.Put(c.Key, tx.Value(c.Key)+1)
			return nil
		})
		return src, low, high, count
	}
	src, low, high, _ := program()
	rt := b.start(t, often(2), src, low, high)
	for i := range int64(10) {
		if err := rt.Wait(ctx, b.append(t, "ada", deposited{i})); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int64{0, 1, 7, 10} {
		src, low, high, count := program()
		at := must(timeframe.FromMap(map[string]uint64{"accounts": uint64(n)}))(t)
		must(projection.AsOf(ctx, b.log, at, src, low, high, count))(t)
		sum := n * (n - 1) / 2
		if v, _ := low.Get("ada"); v != -sum {
			t.Errorf("low at %d: %d", n, v)
		}
		if v, ok := high.Get("ada"); ok != (sum > 10) || (ok && v != -sum) {
			t.Errorf("high at %d: %d", n, v)
		}
		if v, _ := count.Get("ada"); v != int(max(0, n-5)) {
			t.Errorf("count at %d: %d", n, v)
		}
	}
}

// The user's code may fail while a graph is restored, too: a handler that is
// told rows, and the comparison that finds the corrective difference. What it
// fails for stops, and what reads that; the rest goes on.
func TestFailureWhileRestoring(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	program := func(version uint64, bad bool) (src, low, more *projection.Table[string, int64]) {
		src = b.balances(projection.Version(version), projection.Equal(func(a, b int64) bool {
			if bad && version == 2 {
				panic("equal")
			}
			return a == b
		}))
		low = projection.Map("low", src, func(_ string, v int64) int64 { return -v })
		more = projection.Map("more", src, func(_ string, v int64) int64 {
			if bad {
				panic("more")
			}
			return v
		}, projection.Unsaved())
		return src, low, more
	}
	src, low, _ := program(1, false)
	rt := b.start(t, projection.Config{}, src, low)
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{1})); err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint64{1, 2} {
		src, low, more := program(version, true)
		rt = b.restart(t, rt, src, low, more)
		pe, ok := errors.AsType[*projection.PanicError](more.Err())
		if !ok || more.Len() != 0 {
			t.Errorf("version %d: more: %v, %d rows", version, more.Err(), more.Len())
		}
		if broken := version == 2; (src.Err() != nil) != broken || (low.Err() != nil) != broken || (ok && broken != (pe.Value == "equal")) {
			t.Errorf("version %d: %v; %v; %v", version, src.Err(), low.Err(), more.Err())
		}
	}
	src, low, more := program(2, false)
	rt = b.restart(t, rt, src, low, more)
	if err := rt.Wait(ctx, b.append(t, "ada", deposited{1})); err != nil {
		t.Fatal(err)
	}
	equal(t, "src", src, map[string]int64{"ada": 2})
	equal(t, "low", low, map[string]int64{"ada": -2})
	equal(t, "more", more, map[string]int64{"ada": 2})
}
