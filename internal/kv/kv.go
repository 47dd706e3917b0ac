// Package kv keeps small records in a JetStream key-value bucket, read from
// the stream's leader and written by compare-and-set alone: what the client's
// own Get reads may come from a follower that lags. The bucket is made when
// the first record is written, so that asking costs nothing where there never
// was one.
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Codes of the JetStream API that decide something here.
const (
	codeNoMessage     = 10037
	codeNoStream      = 10059
	codeWrongSequence = 10071 // the key is at another revision
	codeWriteUnderWay = 10164 // a replicated write to it is in flight
)

// ErrMoved says that a compare-and-set found another revision, or that one
// was under way: read again. Any other error of Swap may mean that the write
// happened all the same.
var ErrMoved = errors.New("the record isn't at the expected revision")

// Options of a bucket.
type Options struct {
	JetStream   jetstream.JetStream // required
	APIPrefix   string              // of JetStream requests; default "$JS.API"
	Bucket      string
	Description string
	Replicas    int           // where it is made; default 1
	Memory      bool          // where it is made
	Timeout     time.Duration // of one request; default 5 s
}

// Bucket is safe for concurrent use. It owns nothing that has to be closed.
type Bucket struct {
	opts Options

	mu     sync.Mutex
	handle jetstream.KeyValue // nil until the first write
}

// Entry is one record.
type Entry struct {
	Data     []byte
	Revision uint64    // 0 where there is none
	Created  time.Time // by the server's clock
}

// New asks nothing of the server.
func New(o Options) *Bucket {
	if o.APIPrefix == "" {
		o.APIPrefix = jetstream.DefaultAPIPrefix
	}
	o.APIPrefix = strings.TrimSuffix(o.APIPrefix, ".")
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	return &Bucket{opts: o}
}

// Get reads a record from the leader. Where there is none, whether or not
// there is a bucket, Data is nil; the revision is then that of the marker
// which a deletion left, else 0.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	var reply struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Seq    uint64    `json:"seq"`
			Header []byte    `json:"hdrs"`
			Data   []byte    `json:"data"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	err := b.ask(ctx, "STREAM.MSG.GET.", map[string]string{"last_by_subj": "$KV." + b.opts.Bucket + "." + key}, &reply)
	switch {
	case err != nil:
		return Entry{}, fmt.Errorf("read %s of bucket %s: %w", key, b.opts.Bucket, err)
	case reply.Error != nil && (reply.Error.ErrorCode == codeNoMessage || reply.Error.ErrorCode == codeNoStream):
		return Entry{}, nil
	case reply.Error != nil:
		return Entry{}, fmt.Errorf("read %s of bucket %s: %w", key, b.opts.Bucket, reply.Error)
	case reply.Message == nil:
		return Entry{}, fmt.Errorf("read %s of bucket %s: an answer without a message", key, b.opts.Bucket)
	}
	e := Entry{Data: reply.Message.Data, Revision: reply.Message.Seq, Created: reply.Message.Time}
	if len(reply.Message.Header) > 0 && strings.Contains(string(reply.Message.Header), "KV-Operation:") {
		e.Data = nil
	}
	return e, nil
}

// Now is the server's time, by which Entry.Created is told. The bucket has to
// be there; ok is false where it isn't.
func (b *Bucket) Now(ctx context.Context) (now time.Time, ok bool, err error) {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
		TS    time.Time           `json:"ts"`
	}
	switch err := b.ask(ctx, "STREAM.INFO.", nil, &reply); {
	case err != nil:
		return now, false, fmt.Errorf("ask for the time of bucket %s: %w", b.opts.Bucket, err)
	case reply.Error != nil && reply.Error.ErrorCode == codeNoStream:
		return now, false, nil
	case reply.Error != nil:
		return now, false, fmt.Errorf("ask for the time of bucket %s: %w", b.opts.Bucket, reply.Error)
	}
	return reply.TS, true, nil
}

func (b *Bucket) ask(ctx context.Context, what string, request, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return err
		}
	}
	msg, err := b.opts.JetStream.Conn().RequestWithContext(ctx, b.opts.APIPrefix+"."+what+"KV_"+b.opts.Bucket, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(msg.Data, reply)
}

// Swap stores data if the key is at the revision (0: it was never written),
// and returns the new revision.
func (b *Bucket) Swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	kv, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	now, err := kv.Update(ctx, key, data, revision)
	if err == nil {
		return now, nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == codeWrongSequence || api.ErrorCode == codeWriteUnderWay) {
		return 0, fmt.Errorf("write %s of bucket %s: %w: %w", key, b.opts.Bucket, ErrMoved, err)
	}
	b.mu.Lock()
	b.handle = nil // the bucket may have been deleted: look again
	b.mu.Unlock()
	return 0, fmt.Errorf("write %s of bucket %s: %w", key, b.opts.Bucket, err)
}

// open finds or makes the bucket.
func (b *Bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	handle := b.handle
	b.mu.Unlock()
	if handle != nil {
		return handle, nil
	}
	o := b.opts
	kv, err := o.JetStream.KeyValue(ctx, o.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		storage := jetstream.FileStorage
		if o.Memory {
			storage = jetstream.MemoryStorage
		}
		kv, err = o.JetStream.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: o.Bucket, Description: o.Description, History: 1, Replicas: max(1, o.Replicas), Storage: storage,
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // another process was faster
			kv, err = o.JetStream.KeyValue(ctx, o.Bucket)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", o.Bucket, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handle = kv
	return kv, nil
}
