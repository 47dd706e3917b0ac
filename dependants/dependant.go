package dependants

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// Dependant is somebody who needs a part of the log.
type Dependant struct {
	// Name as feeds have, or several joined by dots ("reports.monthly").
	Name string
	// Needs are the positions behind which it reads on, by feed: what comes
	// after them stays, and the message there too, by which the log is
	// recognised. A feed that is absent isn't read; one at 0 is read from its
	// beginning.
	Needs timeframe.Timeframe
	// Unit is set for a projection unit, which needs what lies behind each of
	// its retained snapshots; Needs names its feeds alone.
	Unit string
	// Upstream names dependants that it is derived from: what they need it
	// needs as well, and they can't be deregistered before it.
	Upstream []string
	// Expiry is after how long without a sign of life (Register, Advance) it
	// is left out; 0 for never.
	Expiry time.Duration
	// Seen is the last sign of life, by the server's clock. Set by List.
	Seen time.Time
	// Expired: it doesn't hold the log any more. Set by List.
	Expired bool
}

// validate reports all problems at once.
func (d Dependant) validate() error {
	var p []string
	if err := validName(d.Name); err != nil {
		p = append(p, err.Error())
	}
	for _, u := range d.Upstream {
		if err := validName(u); err != nil || u == d.Name {
			p = append(p, fmt.Sprintf("upstream %q", u))
		}
	}
	if d.Unit != "" {
		if err := timeframe.ValidName(d.Unit); err != nil {
			p = append(p, fmt.Sprintf("unit: %v", err))
		}
	}
	if d.Needs.IsEmpty() && len(d.Upstream) == 0 {
		p = append(p, "it needs no feed and has no upstream")
	}
	if d.Expiry < 0 {
		p = append(p, fmt.Sprintf("expiry %s", d.Expiry))
	}
	if p == nil {
		return nil
	}
	return fmt.Errorf("dependants: %q: %w: %s", d.Name, ErrInvalid, strings.Join(p, "; "))
}

func validName(name string) error {
	for part := range strings.SplitSeq(name, ".") {
		if err := timeframe.ValidName(part); err != nil {
			return err
		}
	}
	return nil
}

// Hold is one reason why a feed isn't trimmed further.
type Hold struct {
	By    string // the dependant
	After uint64 // it needs this message and all behind it
}

// Holds returns, by feed, what live dependants need, least first. position
// says what a dependant needs by itself; nil stands for Dependant.Needs. What
// an upstream needs holds in the name of all that are derived from it, and for
// as long as one of them is alive, the upstream being expired or gone or not.
func Holds(ds []Dependant, position func(Dependant) timeframe.Timeframe) map[string][]Hold {
	byName := make(map[string]Dependant, len(ds))
	for _, d := range ds {
		byName[d.Name] = d
	}
	if position == nil {
		position = func(d Dependant) timeframe.Timeframe { return d.Needs }
	}
	holds := make(map[string][]Hold)
	for _, d := range ds {
		if d.Expired {
			continue
		}
		for feed, after := range needs(d, byName, position, make(map[string]bool)) {
			holds[feed] = append(holds[feed], Hold{By: d.Name, After: after})
		}
	}
	for _, h := range holds {
		slices.SortFunc(h, func(a, b Hold) int {
			return cmp.Or(cmp.Compare(a.After, b.After), strings.Compare(a.By, b.By))
		})
	}
	return holds
}

// needs is the least position per feed of a dependant and all its upstreams.
func needs(d Dependant, all map[string]Dependant, position func(Dependant) timeframe.Timeframe, been map[string]bool) map[string]uint64 {
	if been[d.Name] {
		return nil // a circle needs nothing twice
	}
	been[d.Name] = true
	least := position(d).Map()
	for _, name := range d.Upstream {
		up, ok := all[name]
		if !ok {
			continue
		}
		for feed, after := range needs(up, all, position, been) {
			if had, ok := least[feed]; !ok || after < had {
				least[feed] = after
			}
		}
	}
	return least
}
