package projectiontest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

type tick struct{}

// A commit has the time that it is given, and the next one is a second later: in
// a kit, from case to case, and in the laws alike.
func TestTimesOfCommits(t *testing.T) {
	f, g := Feed(t, "f", eventlog.Type[tick]("tick")), Feed(t, "g", eventlog.Type[tick]("tick"))
	later := Epoch.Add(time.Hour)
	timed := On(f, "a", tick{})
	timed.Time = later
	commits := []Commit{On(f, "a", tick{}), On(g, "a", tick{}), timed, On(f, "a", tick{})}
	seqs := []uint64{1, 1, 2, 3}
	times := []time.Time{Epoch, Epoch.Add(time.Second), later, later.Add(time.Second)}
	for i, p := range place(commits) {
		if p.seq != seqs[i] || !p.at.Equal(times[i]) {
			t.Errorf("commit %d of a law is %d at %v", i, p.seq, p.at)
		}
	}
	table := projection.NewTable[string, int]("ticks")
	projection.On(table, f, func(tx *projection.Tx[string, int], e eventlog.Event, _ tick) error { return nil })
	k := New(t, table)
	for range 2 {
		for i, c := range commits {
			err := k.run.next(c)
			if commit := &k.run.commit; err != nil || commit.Seq != seqs[i] || !commit.Time.Equal(times[i]) {
				t.Errorf("commit %d of a kit is %d at %v, %v", i, k.run.commit.Seq, k.run.commit.Time, err)
			}
		}
		k.Reset()
	}
}

// As many differences as are shown need no word about more.
func TestManyDifferences(t *testing.T) {
	for n, more := range map[int]string{maxDifferences: "", maxDifferences + 3: "and 3 more"} {
		rows := make(map[string]string)
		for i := range n {
			rows[fmt.Sprintf("t %02d", i)] = "1"
		}
		d := difference(rows, map[string]string{})
		if strings.Count(d, "1, and none") != maxDifferences || more == "" && strings.Contains(d, "more") || !strings.HasSuffix(d, more) {
			t.Errorf("%d differences: %s", n, d)
		}
	}
	// A row of nothing is one.
	if difference(map[string]string{"t 1": ""}, map[string]string{}) == "" {
		t.Error("a row without a text isn't seen")
	}
}
