package projection

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/problem"
	"github.com/tidemark-es/tidemark/snapshot"
)

// validate reports what is wrong with the configuration alone.
func (c *Config) validate() error {
	var p problem.List
	if !c.Unverifiable.valid() {
		p.Add("Unverifiable %d: TrustTrimmed, TrustNone or TrustUnverified", c.Unverifiable)
	}
	if s := &c.Snapshots; c.Store != nil && (s.Keep != 0 || s.KeepFor != 0 || s.KeepBytes != 0) {
		p.Add("Snapshots.Keep, KeepFor and KeepBytes are of the default store: give them to yours (snapshot.Options)")
	}
	return p.Err("projection", ErrInvalid)
}

// openStore opens the default store, which retains what the policy says.
func (c *Config) openStore(ctx context.Context, log *eventlog.Log) (*snapshot.Store, error) {
	s, err := snapshot.Open(ctx, snapshot.Options{
		App: log.App(), Conn: log.Conn(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(),
		Replicas: log.Replicas(), Memory: log.InMemory(), Logger: *c.Logger,
		Keep: c.Snapshots.Keep, KeepFor: c.Snapshots.KeepFor, KeepBytes: c.Snapshots.KeepBytes,
	})
	if errors.Is(err, snapshot.ErrInvalid) {
		return nil, fmt.Errorf("projection: %w: Snapshots: %w", ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("projection: snapshots: %w", err)
	}
	return s, nil
}
