package eventlog

import (
	"fmt"
	"runtime"

	"github.com/nats-io/nats.go/jetstream"
)

// Durability is what an append waits for before it returns. What each mode
// survives is in docs/durability.md.
type Durability int

const (
	// Acked: the server has the commit; on a cluster, a quorum of the
	// stream's replicas. It survives the end of the process. The embedded
	// server brings it to the disk within Options.SyncInterval.
	Acked Durability = iota
	// Synced: the commit, and everything before it in the feed, is on the
	// disk, and survives a power failure. Only on an embedded log with
	// Options.Dir: elsewhere it is an ErrNotSynced, and nothing is appended.
	// Appends that come together share one fsync.
	Synced
)

// String is the mode's name.
func (d Durability) String() string {
	switch d {
	case Acked:
		return "acked"
	case Synced:
		return "synced"
	}
	return fmt.Sprintf("Durability(%d)", int(d))
}

func (d Durability) validate() error {
	if d != Acked && d != Synced {
		return fmt.Errorf("eventlog: Durability: %w: %v: use Acked or Synced", ErrInvalid, d)
	}
	return nil
}

// SyncError is an ErrNotSynced.
type SyncError struct {
	Feed string
	Key  string // of the append; "" of Feed.Sync
	// Pos is where the commit is in the log, acknowledged, although it may
	// not be on the disk. Its Seq is 0 where nothing was appended.
	Pos    Position
	Reason string // and what to do
	Err    error  // of the disk; nil where the log can't be synced at all
}

func (e *SyncError) Error() string {
	if e.Key == "" {
		if e.Err != nil {
			return fmt.Sprintf("eventlog: sync of %v: %v: %v: %s", e.Pos, ErrNotSynced, e.Err, e.Reason)
		}
		return fmt.Sprintf("eventlog: sync of %v: %v: %s", e.Pos, ErrNotSynced, e.Reason)
	}
	what := "nothing was appended"
	if e.Pos.Seq > 0 {
		what = fmt.Sprintf("it is in the log at %v, and may not be on the disk", e.Pos)
	}
	if e.Err != nil {
		return fmt.Sprintf("eventlog: append to %s/%.200q: %v: %s: %v: %s", e.Feed, e.Key, ErrNotSynced, what, e.Err, e.Reason)
	}
	return fmt.Sprintf("eventlog: append to %s/%.200q: %v: %s: %s", e.Feed, e.Key, ErrNotSynced, what, e.Reason)
}

func (e *SyncError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrNotSynced}
	}
	return []error{ErrNotSynced, e.Err}
}

// syncedBy says how a stream's commits get to the disk.
type syncedBy int

const (
	byNobody syncedBy = iota // Synced is refused
	byServer                 // before each acknowledgement: Options.SyncAlways
	byUs                     // fsync of the block files
)

// howSynced decides, with the reason where it can't be done. A client can't
// find out whether servers elsewhere sync: neither the connection's INFO nor
// the JetStream API says so, only the system account and the monitoring port.
func (l *Log) howSynced(c jetstream.StreamConfig) (by syncedBy, reason string) {
	switch {
	case l.embedded == nil:
		return byNobody, "the server runs elsewhere, and a client can't find out whether it syncs: use Acked, which is on the disk where every server has \"sync_interval: always\" in its jetstream block, and survives what its quorum survives where not"
	case l.opts.Memory || c.Storage != jetstream.FileStorage:
		return byNobody, "the log is kept in memory: open it with Options.Dir"
	case c.PersistMode == jetstream.AsyncPersistMode:
		return byNobody, "its stream has persist_mode async, which acknowledges what isn't written: create the stream anew without it"
	case l.opts.SyncAlways:
		return byServer, ""
	case c.Replicas > 1:
		return byNobody, "its stream has replicas, whose acknowledgement comes before the write: use one replica, or Options.SyncAlways"
	case runtime.GOOS == "windows":
		return byNobody, "on Windows, files that are held open can't be replaced by the server: use Options.SyncAlways"
	}
	return byUs, ""
}
