package projectiontest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	set  struct{ N int }
	note struct{ N int }
)

// bench is two feeds and a table over both.
type twoFeeds struct{ sets, notes *eventlog.Feed }

func newTwo(t *testing.T) twoFeeds {
	return twoFeeds{Feed(t, "sets", eventlog.Type[set]("set")), Feed(t, "notes", eventlog.Type[note]("note"))}
}

// table adds up what both feeds say; a last writer wins where last is set.
func (f twoFeeds) table(last bool, opts ...projection.TableOption) *projection.Table[string, int] {
	t := projection.NewTable[string, int]("sum", opts...)
	add := func(tx *projection.Tx[string, int], key string, n int) error {
		if last && n > 5 {
			tx.Put(key, n)
		} else {
			tx.Put(key, tx.Value(key)+n)
		}
		return nil
	}
	projection.On(t, f.sets, func(tx *projection.Tx[string, int], e eventlog.Event, d set) error { return add(tx, e.Key, d.N) })
	projection.On(t, f.notes, func(tx *projection.Tx[string, int], e eventlog.Event, d note) error { return add(tx, e.Key, d.N) })
	return t
}

func (f twoFeeds) commits() []Commit {
	var all []Commit
	for i := range 10 {
		key := string(rune('a' + i%3))
		all = append(all, On(f.sets, key, set{i % 5}), On(f.notes, key, note{i % 4}))
	}
	return all
}

