package dependants

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

const recordVersion = 1

// Mark says how far a feed may have been trimmed.
type Mark struct {
	Incarnation string `json:"incarnation"` // of the feed's stream
	From        uint64 `json:"from"`        // first sequence that is surely there
}

// record is the whole register.
type record struct {
	Version    int              `json:"version"`
	Dependants map[string]entry `json:"dependants,omitempty"`
	Trimmed    map[string]Mark  `json:"trimmed,omitempty"` // by feed
}

// entry is one dependant as it is stored.
type entry struct {
	Needs    timeframe.Timeframe `json:"needs"`
	Unit     string              `json:"unit,omitempty"`
	Upstream []string            `json:"upstream,omitempty"`
	Expiry   time.Duration       `json:"expiry_ns,omitempty"`
	// Seen by the server's clock. Zero: at the write of this revision of the
	// record, whose time the server knows and the writer doesn't. The next
	// write fills it in.
	Seen time.Time `json:"seen,omitzero"`
}

func decodeRecord(data []byte, created time.Time) (record, error) {
	r := record{Version: recordVersion}
	if data != nil {
		if err := json.Unmarshal(data, &r); err != nil {
			return r, fmt.Errorf("dependants: %w: %w: nothing is trimmed until it is repaired, or deleted and all dependants have registered again", ErrCorrupt, err)
		}
		if r.Version != recordVersion {
			return r, fmt.Errorf("dependants: %w: version %d was written by another release, this one knows %d", ErrCorrupt, r.Version, recordVersion)
		}
	}
	if r.Dependants == nil {
		r.Dependants = make(map[string]entry)
	}
	if r.Trimmed == nil {
		r.Trimmed = make(map[string]Mark)
	}
	for name, e := range r.Dependants {
		if e.Seen.IsZero() {
			e.Seen = created
			r.Dependants[name] = e
		}
	}
	return r, nil
}

// list returns the dependants by name, with who has expired by now.
func (r record) list(now time.Time) []Dependant {
	var ds []Dependant
	for _, name := range slices.Sorted(maps.Keys(r.Dependants)) {
		e := r.Dependants[name]
		ds = append(ds, Dependant{
			Name: name, Needs: e.Needs, Unit: e.Unit, Upstream: e.Upstream, Expiry: e.Expiry, Seen: e.Seen,
			Expired: e.Expiry > 0 && now.Sub(e.Seen) > e.Expiry,
		})
	}
	return ds
}

// put registers, and says where that is too late. A unit's positions are in
// its snapshots, so its start finds out.
func (r record) put(d Dependant) error {
	if d.Unit == "" {
		for feed, after := range d.Needs.All() {
			if m := r.Trimmed[feed]; m.From > 0 && after < m.From-1 {
				return &TooLateError{Name: d.Name, Feed: feed, Needs: after, From: m.From}
			}
		}
	}
	r.Dependants[d.Name] = entry{Needs: d.Needs, Unit: d.Unit, Upstream: d.Upstream, Expiry: d.Expiry}
	return nil
}

// advance is a sign of life with new positions, which never go back: what
// lies below may be gone.
func (r record) advance(name string, to timeframe.Timeframe) error {
	e, ok := r.Dependants[name]
	if !ok {
		return &UnknownError{Name: name}
	}
	e.Needs, e.Seen = timeframe.Merge(e.Needs, to), time.Time{}
	r.Dependants[name] = e
	return nil
}

func (r record) remove(name string) error {
	var by []string
	for other, e := range r.Dependants {
		if slices.Contains(e.Upstream, name) {
			by = append(by, other)
		}
	}
	if _, ok := r.Dependants[name]; ok && by != nil {
		slices.Sort(by)
		return &NeededError{Name: name, By: by}
	}
	delete(r.Dependants, name)
	return nil
}

// trim takes marks in and drops who has expired, so that whoever comes back
// learns it. Marks only rise within one incarnation.
func (r record) trim(marks map[string]Mark, ds []Dependant) {
	for feed, m := range marks {
		if old := r.Trimmed[feed]; old.Incarnation == m.Incarnation {
			m.From = max(m.From, old.From)
		}
		r.Trimmed[feed] = m
	}
	for _, d := range ds {
		if d.Expired {
			delete(r.Dependants, d.Name)
		}
	}
}
