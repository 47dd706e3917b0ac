package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Codes of the JetStream API that decide something here.
const (
	codeNoMessage       jetstream.ErrorCode = 10037
	codeWrongSequence   jetstream.ErrorCode = 10071 // the key is at another revision
	codeWriteUnderWay   jetstream.ErrorCode = 10164 // a replicated write to it is in flight
	codeStreamNotFound  jetstream.ErrorCode = jetstream.JSErrCodeStreamNotFound
	operationHeader                         = "KV-Operation" // present on markers of deleted keys
	markerReasonHeader                      = "Nats-Marker-Reason"
	subjectPrefixFormat                     = "$KV.%s."
)

// natsBucket is a bucket in JetStream.
type natsBucket struct {
	kv      jetstream.KeyValue
	stream  jetstream.Stream
	conn    *nats.Conn
	api     string // API prefix, without the last dot
	subject string // "$KV.<bucket>."
	timeout time.Duration
}

// bounded limits one request. Without it a request on a context that never
// ends would wait for ever for a server that is gone.
func (b *natsBucket) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.timeout)
}

func (b *natsBucket) put(ctx context.Context, key string, data []byte) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	_, err := b.kv.Put(ctx, key, data)
	return err
}

func (b *natsBucket) swap(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	now, err := b.kv.Update(ctx, key, data, revision)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == codeWrongSequence || api.ErrorCode == codeWriteUnderWay) {
		return 0, fmt.Errorf("%w: %w", errMoved, err)
	}
	return now, err
}

func (b *natsBucket) get(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	e, err := b.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, &NotFoundError{Kind: "key", Name: key}
	}
	if err != nil {
		return nil, err
	}
	return e.Value(), nil
}

// leader asks the API subject, which only the stream's leader answers. A direct
// get, which the client would use, may be answered by a follower that lags.
func (b *natsBucket) leader(ctx context.Context, key string) (entry, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": b.subject + key})
	if err != nil {
		return entry{}, err
	}
	subject := b.api + ".STREAM.MSG.GET." + b.stream.CachedInfo().Config.Name
	reply, err := b.conn.RequestWithContext(ctx, subject, request)
	if err != nil {
		return entry{}, fmt.Errorf("ask the leader for %s: %w", key, err)
	}
	return parseMessage(key, reply.Data)
}

// messageReply is the answer of STREAM.MSG.GET.
type messageReply struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Sequence uint64 `json:"seq"`
		Header   []byte `json:"hdrs"`
		Data     []byte `json:"data"`
	} `json:"message"`
}

func parseMessage(key string, data []byte) (entry, error) {
	var reply messageReply
	if err := json.Unmarshal(data, &reply); err != nil {
		return entry{}, fmt.Errorf("the leader's answer about %s: %w", key, err)
	}
	absent := &NotFoundError{Kind: "key", Name: key}
	switch {
	case reply.Error != nil && reply.Error.ErrorCode == codeNoMessage:
		return entry{}, absent
	case reply.Error != nil:
		return entry{}, reply.Error
	case reply.Message == nil:
		return entry{}, fmt.Errorf("the leader's answer about %s holds no message", key)
	}
	e := entry{data: reply.Message.Data, revision: reply.Message.Sequence}
	if len(reply.Message.Header) == 0 {
		return e, nil
	}
	header, err := nats.DecodeHeadersMsg(reply.Message.Header)
	if err != nil {
		return entry{}, fmt.Errorf("the headers of %s: %w", key, err)
	}
	if header.Get(operationHeader) != "" || header.Get(markerReasonHeader) != "" {
		return entry{revision: e.revision}, absent
	}
	return e, nil
}

// drop purges the key's subject up to the revision. A marker, which deleting
// through the KV API leaves, would stay for ever; and the sequence makes it a
// compare-and-delete, so that an entry that was put again survives.
func (b *natsBucket) drop(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	return b.stream.Purge(ctx, jetstream.WithPurgeSubject(b.subject+key), jetstream.WithPurgeSequence(revision+1))
}

func (b *natsBucket) now(ctx context.Context) (time.Time, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	info, err := b.stream.Info(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return info.TimeStamp, nil
}

func (b *natsBucket) list(ctx context.Context, filter string) (items []item, err error) {
	w, err := b.kv.Watch(ctx, filter, jetstream.MetaOnly(), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	quiet := time.NewTimer(b.timeout) // without progress for so long, the list is given up
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-quiet.C:
			return nil, fmt.Errorf("list %s: %w", filter, context.DeadlineExceeded)
		case e, open := <-w.Updates():
			if !open {
				return nil, fmt.Errorf("list %s: %w", filter, nats.ErrConnectionClosed)
			}
			if e == nil {
				return items, nil
			}
			items = append(items, item{key: e.Key(), revision: e.Revision(), created: e.Created()})
			quiet.Reset(b.timeout)
		}
	}
}
