package projection_test

import (
	"maps"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"pgregory.net/rapid"
)

// corrected is a program with a bug that its second version hasn't: a source,
// a table between that rounds, so that not all of what is mended matters
// behind it, and one at the end that takes down what it is told.
type corrected struct {
	src, between, end *projection.Table[string, int64]
	told              []projection.Change[string, int64]
}

func correctedProgram(b *bank, version uint64, bug, round int64) *corrected {
	p := &corrected{}
	type tx = *projection.Tx[string, int64]
	p.src = projection.NewTable[string, int64]("src", projection.Version(version))
	projection.On(p.src, b.accounts, func(t tx, e eventlog.Event, d deposited) error {
		if version == 1 && d.Cents == bug {
			t.Delete(e.Key) // rows are missing, too
			return nil
		}
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	projection.On(p.src, b.accounts, func(t tx, e eventlog.Event, _ closed) error {
		if version == 1 && bug%2 == 0 {
			return nil // or are left over
		}
		t.Delete(e.Key)
		return nil
	})
	p.between = projection.Map("between", p.src, func(_ string, x int64) int64 { return x / round })
	p.end = projection.NewTable[string, int64]("end", projection.Derived())
	projection.OnChange(p.end, p.between, func(t tx, c projection.Change[string, int64]) error {
		p.told = append(p.told, c)
		if old, had := t.Get(c.Key); old != c.Old || had != c.Had {
			t.Put("wrong", 1) // what it is told doesn't follow what it has
		}
		if c.Has {
			t.Put(c.Key, c.New)
		} else {
			t.Delete(c.Key)
		}
		return nil
	})
	return p
}

func (p *corrected) all() []projection.Projection {
	return []projection.Projection{p.end, p.between, p.src}
}

// R2.13, T2.12: for random histories and bugs, a version that is raised tells
// those behind it each row that comes out differently once, from what they had
// to what is right, and no other; then the commits behind the snapshot. The
// same version tells nothing.
func TestCorrectionProperty(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a log for each of many runs; TestCorrectiveDifference runs")
	}
	rapid.Check(t, func(rt *rapid.T) {
		ctx := logtest.Context(t)
		log := must(eventlog.Open(ctx, eventlog.Options{App: logtest.App(t), Memory: true}))(t)
		defer log.Close()
		b := bankOf(t, log)
		bug, round := rapid.Int64Range(1, 4).Draw(rt, "bug"), rapid.Int64Range(1, 4).Draw(rt, "round")
		commits := func(label string) (last eventlog.Position) {
			for range rapid.IntRange(1, 12).Draw(rt, label) {
				var e any = deposited{rapid.Int64Range(1, 4).Draw(rt, "cents")}
				if rapid.IntRange(0, 4).Draw(rt, "close") == 0 {
					e = closed{}
				}
				last = b.append(t, rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "key"), e)
			}
			return last
		}
		start := func(version uint64) (*corrected, *projection.Runtime) {
			p := correctedProgram(b, version, bug, round)
			return p, must(projection.Config{}.Start(ctx, log, p.all()...))(t)
		}
		at := commits("before")
		wrong, run := start(1)
		had := contents(wrong.between)
		if err := run.Close(); err != nil { // saved here
			rt.Fatal(err)
		}
		right := correctedProgram(b, 2, bug, round)
		bare := must(projection.Config{NoSnapshots: true}.Start(ctx, log, right.all()...))(t)
		want := differences(had, contents(right.between))
		if err := bare.Close(); err != nil {
			rt.Fatal(err)
		}
		more := rapid.Bool().Draw(rt, "more")
		if more {
			at = commits("behind")
		}
		mended, run := start(2)
		if err := run.Wait(ctx, at); err != nil {
			rt.Fatal(err)
		}
		correctly(rt, mended.told, want, more)
		if g := contents(mended.end); !maps.Equal(g, contents(mended.between)) {
			rt.Fatalf("mended: %v, want %v", g, contents(mended.between))
		}
		if err := run.Close(); err != nil {
			rt.Fatal(err)
		}
		again, run := start(2)
		if len(again.told) != 0 || !maps.Equal(contents(again.end), contents(mended.between)) {
			rt.Fatalf("told again %v: %v, want %v", again.told, contents(again.end), contents(mended.between))
		}
		if err := run.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

// correctly checks that what was told begins with the corrective difference
// and goes on with commits, if there are more.
func correctly(t *rapid.T, told []projection.Change[string, int64], want map[string]projection.Change[string, int64], more bool) {
	got := make(map[string]projection.Change[string, int64])
	for i, c := range told {
		switch cause := c.Cause; {
		case cause.Rebuild():
			if _, twice := got[c.Key]; twice || i != len(got) {
				t.Fatalf("told %+v, twice or behind commits: %+v", c, told)
			}
			c.Cause = projection.Cause{}
			got[c.Key] = c
		case !more:
			t.Fatalf("told of a commit: %+v", c)
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("corrected %v, want %v", got, want)
	}
}
