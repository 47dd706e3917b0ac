package eventlog

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrMaxBytesRequired: the account demands that each stream says how many bytes
// it may hold: set Options.FeedMaxBytes and Options.BucketMaxBytes. It is an
// ErrRefused too; nothing was made.
var ErrMaxBytesRequired = errors.New("the account demands a limit of each stream: set Options.FeedMaxBytes and Options.BucketMaxBytes")

// limitedBuckets gives each new bucket a limit. All of an application's buckets
// are made through its log's JetStream, so none can be forgotten.
type limitedBuckets struct {
	jetstream.JetStream

	most int64
}

func (l limitedBuckets) limit(c jetstream.KeyValueConfig) jetstream.KeyValueConfig {
	if c.MaxBytes == 0 {
		c.MaxBytes = l.most
	}
	return c
}

func (l limitedBuckets) CreateKeyValue(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	return l.JetStream.CreateKeyValue(ctx, l.limit(c))
}

func (l limitedBuckets) CreateOrUpdateKeyValue(ctx context.Context, c jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	return l.JetStream.CreateOrUpdateKeyValue(ctx, l.limit(c))
}
