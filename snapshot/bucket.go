package snapshot

import (
	"context"
	"strings"
	"time"

	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// bucket is all that the store asks of its storage. Tests put failures between.
type bucket interface {
	// put stores data under key, whatever was there. It makes the entry new:
	// its age starts again.
	put(ctx context.Context, key string, data []byte) error
	// swap stores data if key is at the revision (0: absent). It returns the
	// new revision, and kv.ErrMoved where the server says that key is elsewhere.
	// Any other error may mean that the write happened.
	swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
	// get may be answered by any replica. The error is a *NotFoundError where
	// one has nothing, though the leader may.
	get(ctx context.Context, key string) ([]byte, error)
	// leader is get from the stream's leader, with the revision. A deleted key
	// is a *NotFoundError that comes with the revision of the marker.
	leader(ctx context.Context, key string) (entry, error)
	// list returns the keys that match, without their content.
	list(ctx context.Context, filter string) ([]kv.Item, error)
	// drop removes key if it is still at the revision, without a trace.
	drop(ctx context.Context, key string, revision uint64) error
	// now is the server's time: entries' ages are by its clock.
	now(ctx context.Context) (time.Time, error)
}

type entry struct {
	data     []byte
	revision uint64
}

const (
	chunkPrefix    = "chunk."
	manifestPrefix = "manifest."
	headPrefix     = "head."
)

func chunkKey(id ID) string                 { return chunkPrefix + id.String() }
func manifestKey(unit string, id ID) string { return manifestPrefix + unit + "." + id.String() }
func headKey(unit string) string            { return headPrefix + unit }

// chunkOf is the inverse of chunkKey; false for a key of any other shape.
func chunkOf(key string) (ID, bool) {
	id, err := ParseID(strings.TrimPrefix(key, chunkPrefix))
	return id, err == nil && strings.HasPrefix(key, chunkPrefix)
}

// manifestOf is the inverse of manifestKey.
func manifestOf(key string) (unit string, id ID, ok bool) {
	rest, found := strings.CutPrefix(key, manifestPrefix)
	unit, digits, split := strings.Cut(rest, ".")
	id, err := ParseID(digits)
	return unit, id, found && split && err == nil && timeframe.ValidName(unit) == nil
}
