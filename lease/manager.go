package lease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/tidemark-es/tidemark/internal/grace"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// Manager takes leases for one process. It is safe for concurrent use, and
// has no goroutine of its own: each lease that is held has one.
type Manager struct {
	opts   Options
	bucket store

	mu    sync.Mutex
	names map[string]*seen
}

// store is what leases need of a bucket; tests put failures between.
type store interface {
	Get(ctx context.Context, key string) (kv.Entry, error)
	Swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error)
}

// seen is what the manager knows of one name.
type seen struct {
	mu sync.Mutex // held while the name is being taken
	sighting
	held bool // by a lease of this manager that is alive
	// token of the next hold, and of one that lapsed or whose acquisition has
	// an unknown outcome: a record with it is ours for the taking.
	token string
}

// New makes a manager. It asks nothing of the server; the bucket is made with
// the first lease.
func New(o Options) (*Manager, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return newManager(o, kv.New(kv.Options{
		JetStream: o.JetStream, APIPrefix: o.APIPrefix, Bucket: o.App + "_leases", Description: "leases",
		Replicas: o.Replicas, Memory: o.Memory, Timeout: o.Timeout,
	})), nil
}

func newManager(o Options, s store) *Manager {
	return &Manager{opts: o, bucket: s, names: make(map[string]*seen)}
}

// Heartbeat is how often a lease is renewed: a third of the TTL. Who waits
// for a lease by TryAcquire should ask about as often.
func (m *Manager) Heartbeat() time.Duration { return m.opts.heartbeat() }

// TryAcquire takes the name if it is free. Names are such as feeds have, or
// several joined by dots ("effects.mail"). A name whose holder is silent
// becomes free when this manager has seen it unchanged for a while: so the
// first try can't take it, and has to be repeated.
//
// Errors: *HeldError, with how long to wait at least; ErrInvalid; ErrCorrupt;
// or one of the connection, after which the next try finds out how this one
// ended.
func (m *Manager) TryAcquire(ctx context.Context, name string) (*Lease, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	s := m.of(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := m.bucket.Get(ctx, name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, storeError(name, err)
	}
	now := time.Now()
	s.sighting = s.see(e.Revision, now)
	r := record{Owner: m.opts.Owner, Token: s.token, Epoch: 1, TTL: m.opts.TTL, Session: m.opts.Session}
	if e.Data != nil {
		old, err := decodeRecord(name, e.Data)
		if err != nil {
			return nil, err
		}
		wait := old.wait(s.sighting, now, s.token, m.opts.Session)
		if s.held {
			wait = max(wait, m.opts.heartbeat())
		}
		if wait > 0 {
			return nil, &HeldError{Name: name, Owner: old.Owner, Epoch: old.Epoch, Wait: wait}
		}
		r.Epoch = old.Epoch + 1
	}
	return m.take(ctx, name, s, r, e.Revision)
}

// validName takes names as timeframe.ValidName allows them, joined by dots.
func validName(name string) error {
	for part := range strings.SplitSeq(name, ".") {
		if err := timeframe.ValidName(part); err != nil {
			return fmt.Errorf("lease %q: %w: %w", name, ErrInvalid, err)
		}
	}
	return nil
}

func (m *Manager) of(name string) *seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.names[name]
	if s == nil {
		s = &seen{token: nuid.Next()}
		m.names[name] = s
	}
	return s
}

// take writes the record; s.mu is held.
func (m *Manager) take(ctx context.Context, name string, s *seen, r record, revision uint64) (*Lease, error) {
	begun := time.Now()
	// Not interrupted at once by ctx: a write whose outcome nobody looks at would
	// keep the others waiting for its TTL.
	write, cancel := grace.After(ctx, m.opts.Timeout)
	defer cancel()
	revision, err := m.bucket.Swap(write, name, r.encode(), revision)
	if errors.Is(err, kv.ErrMoved) {
		return nil, &HeldError{Name: name, Owner: "another process, just now", Epoch: r.Epoch, Wait: m.opts.heartbeat()}
	}
	if err != nil {
		return nil, storeError(name, err)
	}
	s.held = true
	m.opts.Logger.Info().Str("lease", name).Uint64("epoch", r.Epoch).Msg("lease acquired")
	return newLease(m, name, r, revision, begun), nil
}

// over takes note that a lease of this manager has ended.
func (m *Manager) over(name string, released bool) {
	s := m.of(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	if released {
		s.token = nuid.Next()
	}
}

// Acquire waits until the name can be taken, or ctx ends. A server that is
// away is waited for, too.
func (m *Manager) Acquire(ctx context.Context, name string) (*Lease, error) {
	for {
		l, err := m.TryAcquire(ctx, name)
		wait := m.opts.heartbeat()
		if held, ok := errors.AsType[*HeldError](err); ok {
			wait = min(wait, max(held.Wait, time.Millisecond))
		} else if err == nil || errors.Is(err, ErrInvalid) || errors.Is(err, ErrCorrupt) {
			return l, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("lease %q: %w (%w)", name, context.Cause(ctx), err)
		}
	}
}

// Holder says who holds a name now, as its leader has it; ok is false where
// nobody has held it yet, or the last holder has released it. A holder that
// died is told until somebody takes its place.
func (m *Manager) Holder(ctx context.Context, name string) (owner string, epoch uint64, ok bool, err error) {
	e, err := m.bucket.Get(ctx, name)
	if err != nil {
		return "", 0, false, storeError(name, err)
	}
	if e.Data == nil {
		return "", 0, false, nil
	}
	r, err := decodeRecord(name, e.Data)
	return r.Owner, r.Epoch, err == nil && !r.Released, err
}
