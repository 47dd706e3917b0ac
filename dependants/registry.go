package dependants

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Options of a Registry. App and JetStream are required.
type Options struct {
	App       string              // scopes the bucket, <App>_dependants
	JetStream jetstream.JetStream // never closed
	APIPrefix string              // of JetStream requests; default "$JS.API"
	Replicas  int                 // of the bucket where it is made; default 1
	Memory    bool                // keep the bucket in memory where it is made
	Timeout   time.Duration       // of one request to the server; default 5 s
}

// Registry is an application's register. It is safe for concurrent use, and
// owns nothing that has to be closed.
type Registry struct {
	bucket store
	// copyFrom is when the copy is written again, in Unix nanoseconds, after
	// that wasn't possible in time.
	copyFrom atomic.Int64
}

// store is what the register needs of a bucket.
type store interface {
	Get(ctx context.Context, key string) (kv.Entry, error)
	Swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
	Info(ctx context.Context) (kv.Info, error)
	Ensure(ctx context.Context) (jetstream.StreamConfig, error)
	SetNote(ctx context.Context, name, text string) error
}

const registerKey = "register"

// New asks nothing of the server; the bucket is made with the first dependant, or
// by the first List or Trimmed.
func New(o Options) (*Registry, error) {
	if err := timeframe.ValidName(o.App); err != nil {
		return nil, fmt.Errorf("dependants: options: %w: App: %w", ErrInvalid, err)
	}
	if o.JetStream == nil || o.Timeout < 0 || o.Replicas < 0 || o.Replicas > 5 {
		return nil, fmt.Errorf("dependants: options: %w: JetStream is required, Timeout and Replicas (%d, at most 5) can't be negative", ErrInvalid, o.Replicas)
	}
	return &Registry{bucket: kv.New(kv.Options{
		JetStream: o.JetStream, APIPrefix: o.APIPrefix, Bucket: o.App + "_dependants", Description: "who needs which part of the log",
		Replicas: o.Replicas, Memory: o.Memory, Timeout: cmp.Or(o.Timeout, 5*time.Second),
	})}, nil
}

// Register adds a dependant, or replaces the one of its name. From its return
// on the log isn't trimmed beyond what it needs. Errors: ErrInvalid,
// *TooLateError, ErrCorrupt, or one of the connection, after which it may be
// registered all the same.
func (r *Registry) Register(ctx context.Context, ds ...Dependant) error {
	for _, d := range ds {
		if err := d.validate(); err != nil {
			return err
		}
	}
	return r.change(ctx, func(rec record, _ time.Time) error {
		for _, d := range ds {
			if err := rec.put(d); err != nil {
				return err
			}
		}
		return nil
	})
}

// Advance says that a dependant has come further, and is alive. Positions
// never go back; feeds that aren't named stay where they are. The error is an
// *UnknownError where it isn't registered any more.
func (r *Registry) Advance(ctx context.Context, name string, to timeframe.Timeframe) error {
	return r.change(ctx, func(rec record, _ time.Time) error { return rec.advance(name, to) })
}

// Deregister removes a dependant: the log needn't be kept for it. It is no
// error where there is none; a *NeededError where others are derived from it.
func (r *Registry) Deregister(ctx context.Context, name string) error {
	return r.change(ctx, func(rec record, _ time.Time) error { return rec.remove(name) })
}

// List returns all dependants by name, the expired ones too, which stay until
// the next trim.
func (r *Registry) List(ctx context.Context) ([]Dependant, error) {
	s, err := r.whole(ctx)
	if err != nil {
		return nil, err
	}
	return s.record.list(s.now), nil
}

// Trimmed says how far feeds may have been trimmed by Trim, by feed. A log
// that begins later was trimmed by somebody else.
func (r *Registry) Trimmed(ctx context.Context) (map[string]Mark, error) {
	s, err := r.whole(ctx)
	return s.record.Trimmed, err
}

