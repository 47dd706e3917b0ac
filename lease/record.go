package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidemark-es/tidemark/internal/kv"
)

const recordVersion = 1

// remedy is for a record that nobody renews any more: who held it has given up.
const remedy = "nobody can take the lease: delete the record from its bucket, then processes go on by themselves"

// record is what the bucket holds under a name.
type record struct {
	Version  int           `json:"version"`
	Owner    string        `json:"owner"` // for people
	Token    string        `json:"token"` // of this hold
	Epoch    uint64        `json:"epoch"`
	TTL      time.Duration `json:"ttl_ns"`
	Session  string        `json:"session,omitempty"` // Options.Session of the holder
	Released bool          `json:"released,omitempty"`
}

func (r record) encode() []byte {
	r.Version = recordVersion
	data, _ := json.Marshal(r) // strings and numbers
	return data
}

func decodeRecord(name string, data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("lease %q: %w: %w: %s", name, ErrCorrupt, err, remedy)
	}
	if r.Version != recordVersion || r.Token == "" || r.Epoch == 0 || r.TTL <= 0 {
		return r, fmt.Errorf("lease %q: %w: version %d, epoch %d, ttl %s: it was written by another release, or damaged: %s", name, ErrCorrupt, r.Version, r.Epoch, r.TTL, remedy)
	}
	return r, nil
}

// storeError says which lease an error of the bucket is about.
func storeError(name string, err error) error {
	if errors.Is(err, kv.ErrDamaged) {
		return fmt.Errorf("lease %q: %w: %w", name, ErrCorrupt, err)
	}
	return fmt.Errorf("lease %q: %w", name, err)
}

// sighting is what this process has seen of a record: the revision, and since
// when it is that one, by the process's monotonic clock.
type sighting struct {
	revision uint64
	since    time.Time
}

// see takes in what a read has found at a moment before its request was sent
// at the earliest; a later moment only makes the wait longer.
func (s sighting) see(revision uint64, now time.Time) sighting {
	if s.revision == revision && !s.since.IsZero() {
		return s
	}
	return sighting{revision: revision, since: now}
}

// wait says for how long the name isn't free yet, 0 where it is: it was
// released, it is a hold of ours that lapsed (token), its holder is known to
// be gone (session), or it was silent for its TTL. The quarter on top is for
// clocks that run at different rates.
func (r record) wait(s sighting, now time.Time, token, session string) time.Duration {
	if r.Released || r.Token == token || (session != "" && r.Session != "" && r.Session != session) {
		return 0
	}
	return max(0, r.TTL+r.TTL/4-now.Sub(s.since))
}