func TestInterleavings(t *testing.T) {
	f := newTwo(t)
	Interleavings(t, f.commits(), f.table(true)) // nothing above 5: it adds

	if c, err := interleave(nil, place([]Commit{On(f.sets, "a", set{1}), On(f.sets, "a", set{2})}), nil); err == nil || !strings.Contains(err.Error(), "two feeds") {
		t.Errorf("of one feed: %v, %v", c, err)
	}

	// One event that replaces: the counter-example is it and one other.
	commits := append(f.commits(), On(f.sets, "b", set{9}))
	commits = append(commits, f.commits()...)
	r, err := newRun([]projection.Projection{f.table(true)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := interleave(r, place(commits), rand.New(rand.NewPCG(1, 2)))
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	if len(c.a) != 2 || c.a[0].Feed == c.a[1].Feed || c.a[0].Key != "b" || c.a[1].Key != "b" || c.a[0].String() != c.b[1].String() || !strings.Contains(c.String(), "sum b: ") {
		t.Errorf("not the smallest example: %s", c)
	}
}

// Swaps of neighbours lead from any interleaving to any other.
func TestSwapped(t *testing.T) {
	f := newTwo(t)
	a := place(f.commits())
	b := shuffled(a, rand.New(rand.NewPCG(3, 4)))
	n := swaps(a, b)
	text := func(all []placed) string { return fmt.Sprint(all) }
	if n == 0 || text(swapped(a, b, 0)) != text(a) || text(swapped(a, b, n)) != text(b) {
		t.Errorf("%d swaps: %v, want %v", n, swapped(a, b, n), b)
	}
	for i := range n {
		if got := swaps(swapped(a, b, i), swapped(a, b, i+1)); got != 1 {
			t.Errorf("swap %d is %d", i, got)
		}
	}
}

func TestDeterministic(t *testing.T) {
	f := newTwo(t)
	build := func(handle func(tx *projection.Tx[string, int64], n int64)) func() []projection.Projection {
		return func() []projection.Projection {
			table := projection.NewTable[string, int64]("odd")
			projection.On(table, f.sets, func(tx *projection.Tx[string, int64], _ eventlog.Event, d set) error {
				handle(tx, int64(d.N))
				return nil
			})
			return []projection.Projection{table}
		}
	}
	Deterministic(t, build(func(tx *projection.Tx[string, int64], n int64) { tx.Put("n", tx.Value("n")+n) }), f.commits()[0], f.commits()[2])
	kept := int64(0)
	many := map[string]int64{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8}
	for what, handle := range map[string]func(tx *projection.Tx[string, int64], n int64){
		"the day":     func(tx *projection.Tx[string, int64], n int64) { tx.Put("n", time.Now().Unix()/86400) },
		"random":      func(tx *projection.Tx[string, int64], n int64) { tx.Put("n", rand.Int64()) },
		"state aside": func(tx *projection.Tx[string, int64], n int64) { kept++; tx.Put("n", kept) },
		"map order": func(tx *projection.Tx[string, int64], n int64) {
			for _, v := range many {
				tx.Put("n", tx.Value("n")*3+v)
			}
		},
	} {
		if problem := determinism(t, build(handle), []Commit{On(f.sets, "k", set{1})}); !strings.Contains(problem, "odd n: ") {
			t.Errorf("%s: %q", what, problem)
		}
	}

	// What a later commit hides: readers of the table were told it.
	passing := build(func(tx *projection.Tx[string, int64], n int64) { tx.Put("n", n*rand.Int64()) })
	if problem := determinism(t, passing, []Commit{On(f.sets, "k", set{1}), On(f.sets, "k", set{0})}); !strings.Contains(problem, "step 1, sets@1 k [{N:1}], changes odd n: ") {
		t.Errorf("what the last commit hides: %q", problem)
	}
	if problem := determinism(t, passing, nil); !strings.Contains(problem, "no commits") {
		t.Errorf("nothing: %q", problem)
	}
}

// Where a projection stops is part of what is compared.
func TestStopsAreCompared(t *testing.T) {
	f := newTwo(t)
	table := projection.NewTable[string, int]("strict")
	lucky := func() bool { return true }
	projection.On(table, f.sets, func(tx *projection.Tx[string, int], e eventlog.Event, d set) error {
		if !lucky() {
			return errors.New("no luck")
		}
		tx.Put(e.Key, 0)
		return nil
	})
	projection.On(table, f.notes, func(tx *projection.Tx[string, int], e eventlog.Event, _ note) error {
		if _, ok := tx.Get(e.Key); !ok {
			return errors.New("there is nothing to note it at")
		}
		return nil
	})
	r, err := newRun([]projection.Projection{table})
	if err != nil {
		t.Fatal(err)
	}
	c, err := interleave(r, place([]Commit{On(f.sets, "a", set{}), On(f.notes, "a", note{})}), rand.New(rand.NewPCG(1, 2)))
	if err != nil || c == nil || !strings.Contains(c.String(), "stopped: ") || !strings.Contains(c.String(), "sets@1 a [projectiontest.set{N:0}]") {
		t.Errorf("got %v, %v", c, err)
	}
	n := 0
	lucky = func() bool { n++; return n != 3 }
	build := func() []projection.Projection {
		again := projection.NewTable[string, int]("strict")
		projection.On(again, f.sets, func(*projection.Tx[string, int], eventlog.Event, set) error {
			if !lucky() {
				return errors.New("no luck")
			}
			return nil
		})
		return []projection.Projection{again}
	}
	if problem := determinism(t, build, []Commit{On(f.sets, "a", set{})}); !strings.Contains(problem, "step 1, ") || !strings.Contains(problem, "no luck") {
		t.Errorf("got %q", problem)
	}
}

func TestDifferenceIsShort(t *testing.T) {
	a, b := map[string]string{}, map[string]string{}
	for i := range 100 {
		a[fmt.Sprint("row ", i)], b[fmt.Sprint("row ", i)] = "1", fmt.Sprint(1+i/50)
	}
	if d := difference(a, b); strings.Count(d, "\n") != maxDifferences+1 || !strings.HasSuffix(d, "and 40 more") {
		t.Errorf("it is %q", d)
	}
}

func TestRecorded(t *testing.T) {
	f := newTwo(t)
	file := filepath.Join(t.TempDir(), "history", "sum.txt")
	try := func(last, write bool, commits []Commit, opts ...projection.TableOption) string {
		if err := recorded(file, commits, []projection.Projection{f.table(last, opts...)}, write); err != nil {
			return err.Error()
		}
		return ""
	}
	commits := append(f.commits(), On(f.sets, "b", set{9}))
	for i, step := range []struct{ got, want string }{
		{try(false, false, commits), "isn't recorded"},
		{try(false, true, commits), ""},
		{try(false, false, commits), ""},
		{try(true, false, commits), "have changed, and its version 0 has not"},
		{try(true, true, commits), "have changed, and its version 0 has not"},
		{try(false, true, commits[1:]), "histories stay"},
		{try(true, false, commits, projection.Version(1)), "is of other versions"},
		{try(true, true, commits, projection.Version(1)), ""},
		{try(true, false, commits, projection.Version(1)), ""},
		{try(false, false, commits, projection.Version(1)), "\n\t- "},
		{try(false, true, commits), "has version 0, and is recorded with 1"},
		{try(false, false, nil), "no commits"},
	} {
		if (step.want == "") != (step.got == "") || !strings.Contains(step.got, step.want) {
			t.Errorf("step %d: %q, want %q", i, step.got, step.want)
		}
	}
	one := projection.NewTable[string, int]("one")
	projection.On(one, f.sets, func(*projection.Tx[string, int], eventlog.Event, set) error { return nil })
	if err := recorded(file, commits, []projection.Projection{f.table(true, projection.Version(1)), one}, false); err == nil || !strings.Contains(err.Error(), "is of other versions") {
		t.Errorf("one more: %v", err)
	}
	other := projection.NewTable[string, int]("other")
	projection.On(other, f.sets, func(*projection.Tx[string, int], eventlog.Event, set) error { return nil })
	projection.On(other, f.notes, func(*projection.Tx[string, int], eventlog.Event, note) error { return nil })
	if err := recorded(file, commits, []projection.Projection{other}, true); err == nil || !strings.Contains(err.Error(), `"sum" is recorded, and not given`) {
		t.Errorf("another one: %v", err)
	}
	if err := os.WriteFile(file, []byte("# tidemark history 1\nrow x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := try(true, false, commits); !strings.Contains(got, "line 2 isn't one") {
		t.Error(got)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("# tidemark history 1\ncommit \"x\"\nprojection a version 1\nrow \"k\" 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRecord(text)
		if err == nil && len(r.rows) > len(r.versions) {
			t.Errorf("rows without a projection: %+v", r)
		}
	})
}