// Trim decides how far feeds may be trimmed, and puts that down before it
// happens: plan gets all dependants and returns the new marks. It is called
// again where somebody registered meanwhile. After Trim the log may be trimmed
// to what plan has returned last; who registers now is told (*TooLateError).
// Where that isn't done, nothing is lost: the next Trim does it. Dependants
// that have expired are dropped. No marks change nothing.
func (r *Registry) Trim(ctx context.Context, plan func([]Dependant) (map[string]Mark, error)) error {
	return r.change(ctx, func(rec record, now time.Time) error {
		ds := rec.list(now)
		marks, err := plan(ds)
		if err != nil {
			return err
		}
		if len(marks) == 0 {
			return errNothing
		}
		rec.trim(marks, ds)
		return nil
	})
}

// Current says which streams the feeds have now: marks of streams that were
// deleted and created again, by feed, are dropped.
func (r *Registry) Current(ctx context.Context, incarnations map[string]string) error {
	return r.change(ctx, func(rec record, _ time.Time) error {
		err := errNothing
		for feed, m := range rec.Trimmed {
			if now, ok := incarnations[feed]; ok && now != m.Incarnation {
				delete(rec.Trimmed, feed)
				err = nil
			}
		}
		return err
	})
}

var errNothing = errors.New("nothing to write")

// stored is the register as it was read.
type stored struct {
	record   record
	revision uint64 // of the record in the bucket
	now      time.Time
	none     bool // there is no bucket
}

// whole reads the register, and makes its bucket where there is none. A server
// that was killed as it wrote the bucket's settings leaves the bucket out when it
// starts again, and finds what was in it when it is made: an application whose
// register is out of sight isn't one without dependants.
func (r *Registry) whole(ctx context.Context) (stored, error) {
	s, err := r.read(ctx)
	if err != nil || !s.none {
		return s, err
	}
	if _, err := r.bucket.Ensure(ctx); err != nil {
		return s, fmt.Errorf("dependants: %w", err)
	}
	return r.read(ctx)
}

// read reads the register, or its copy where damage has set the record back.
func (r *Registry) read(ctx context.Context) (s stored, err error) {
	e, err := r.bucket.Get(ctx, registerKey)
	damaged := errors.Is(err, kv.ErrDamaged)
	if err != nil && !damaged {
		return s, fmt.Errorf("dependants: %w", err)
	}
	info, err := r.bucket.Info(ctx)
	if err != nil {
		return s, fmt.Errorf("dependants: %w", err)
	}
	s.revision, s.now, s.none = e.Revision, info.Now, info.NoBucket
	data, created := e.Data, e.Created
	if c, ok := decodeCopy(info.Notes[copyNote]); ok && c.Revision > e.Revision {
		data, created = c.Record, c.At
	} else if damaged {
		return s, damagedError(err)
	}
	s.record, err = decodeRecord(data, created)
	return s, err
}

func damagedError(err error) error { return fmt.Errorf("dependants: %w: %w", ErrCorrupt, err) }

// change runs one compare-and-set, again where somebody else was faster.
func (r *Registry) change(ctx context.Context, f func(record, time.Time) error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		s, err := r.read(ctx)
		if err != nil {
			return err
		}
		switch err := f(s.record, s.now); {
		case errors.Is(err, errNothing):
			return nil
		case err != nil:
			return err
		}
		data, err := json.Marshal(s.record)
		if err != nil {
			return fmt.Errorf("dependants: %w", err)
		}
		revision, err := r.bucket.Swap(ctx, registerKey, data, s.revision)
		if err == nil {
			r.keepCopy(ctx, registerCopy{Revision: revision, At: s.now, Record: data})
			return nil
		}
		if errors.Is(err, kv.ErrDamaged) {
			return damagedError(err)
		}
		if !errors.Is(err, kv.ErrMoved) {
			return fmt.Errorf("dependants: %w", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("dependants: %w", context.Cause(ctx))
		}
	}
}
