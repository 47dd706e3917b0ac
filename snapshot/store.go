package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Store keeps the snapshots of one application. It is safe for concurrent use.
// It owns no goroutine and no connection, so there is nothing to close.
type Store struct {
	opts   Options // with defaults
	bucket bucket
	clock  func() time.Time // of manifests; ages are by the server's
	limit  int              // greatest manifest, in bytes
	stats  counters
	recent recent
	maybe  maybe
	known  known
}

// Open binds to the bucket <App>_snapshots, and creates it where it is missing.
// An existing bucket is used as it is where its settings are harmless
// (replicas, storage, history), and refused with ErrInvalid where entries would
// expire, be discarded, or not fit.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	b, err := openBucket(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("snapshot: open: %w", err)
	}
	return newStore(opts, b), nil
}

func newStore(opts Options, b bucket) *Store {
	return &Store{
		opts: opts, bucket: b, clock: time.Now, limit: opts.room(),
		recent: recent{at: make(map[ID]time.Time)},
		maybe:  maybe{ids: make(map[string]ID)},
	}
}

func bucketName(app string) string { return app + "_snapshots" }

func openBucket(ctx context.Context, opts Options) (natsBucket, error) {
	b := kv.New(kv.Options{
		JetStream: opts.JetStream, APIPrefix: opts.APIPrefix, Bucket: bucketName(opts.App), Description: "snapshots",
		Replicas: opts.Replicas, Memory: opts.Memory, Timeout: opts.Timeout,
	})
	settings, err := b.Ensure(ctx)
	if err == nil {
		err = checkBucket(settings, opts.ChunkSize)
	}
	return natsBucket{b}, err
}

// checkBucket refuses settings that would lose entries, or refuse ours.
func checkBucket(c jetstream.StreamConfig, chunkSize int) error {
	var p problem.List
	if c.MaxAge > 0 {
		p.Add("its entries expire after %s", c.MaxAge)
	}
	if c.Discard == jetstream.DiscardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0) {
		p.Add("it discards old entries at %d messages or %d bytes", c.MaxMsgs, c.MaxBytes)
	}
	if c.MaxMsgSize > 0 && int(c.MaxMsgSize) < chunkSize+headerRoom {
		p.Add("its values may have %d bytes, chunks of %d need %d", c.MaxMsgSize, chunkSize, chunkSize+headerRoom)
	}
	if c.Mirror != nil || c.Sealed {
		p.Add("it can't be written: it is a mirror, or sealed")
	}
	if c.Retention != jetstream.LimitsPolicy {
		p.Add("its retention is %s", c.Retention)
	}
	return invalid("bucket "+c.Name, p)
}

// Units returns the names of all units that have a head or a manifest, sorted.
func (s *Store) Units(ctx context.Context) ([]string, error) {
	heads, err := s.bucket.list(ctx, headPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("snapshot: units: %w", err)
	}
	manifests, err := s.bucket.list(ctx, manifestPrefix+"*.*")
	if err != nil {
		return nil, fmt.Errorf("snapshot: units: %w", err)
	}
	return unitsOf(heads, manifests), nil
}

func unitsOf(heads, manifests []kv.Item) []string {
	var units []string
	for _, h := range heads {
		if unit := strings.TrimPrefix(h.Key, headPrefix); timeframe.ValidName(unit) == nil {
			units = append(units, unit)
		}
	}
	for _, m := range manifests {
		if unit, _, ok := manifestOf(m.Key); ok {
			units = append(units, unit)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// Delete removes the unit's head and manifests; the chunks go with the next
// sweep. It costs the time to derive the state again, never data, and it is no
// error where nothing is there. A save at the same time may win (*ConflictError)
// and is left alone then. After a crash in the middle, manifests may be left:
// delete again.
func (s *Store) Delete(ctx context.Context, unit string) error {
	if err := validUnit(unit); err != nil {
		return err
	}
	// Listed first: what a later save writes isn't ours to remove.
	manifests, err := s.bucket.list(ctx, manifestPrefix+unit+".*")
	if err != nil {
		return fmt.Errorf("snapshot: delete %q: %w", unit, err)
	}
	if err := s.dropHead(ctx, unit); err != nil {
		return err
	}
	for _, m := range manifests {
		if err := s.bucket.drop(ctx, m.Key, m.Revision); err != nil {
			return fmt.Errorf("snapshot: delete %q: %w", unit, err)
		}
	}
	s.opts.Logger.Info().Str("unit", unit).Int("manifests", len(manifests)).Msg("snapshots deleted")
	return nil
}

func (s *Store) dropHead(ctx context.Context, unit string) error {
	e, err := s.bucket.leader(ctx, headKey(unit))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("snapshot: delete %q: %w", unit, err)
	}
	if e.revision == 0 {
		return nil
	}
	if err := s.bucket.drop(ctx, headKey(unit), e.revision); err != nil {
		return fmt.Errorf("snapshot: delete %q: %w", unit, err)
	}
	now, err := s.bucket.leader(ctx, headKey(unit))
	if now.revision > e.revision {
		return &ConflictError{Unit: unit, Expected: e.revision, Actual: now.revision}
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("snapshot: delete %q: %w", unit, err)
	}
	return nil
}

func validUnit(unit string) error {
	if err := timeframe.ValidName(unit); err != nil {
		return &InvalidError{What: "unit", Problems: []error{err}}
	}
	return nil
}
