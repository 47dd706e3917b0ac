package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// work is what an author did, or what was done to a file.
type work struct {
	Commits int64 `json:"commits"`
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
}

func (w work) plus(added, removed int64) work {
	return work{w.Commits + 1, w.Added + added, w.Removed + removed}
}

// share is the key of ownership: an author's part of a directory.
type share struct {
	Dir   string
	Email string
}

// views are the demo's projections.
type views struct {
	authors   *projection.Table[string, work]  // by e-mail
	files     *projection.Table[string, work]  // by path
	ownership *projection.Table[share, int64]  // lines added
	activity  *projection.Table[string, int64] // commits by "weekday-hour"
}

func newViews(f feeds) views {
	v := views{
		authors:   projection.NewTable[string, work]("authors", projection.Version(1)),
		files:     projection.NewTable[string, work]("files", projection.Version(1)),
		ownership: projection.NewTable[share, int64]("ownership", projection.Version(1)),
		activity:  projection.NewTable[string, int64]("activity", projection.Version(1)),
	}
	projection.On(v.authors, f.commits, func(tx *projection.Tx[string, work], _ eventlog.Event, c committed) error {
		tx.Put(c.Email, tx.Value(c.Email).plus(c.Added, c.Removed))
		return nil
	})
	projection.On(v.activity, f.commits, func(tx *projection.Tx[string, int64], _ eventlog.Event, c committed) error {
		if !c.NoDate {
			at := c.when()
			slot := fmt.Sprintf("%d-%d", at.Weekday(), at.Hour())
			tx.Put(slot, tx.Value(slot)+1)
		}
		return nil
	})
	projection.On(v.files, f.changes, func(tx *projection.Tx[string, work], _ eventlog.Event, c changed) error {
		tx.Put(c.Path, tx.Value(c.Path).plus(c.Added, c.Removed))
		return nil
	})
	projection.On(v.ownership, f.changes, func(tx *projection.Tx[share, int64], _ eventlog.Event, c changed) error {
		s := share{topLevel(c.Path), c.Email}
		tx.Put(s, tx.Value(s)+c.Added)
		return nil
	})
	return v
}

// unit puts all views under one cut, so that a report shows one moment.
func (v views) unit() *projection.Unit {
	return projection.NewUnit("history", v.authors, v.files, v.ownership, v.activity)
}

// owners is a directory's authors and what each added.
type owners struct {
	BusFactor int              `json:"bus_factor"`
	Authors   map[string]int64 `json:"authors"`
}

func (o owners) lines() (sum int64) {
	for n := range maps.Values(o.Authors) {
		sum += n
	}
	return sum
}

// owned folds the shares by directory.
func (v views) owned() map[string]owners {
	dirs := make(map[string]owners)
	for s, n := range v.ownership.All() {
		o, ok := dirs[s.Dir]
		if !ok {
			o = owners{Authors: make(map[string]int64)}
			dirs[s.Dir] = o
		}
		o.Authors[s.Email] = n
	}
	for dir, o := range dirs {
		o.BusFactor = busFactor(o.Authors)
		dirs[dir] = o
	}
	return dirs
}

// busFactor is the smallest number of authors who together wrote more than
// half of the lines; 0 where there are none.
func busFactor(authors map[string]int64) int {
	lines := slices.SortedFunc(maps.Values(authors), func(a, b int64) int { return cmp.Compare(b, a) })
	var all, most int64
	for _, n := range lines {
		all += n
	}
	for i, n := range lines {
		if most += n; 2*most > all {
			return i + 1
		}
	}
	return 0
}
