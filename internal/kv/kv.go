// Package kv keeps records in a JetStream key-value bucket, read from the
// stream's leader and written by compare-and-set: what the client's own Get
// reads may come from a follower that lags, which is enough (Read) only for
// what never changes under its name. The bucket is made when the first record
// is written, so that asking costs nothing where there never was one. Every
// request is bounded by Options.Timeout.
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
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

// ErrDamaged says that the bucket has a record under the key, and can't read
// it. The key isn't written any more: a server whose limit is one record a key
// looks for the damaged one for ever, to remove it, and the whole bucket stands.
var ErrDamaged = errors.New("the record is damaged, and the server can't read it: delete the bucket when no process uses it")

// ErrUnavailable: the server can't be reached, or doesn't answer in time
// (eventlog.ErrUnavailable is this one).
var ErrUnavailable = errors.New("log unavailable")

// Options of a bucket.
type Options struct {
	JetStream   jetstream.JetStream // required
	APIPrefix   string              // of JetStream requests; default "$JS.API"
	Bucket      string
	Description string
	History     int           // revisions kept of a key, where it is made; default 1
	Replicas    int           // where it is made; default 1
	Memory      bool          // where it is made
	Timeout     time.Duration // of one request; default 5 s
	// Ask sends a request to the JetStream API, on a subject without its
	// prefix, and decodes the answer. Default: it is sent once, and waited for
	// until Timeout.
	Ask func(ctx context.Context, subject string, request, reply any) error
}

// Bucket is safe for concurrent use. It owns nothing that has to be closed.
type Bucket struct {
	opts Options

	mu     sync.Mutex
	handle jetstream.KeyValue // nil until the first write
}

// Entry is one record.
type Entry struct {
	Data     []byte    // nil where there is none
	Revision uint64    // where there is none: of the marker that a deletion left, else 0
	Created  time.Time // by the server's clock
	NoBucket bool      // there isn't even a bucket
}

// New asks nothing of the server.
func New(o Options) *Bucket {
	if o.APIPrefix == "" {
		o.APIPrefix = jetstream.DefaultAPIPrefix
	}
	o.APIPrefix = strings.TrimSuffix(o.APIPrefix, ".")
	o.History, o.Replicas = max(1, o.History), max(1, o.Replicas)
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	return &Bucket{opts: o}
}

// Get reads a record from the leader. Where there is none, Data is nil, and
// that is no error; one that can't be read is an ErrDamaged.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	e, there, err := b.last(ctx, key)
	if err != nil || there || e.NoBucket {
		return e, err
	}
	// The server says "no message" of a damaged one, too.
	n, err := b.count(ctx, key)
	if err != nil || n == 0 {
		return Entry{}, err
	}
	e, there, err = b.last(ctx, key) // it may have been written meanwhile
	if err == nil && !there && !e.NoBucket {
		err = b.failed("read", key, ErrDamaged)
	}
	return e, err
}

// count is how many revisions of a key the bucket should have.
func (b *Bucket) count(ctx context.Context, key string) (uint64, error) {
	var reply struct {
		Error *jetstream.APIError `json:"error"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	err := b.ask(ctx, "STREAM.INFO.", map[string]string{"subjects_filter": b.subject(key)}, &reply)
	switch {
	case err != nil:
	case reply.Error != nil && reply.Error.ErrorCode == codeNoStream:
		return 0, nil
	case reply.Error != nil:
		err = reply.Error
	}
	if err != nil {
		return 0, b.failed("count", key, err)
	}
	return reply.State.Subjects[b.subject(key)], nil
}

// last asks the leader for a key's last message; there is false where it has
// none, or can't read it.
func (b *Bucket) last(ctx context.Context, key string) (_ Entry, there bool, _ error) {
	return b.get(ctx, key, map[string]any{"last_by_subj": b.subject(key)})
}

// get asks the leader for a message, of a key or a filter.
func (b *Bucket) get(ctx context.Context, key string, which map[string]any) (_ Entry, there bool, _ error) {
	var reply struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Seq    uint64    `json:"seq"`
			Header []byte    `json:"hdrs"`
			Data   []byte    `json:"data"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	err := b.ask(ctx, "STREAM.MSG.GET.", which, &reply)
	switch {
	case err != nil:
		return Entry{}, false, b.failed("read", key, err)
	case reply.Error != nil && reply.Error.ErrorCode == codeNoStream:
		return Entry{NoBucket: true}, false, nil
	case reply.Error != nil && reply.Error.ErrorCode == codeNoMessage:
		return Entry{}, false, nil
	case reply.Error != nil:
		return Entry{}, false, b.failed("read", key, reply.Error)
	case reply.Message == nil:
		return Entry{}, false, b.failed("read", key, errors.New("an answer without a message"))
	}
	m := reply.Message
	e := Entry{Data: m.Data, Revision: m.Seq, Created: m.Time}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return Entry{}, false, b.failed("read", key, err)
		}
		if h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != "" {
			e.Data = nil
			return e, true, nil
		}
	}
	return orEmpty(e), true, nil
}

// orEmpty tells an empty record from none.
func orEmpty(e Entry) Entry {
	if e.Data == nil {
		e.Data = []byte{}
	}
	return e
}

// Read is Get from any replica, which may lag: for records that never change.
// What it doesn't find the leader may have. It tells no markers.
func (b *Bucket) Read(ctx context.Context, key string) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	kv, err := b.find(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return Entry{NoBucket: true}, nil
	}
	if err != nil {
		return Entry{}, b.failed("read", key, err)
	}
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, b.failed("read", key, err)
	}
	return orEmpty(Entry{Data: e.Value(), Revision: e.Revision(), Created: e.Created()}), nil
}

// Now is the server's time, by which Entry.Created is told. The bucket has to
// be there; ok is false where it isn't.
func (b *Bucket) Now(ctx context.Context) (now time.Time, ok bool, err error) {
	i, err := b.Info(ctx)
	return i.Now, err == nil && !i.NoBucket, err
}

func (b *Bucket) ask(ctx context.Context, what string, request, reply any) error {
	if b.opts.Ask != nil {
		return b.opts.Ask(ctx, what+b.stream(), request, reply)
	}
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return err
		}
	}
	msg, err := b.opts.JetStream.Conn().RequestWithContext(ctx, b.opts.APIPrefix+"."+what+b.stream(), body)
	if err != nil {
		return err
	}
	return json.Unmarshal(msg.Data, reply)
}

func (b *Bucket) stream() string            { return "KV_" + b.opts.Bucket }
func (b *Bucket) subject(key string) string { return "$KV." + b.opts.Bucket + "." + key }

// passing are the errors of a connection or a server that may be back later.
var passing = []error{context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected}

// failed says where it was, and whether it may pass.
func (b *Bucket) failed(what, key string, err error) error {
	if key != "" {
		what += " " + key
	}
	if slices.ContainsFunc(passing, func(p error) bool { return errors.Is(err, p) }) {
		return fmt.Errorf("%s of bucket %s: %w: %w", what, b.opts.Bucket, ErrUnavailable, err)
	}
	return fmt.Errorf("%s of bucket %s: %w", what, b.opts.Bucket, err)
}
