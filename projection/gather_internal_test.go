package projection

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/tidemark-es/tidemark/snapshot"
)

// All rows are gathered while a handler changes them, adds some and deletes
// others: the cut behind it is the table of that moment, with its digest.
func TestGatherBesideAHandler(t *testing.T) {
	const rows = 8 * gatherSlice
	table := NewTable[string, int]("t")
	change := func(do func()) {
		table.lock()
		defer table.unlock()
		do()
		table.commit()
	}
	change(func() {
		for i := range rows {
			table.tx.Put(fmt.Sprint(i), i)
		}
	})
	table.cut()
	run := table.gather()
	var wg sync.WaitGroup
	wg.Go(run)
	for i := range rows / 2 {
		change(func() {
			switch i % 5 {
			case 0:
				table.tx.Delete(fmt.Sprint(i))
			case 1:
				table.tx.Put(fmt.Sprint(i), -i)
			case 2:
				table.tx.Put(fmt.Sprint("new", i), i)
			case 3: // another row of the same key
				table.tx.Delete(fmt.Sprint(i))
				table.tx.Put(fmt.Sprint(i), -i)
			}
		})
	}
	wg.Wait()
	table.touchAll()
	if len(table.dirty) > rows/2 {
		t.Errorf("the cut captures %d rows, and not just what has changed", len(table.dirty))
	}
	c := table.cut()
	want := maps.Collect(table.All())
	change(func() { table.tx.Put("later", 1) }) // isn't in the cut
	changes, digest, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	restored := NewTable[string, int]("t")
	if err := restored.load(changesOf(changes, nil), nil, true); err != nil {
		t.Fatal(err)
	}
	if got := maps.Collect(restored.All()); !maps.Equal(got, want) {
		t.Errorf("%d rows in the cut, %d in the table, or others", len(got), len(want))
	}
	var sum snapshot.Digest
	for _, c := range changes {
		sum = sum.Plus(c.Digest)
	}
	if digest != sum || digest != table.digest {
		t.Errorf("digest %s, of the rows it is %s", digest, sum)
	}
}
