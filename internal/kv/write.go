package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Swap stores data if the key is at the revision (0: it was never written),
// and returns the new revision. Where it isn't 0, Get has read that revision.
func (b *Bucket) Swap(ctx context.Context, key string, data []byte, revision uint64) (now uint64, err error) {
	if revision == 0 {
		if err := b.writable(ctx, key); err != nil {
			return 0, err
		}
	}
	err = b.write(ctx, key, func(ctx context.Context, kv jetstream.KeyValue) error {
		now, err = kv.Update(ctx, key, data, revision)
		return err
	})
	return now, err
}

// Put stores data, whatever was there.
func (b *Bucket) Put(ctx context.Context, key string, data []byte) error {
	if err := b.writable(ctx, key); err != nil {
		return err
	}
	return b.write(ctx, key, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Put(ctx, key, data)
		return err
	})
}

// writable fails where the key has a record that can't be read, and writing
// another would make the server remove that one.
func (b *Bucket) writable(ctx context.Context, key string) error {
	if b.opts.History > 1 {
		return nil
	}
	n, err := b.count(ctx, key)
	if err == nil && n > 0 {
		_, err = b.Get(ctx, key)
	}
	return err
}

// Delete leaves a marker in the place of a record that is at the revision.
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	return b.write(ctx, key, func(ctx context.Context, kv jetstream.KeyValue) error {
		return kv.Delete(ctx, key, jetstream.LastRevision(revision))
	})
}

// write is one write: ErrMoved where a condition of it doesn't hold.
func (b *Bucket) write(ctx context.Context, key string, do func(context.Context, jetstream.KeyValue) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return err
	}
	if err = do(ctx, kv); err == nil {
		return nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == codeWrongSequence || api.ErrorCode == codeWriteUnderWay) {
		return b.failed("write", key, fmt.Errorf("%w: %w", ErrMoved, err))
	}
	b.mu.Lock()
	b.handle = nil // the bucket may have been deleted: look again
	b.mu.Unlock()
	return b.failed("write", key, err)
}

// Drop removes a key with all its revisions if it is still at the revision,
// and leaves no marker, which would stay for ever.
func (b *Bucket) Drop(ctx context.Context, key string, revision uint64) error {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
	}
	err := b.ask(ctx, "STREAM.PURGE.", map[string]any{"filter": b.subject(key), "seq": revision + 1}, &reply)
	if err == nil && reply.Error != nil {
		err = reply.Error
	}
	if err != nil {
		return b.failed("remove", key, err)
	}
	return nil
}

// Item is a record without its data.
type Item struct {
	Key      string
	Revision uint64
	Created  time.Time // by the server's clock
}

// List returns the records whose keys match, as NATS subjects do.
func (b *Bucket) List(ctx context.Context, filter string) (items []Item, err error) {
	kv, err := b.find(ctx)
	if err != nil {
		return nil, b.failed("list", filter, err)
	}
	w, err := kv.Watch(ctx, filter, jetstream.MetaOnly(), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, b.failed("list", filter, err)
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	// Where nothing comes for a while the leader is asked. A damaged record is
	// counted, so the watch waits for it for ever.
	look := b.opts.Timeout / 10
	quiet, last, waited := time.NewTimer(look), uint64(0), time.Duration(0)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-quiet.C:
			more, err := b.more(ctx, filter, last)
			if err != nil || !more {
				return items, err
			}
			if waited += look; waited >= b.opts.Timeout {
				return nil, b.failed("list", filter, context.DeadlineExceeded)
			}
			quiet.Reset(look)
		case e, open := <-w.Updates():
			if !open {
				return nil, b.failed("list", filter, nats.ErrConnectionClosed)
			}
			if e == nil {
				return items, nil
			}
			last, waited = e.Revision(), 0
			items = append(items, Item{Key: e.Key(), Revision: last, Created: e.Created()})
			quiet.Reset(look)
		}
	}
}

// more says whether the leader can read a further record that is listed.
func (b *Bucket) more(ctx context.Context, filter string, after uint64) (bool, error) {
	for ctx.Err() == nil {
		e, there, err := b.get(ctx, filter, map[string]any{"seq": after + 1, "next_by_subj": b.subject(filter)})
		if err != nil || !there || e.Data != nil {
			return there, err
		}
		after = e.Revision // the marker of a deletion
	}
	return false, ctx.Err()
}

// Ensure makes the bucket where it is missing, and returns the settings of its
// stream: those of a bucket that was there may be other ones.
func (b *Bucket) Ensure(ctx context.Context) (c jetstream.StreamConfig, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	if _, err := b.open(ctx); err != nil {
		return c, err
	}
	s, err := b.opts.JetStream.Stream(ctx, b.stream())
	if err != nil {
		return c, b.failed("ask for the settings", "", err)
	}
	return s.CachedInfo().Config, nil
}

// find opens the bucket, which has to be there.
func (b *Bucket) find(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	handle := b.handle
	b.mu.Unlock()
	if handle != nil {
		return handle, nil
	}
	return b.keep(b.opts.JetStream.KeyValue(ctx, b.opts.Bucket))
}

// open finds or makes the bucket.
func (b *Bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := b.find(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		o := b.opts
		storage := jetstream.FileStorage
		if o.Memory {
			storage = jetstream.MemoryStorage
		}
		kv, err = b.keep(o.JetStream.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: o.Bucket, Description: o.Description, History: uint8(o.History), Replicas: o.Replicas, Storage: storage,
		}))
		if errors.Is(err, jetstream.ErrBucketExists) { // another process was faster
			kv, err = b.find(ctx)
		}
	}
	if err != nil {
		return nil, b.failed("open", "", err)
	}
	return kv, nil
}

func (b *Bucket) keep(kv jetstream.KeyValue, err error) (jetstream.KeyValue, error) {
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handle = kv
	return kv, nil
}
