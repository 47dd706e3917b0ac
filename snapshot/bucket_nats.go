package snapshot

import (
	"context"
	"errors"
	"time"

	"github.com/tidemark-es/tidemark/internal/kv"
)

// natsBucket is a bucket in JetStream. Asking makes none: a bucket that was
// deleted under an open store is an error, not a unit without snapshots.
type natsBucket struct{ *kv.Bucket }

func (b natsBucket) put(ctx context.Context, key string, data []byte) error {
	return damaged(b.Put(ctx, key, data))
}

func (b natsBucket) swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	now, err := b.Swap(ctx, key, data, revision)
	return now, damaged(err)
}

func (b natsBucket) get(ctx context.Context, key string) ([]byte, error) {
	e, err := b.Read(ctx, key)
	return e.Data, found(key, e, err)
}

func (b natsBucket) leader(ctx context.Context, key string) (entry, error) {
	e, err := b.Get(ctx, key)
	return entry{data: e.Data, revision: e.Revision}, found(key, e, err)
}

func found(key string, e kv.Entry, err error) error {
	switch {
	case err != nil:
		return damaged(err)
	case e.NoBucket:
		return errNoBucket
	case e.Data == nil:
		return &NotFoundError{Kind: "key", Name: key}
	}
	return nil
}

// damaged makes a record that the server can't read a *CorruptError.
func damaged(err error) error {
	if !errors.Is(err, kv.ErrDamaged) {
		return err
	}
	c := corrupt("a record of the bucket")
	c.Err = err
	return c
}

var errNoBucket = errors.New("the bucket was deleted")

func (b natsBucket) drop(ctx context.Context, key string, revision uint64) error {
	return b.Drop(ctx, key, revision)
}

func (b natsBucket) now(ctx context.Context) (time.Time, error) {
	now, ok, err := b.Now(ctx)
	if err == nil && !ok {
		err = errNoBucket
	}
	return now, err
}

func (b natsBucket) list(ctx context.Context, filter string) ([]kv.Item, error) {
	return b.List(ctx, filter)
}
