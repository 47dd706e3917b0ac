package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/kv"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The register of an application's feeds is a KV bucket, "<app>_feeds", with
// an entry for each feed that was ever handed out: its stream's incarnation.
// A stream alone can't tell that it was there before; the register can, as
// long as it is kept apart from the feeds, and with them it is backed up and
// restored. It is asked once, when a feed is opened.
//
//	none ──► creating ──► open ──► (Forget, DeleteStream) none
//
// "creating" means that no feed with this incarnation was handed out yet, so
// its stream can be created by whoever comes, also after a crash.

const (
	stateCreating = "creating"
	stateOpen     = "open"

	registerVersion = 1
)

// registration is a feed's entry.
type registration struct {
	Version     int       `json:"version"`
	Incarnation string    `json:"incarnation"`
	State       string    `json:"state"`
	Since       time.Time `json:"since"` // by the clock of who registered it

	revision uint64 // of the entry; of its marker where it was forgotten; 0 where there was never one
	none     bool   // the bucket itself is missing
}

// known says whether there is an entry.
func (r registration) known() bool { return r.Incarnation != "" }

// openRegister is the register's bucket, which is made with the first entry.
func (l *Log) openRegister() *kv.Bucket {
	return kv.New(kv.Options{
		JetStream: l.js, Ask: l.ask, Timeout: l.opts.RequestTimeout,
		Bucket: l.registerBucket(), Description: "Tidemark feeds of " + l.opts.App,
		History: 8, Memory: l.opts.Memory, Replicas: l.opts.Replicas,
	})
}

func (l *Log) registerBucket() string { return l.opts.App + "_feeds" }

// registered reads a feed's entry from the register's leader.
func (l *Log) registered(ctx context.Context, feed string) (r registration, err error) {
	e, err := l.feedRegister.Get(ctx, feed)
	if errors.Is(err, kv.ErrDamaged) {
		// The stream itself says which one it is; the entry is written again.
		l.opts.Logger.Error().Err(err).Str("feed", feed).Msg("eventlog: the feed's entry in the register is damaged")
		err = nil
	}
	if err != nil {
		return r, err
	}
	r.revision, r.none = e.Revision, e.NoBucket
	if e.Data == nil {
		return r, nil // never registered, or forgotten
	}
	if err := r.decode(e.Data); err != nil {
		return r, fmt.Errorf("eventlog: register %s, entry %s: %w", l.registerBucket(), feed, err)
	}
	return r, nil
}

// decode fills in what is stored. The error is an ErrCorrupt.
func (r *registration) decode(data []byte) error {
	if err := json.Unmarshal(data, r); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if r.Version != registerVersion || r.Incarnation == "" || len(r.Incarnation) > timeframe.MaxIncarnation || (r.State != stateOpen && r.State != stateCreating) {
		return fmt.Errorf("%w: version %d, incarnation %.80q, state %.80q: this program knows version %d", ErrCorrupt, r.Version, r.Incarnation, r.State, registerVersion)
	}
	return nil
}

// register writes a feed's entry if it still is as it was read; again says
// that it isn't.
func (l *Log) register(ctx context.Context, feed string, was, now registration) (again bool, err error) {
	now.Version, now.Since = registerVersion, time.Now().UTC()
	if was.Incarnation == now.Incarnation {
		now.Since = was.Since
	}
	b, err := json.Marshal(now)
	if err != nil {
		return false, err
	}
	return l.writeRegister(ctx, feed, func(ctx context.Context) error {
		_, err := l.feedRegister.Swap(ctx, feed, b, was.revision)
		return err
	})
}

// writeRegister runs a compare-and-set of an entry. An answer that doesn't
// come is no problem: the entry is read again, and is there or not.
func (l *Log) writeRegister(ctx context.Context, feed string, write func(context.Context) error) (again bool, err error) {
	outer, bucket := ctx, l.registerBucket()
	ctx, done := l.watchDenied(ctx, "$KV."+bucket+"."+feed, l.api+".$KV."+bucket+"."+feed,
		l.api+".STREAM.INFO.KV_"+bucket, l.api+".STREAM.CREATE.KV_"+bucket, l.api+".INFO")
	err = done(write(ctx))
	switch {
	case errors.Is(err, kv.ErrMoved):
		return true, nil
	case errors.Is(err, context.DeadlineExceeded) && outer.Err() == nil:
		return false, nats.ErrTimeout
	}
	return false, err
}

// forgotten fails where the register itself is missing although the
// application has snapshots: they came from feeds, which must not begin anew
// as if they had never been.
func (l *Log) forgotten(ctx context.Context, feed, stream string) error {
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			Messages uint64 `json:"messages"`
		} `json:"state"`
	}
	switch err := l.ask(ctx, "STREAM.INFO.KV_"+l.opts.App+"_snapshots", nil, &resp); {
	case err != nil:
		return err
	case resp.Error != nil && resp.Error.ErrorCode == codeNoStream:
		return nil
	case resp.Error != nil:
		return resp.Error
	case resp.State.Messages > 0:
		return &MissingError{Feed: feed, Stream: stream}
	}
	return nil
}

// Forget takes a feed out of the application's register, so that opening it
// creates its stream when that is missing (ErrMissing). It is no error where
// the feed isn't registered. Its stream, if there is one, stays.
func (l *Log) Forget(ctx context.Context, feed string) error {
	for {
		r, err := l.registered(ctx, feed)
		if err != nil {
			return l.registerError("forget", feed, err)
		}
		if !r.known() {
			return nil
		}
		again, err := l.writeRegister(ctx, feed, func(ctx context.Context) error {
			return l.feedRegister.Delete(ctx, feed, r.revision)
		})
		if err == nil && !again && l.marks != nil {
			err = l.marks.drop(ctx, feed)
		}
		if err != nil || !again {
			return l.registerError("forget", feed, err)
		}
	}
}

func (l *Log) registerError(op, feed string, err error) error {
	return (&Feed{log: l, name: feed}).serverError(context.Background(), op, err)
}
