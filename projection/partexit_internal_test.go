package projection

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// A handler that ends its goroutine ends that of a partition: what comes
// behind doesn't pass as handled, the table stops at the event.
func TestHandlerEndsItsPartition(t *testing.T) {
	f, err := eventlog.Offline("f", eventlog.Type[added]("added"))
	if err != nil {
		t.Fatal(err)
	}
	p := NewPartitioned[int64]("sums", 2)
	OnRow(p, f, func(r Row[int64], e eventlog.Event, d added) error {
		if e.Seq == 12 {
			runtime.Goexit() // as t.FailNow does
		}
		r.Put(r.Value() + d.N)
		return nil
	})
	// The first partition is handled by the goroutine that deals out.
	keys := make([]string, len(p.parts))
	for i := 0; keys[0] == "" || keys[1] == ""; i++ {
		k := fmt.Sprint("k", i)
		keys[p.partOf(k)] = k
	}
	want := map[string]int64{}
	var commits []eventlog.Commit
	for seq := uint64(1); seq <= 40; seq++ {
		k := keys[(seq+1)%2]
		c, err := f.Rehearse(eventlog.Draft{Key: k, Events: []any{added{int64(seq)}}}, seq, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		if commits = append(commits, c); seq < 12 {
			want[k] += int64(seq)
		}
	}
	if err := applyFromMemory(p, f, commits); !errors.Is(err, errGoexit) {
		t.Errorf("got %v", err)
	}
	if got := maps.Collect(p.All()); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
