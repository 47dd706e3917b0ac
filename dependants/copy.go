package dependants

import (
	"context"
	"encoding/json"
	"time"
)

// The register's copy is in the settings of the bucket's stream, which are a
// file of their own: a record of one damaged block file is lost, and where the
// server starts after an unclean end, all later records of the file are, too.
// An older record may come back then. Without the copy, a register that is
// empty, or an older one, would hold nobody, and the log would be trimmed.
//
//	write  the record by compare-and-set, then the copy with its revision
//	read   the record; the copy instead, where that is of a later revision
//
// A copy of an earlier revision is one whose writer ended in between, or that
// another writer has overtaken: the record counts. The first write after damage
// stores the copy's content in the record again.
//
// Rejected: a second bucket, which needs its own permissions, and would have
// to be backed up with the first.

const (
	copyNote = "tidemark-register"
	// maxCopy bounds the copy, in bytes. The server takes 128 KiB of settings.
	maxCopy = 96 << 10
	// copyTimeout bounds one write of it. The server answers a missing
	// permission with silence, so after one that failed none is tried for
	// copyPause.
	copyTimeout = time.Second
	copyPause   = time.Minute
)

// registerCopy is the copy as it is stored, in JSON.
type registerCopy struct {
	Revision uint64          `json:"revision"` // of the record; 0: there is no copy
	At       time.Time       `json:"at"`       // shortly before that was written, by the server's clock
	Record   json.RawMessage `json:"record,omitempty"`
}

// decodeCopy is false where there is none that can be used.
func decodeCopy(note string) (c registerCopy, ok bool) {
	if note == "" || len(note) > 2*maxCopy || json.Unmarshal([]byte(note), &c) != nil {
		return registerCopy{}, false
	}
	return c, c.Revision > 0 && len(c.Record) > 0
}

// keepCopy writes the copy of a record that was just written. Where that fails,
// the register has the protection of one file alone.
func (r *Registry) keepCopy(ctx context.Context, c registerCopy) {
	if time.Now().UnixNano() < r.copyFrom.Load() {
		return
	}
	if len(c.Record) > maxCopy {
		c = registerCopy{At: c.At} // an older one must not be taken for it
	}
	note, err := json.Marshal(c)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	if r.bucket.SetNote(ctx, copyNote, string(note)) != nil && ctx.Err() != nil {
		r.copyFrom.Store(time.Now().Add(copyPause).UnixNano())
	}
}
