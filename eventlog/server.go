package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/timeframe"
)

// The server's error codes that decide something here (server/errors.json).
const (
	codeNoMessage         = 10037 // no message found
	codeTooLarge          = 10054 // message size exceeds maximum allowed
	codeWrongLastSequence = 10071 // wrong last sequence: N
	codeSubjectsOverlap   = 10065 // subjects overlap with an existing stream
	codeWriteInFlight     = 10164 // wrong last sequence, without saying which
	codeStreamNameInUse   = 10058 // stream name already in use with a different configuration
	codeNoStream          = 10059 // stream not found
	codeAccountFull       = 10002 // resource limits exceeded for account
	codeNoPeers           = 10005 // no suitable peers for placement
	codeServerFull        = 10023 // insufficient resources: the server's store is full
	codeMemoryFull        = 10028 // insufficient memory resources available
	codeStorageFull       = 10047 // insufficient storage resources available
	codeMaxBytesRequired  = 10113 // account requires a stream config to have max bytes set
	codeStoreFailed       = 10077 // what the store said: limits of the stream
)

// serverError is the one gate from the server's and the client's errors to
// ours, for everything but the outcome of an append. ctx is the caller's: a
// deadline that isn't its own is the server's silence.
func (f *Feed) serverError(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if api.Code == 503 {
			return fmt.Errorf("eventlog: %s on feed %q: %w: %w", op, f.name, ErrUnavailable, err)
		}
		return &ServerError{Feed: f.name, Op: op, Code: int(api.ErrorCode), Description: api.Description}
	}
	if errors.Is(err, ErrDenied) {
		return fmt.Errorf("eventlog: %s on feed %q: %w", op, f.name, err)
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Errorf("eventlog: %s on feed %q: %w", op, f.name, context.Cause(ctx))
	}
	if f.closed.Load() || errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("eventlog: %s on feed %q: %w", op, f.name, ErrClosed)
	}
	return fmt.Errorf("eventlog: %s on feed %q: %w: %w", op, f.name, ErrUnavailable, err)
}

// State is what a feed's stream holds, as its leader says.
type State struct {
	Incarnation string
	// First is the first sequence that is there; Last+1 where nothing is.
	// Registered gaps right before it count as being there, since nothing is
	// lost with them (Feed.Gaps).
	First    uint64
	Last     uint64 // last sequence that was given out, 0 for none
	Messages uint64
	Bytes    uint64
	Keys     uint64 // distinct keys, and distinct tags
	LastTime time.Time
	Leader   string // the server that leads the stream's cluster, and answers; "" where there is none

	term   term   // of the leader
	stored uint64 // the first sequence that has a message
}

// term is one leadership of a stream: a server that is elected again has
// another one. Servers up to 2.11 don't say since when, so there a leader that
// follows on itself isn't seen.
type term struct {
	leader string
	since  int64 // Unix nanoseconds by the leader's clock; 0 where it isn't said
}

// ledSince remembers where a stream ended when its present leadership was seen
// first. Its zero value is ready for use, by any number of goroutines.
type ledSince struct {
	mu   sync.Mutex
	term term
	last uint64
}

func (l *ledSince) note(t term, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t != l.term || t.since == 0 {
		l.term, l.last = t, last
	}
	l.last = min(l.last, last)
}

// floor is a sequence beyond which all was appended under a leadership: the
// first one that was seen of it, or last, where it isn't known.
func (l *ledSince) floor(t term, last uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t != l.term || t.since == 0 {
		return last
	}
	return min(l.last, last)
}

// State asks the leader of the feed's stream. A stream that is gone is a
// ServerError with the server's code 10059.
func (f *Feed) State(ctx context.Context) (State, error) {
	if err := f.online(); err != nil {
		return State{}, err
	}
	var resp struct {
		Error   *jetstream.APIError    `json:"error"`
		Created time.Time              `json:"created"`
		Config  jetstream.StreamConfig `json:"config"`
		Cluster struct {
			Leader string    `json:"leader"`
			Since  time.Time `json:"leader_since"`
		} `json:"cluster"`
		State struct {
			Messages    uint64    `json:"messages"`
			Bytes       uint64    `json:"bytes"`
			FirstSeq    uint64    `json:"first_seq"`
			LastSeq     uint64    `json:"last_seq"`
			LastTime    time.Time `json:"last_ts"`
			NumSubjects uint64    `json:"num_subjects"`
		} `json:"state"`
	}
	if err := f.ask(ctx, "STREAM.INFO."+f.stream, nil, &resp); err != nil {
		return State{}, f.serverError(ctx, "state", err)
	}
	if resp.Error != nil {
		err := f.serverError(ctx, "state", resp.Error)
		if resp.Error.ErrorCode == codeNoStream && f.adopted == nil {
			f.keeper.gone()
		}
		return State{}, err
	}
	if f.adopted == nil {
		f.keeper.look(resp.Config)
	}
	st := State{
		Incarnation: resp.Config.Metadata[metaIncarnation],
		First:       resp.State.FirstSeq,
		Last:        resp.State.LastSeq,
		Messages:    resp.State.Messages,
		Bytes:       resp.State.Bytes,
		Keys:        resp.State.NumSubjects,
		LastTime:    resp.State.LastTime,
		Leader:      resp.Cluster.Leader,
		term:        term{leader: resp.Cluster.Leader},
	}
	if since := resp.Cluster.Since; !since.IsZero() {
		st.term.since = since.UnixNano()
	}
	f.replicated.Store(resp.Config.Replicas > 1)
	f.led.note(st.term, st.Last)
	if st.Messages == 0 {
		// A stream that never held a message says 0 and one that was purged
		// says last+1; the latter serves both.
		st.First = st.Last + 1
	}
	if f.adopted != nil {
		st.Incarnation = f.adopted.identity(resp.Created)
		f.adopted.first.Store(st.First)
	}
	st.stored = st.First
	st.First = f.gaps.first(ctx, st.First)
	return st, nil
}

// ask sends a request to the JetStream API and decodes the answer. The API
// is answered by the stream's leader.
func (f *Feed) ask(ctx context.Context, subject string, req, resp any) error {
	return f.log.ask(ctx, subject, req, resp)
}

func (l *Log) ask(ctx context.Context, subject string, req, resp any) error {
	outer := ctx
	ctx, cancel := context.WithTimeout(outer, l.opts.RequestTimeout)
	defer cancel()
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return err
		}
	}
	ctx, done := l.watchDenied(ctx, l.api+"."+subject)
	msg, err := l.askAgain(ctx, subject, body)
	if err = done(err); errors.Is(err, context.DeadlineExceeded) && outer.Err() == nil {
		return nats.ErrTimeout // the server's silence, not the caller's impatience
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(msg.Data, resp)
}

// askAgain asks until ctx ends: an answer that was on its way when the
// connection broke doesn't come, and without a connection there is none for a
// moment. Asking twice is harmless, since everything here only reads. Each
// try is longer than the one before, so that a slow server is heard out.
func (l *Log) askAgain(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	for try := l.opts.RequestTimeout / 10; ; try *= 2 {
		msg, err := func() (*nats.Msg, error) {
			ctx, cancel := context.WithTimeout(ctx, try)
			defer cancel()
			return l.nc.RequestWithContext(ctx, l.api+"."+subject, body)
		}()
		pause := time.Duration(0)
		switch {
		case err == nil || ctx.Err() != nil:
			return msg, err
		case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
			pause, try = 20*time.Millisecond, try/2
		case !errors.Is(err, context.DeadlineExceeded):
			return msg, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// getRequest asks for one stored message: by sequence, the last of a
// subject, or the first of a subject from a sequence on.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

// get reads one message from the leader; ok is false where there is none. A
// direct get would be faster, but a follower may answer it, with what it
// knew a moment ago.
func (f *Feed) get(ctx context.Context, req getRequest) (m message, ok bool, err error) {
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := f.ask(ctx, "STREAM.MSG.GET."+f.stream, req, &resp); err != nil {
		return m, false, f.serverError(ctx, "read", err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == codeNoMessage {
			return m, false, nil
		}
		return m, false, f.serverError(ctx, "read", resp.Error)
	}
	if resp.Message == nil {
		return m, false, fmt.Errorf("eventlog: feed %q: %w: an answer without a message", f.name, ErrUnavailable)
	}
	m = message{seq: resp.Message.Seq, nanos: resp.Message.Time.UnixNano(), subject: resp.Message.Subject, header: resp.Message.Header, data: resp.Message.Data}
	return m, true, nil
}

// Observe asks the leader what the log looks like at the given sequences,
// for timeframe.Lineage.Check. A stream that is missing is an observation
// too, not an error.
func (f *Feed) Observe(ctx context.Context, seqs ...uint64) (timeframe.Observed, error) {
	if err := f.online(); err != nil {
		return timeframe.Observed{}, err
	}
	st, err := f.State(ctx)
	if se, ok := errors.AsType[*ServerError](err); ok && se.Code == codeNoStream {
		return timeframe.Observed{}, nil
	}
	if err != nil {
		return timeframe.Observed{}, err
	}
	o := timeframe.Observed{
		Exists: true, Incarnation: st.Incarnation, First: st.First, Last: st.Last,
		Prints: make(map[uint64]timeframe.Fingerprint, len(seqs)),
	}
	for _, seq := range seqs {
		if seq < st.First || seq > st.Last {
			continue
		}
		m, ok, err := f.get(ctx, getRequest{Seq: seq})
		if err != nil {
			return o, err
		}
		if ok {
			o.Prints[seq] = m.fingerprint()
		} else if print, known := f.gaps.erased(ctx, seq); known {
			o.Prints[seq] = print
		}
	}
	return o, nil
}

// TimeAt is when the message at a sequence was stored, by its server's clock;
// ok is false where there is none.
func (f *Feed) TimeAt(ctx context.Context, seq uint64) (at time.Time, ok bool, err error) {
	if err := f.online(); err != nil {
		return time.Time{}, false, err
	}
	if seq == 0 {
		return at, false, nil
	}
	m, ok, err := f.get(ctx, getRequest{Seq: seq})
	if err != nil || !ok {
		return at, false, err
	}
	return m.time(), true, nil
}

// Lookup reads the commit at a sequence from the leader; ok is false where
// there is none, as at the marker of a tag. A message that can't be decoded is a
// commit with a Problem.
func (f *Feed) Lookup(ctx context.Context, seq uint64) (c Commit, ok bool, err error) {
	if err := f.online(); err != nil {
		return Commit{}, false, err
	}
	if seq == 0 {
		return c, false, nil
	}
	return f.lookup(ctx, getRequest{Seq: seq})
}

// Head reads a key's last commit from the leader; ok is false where the key
// has none. A message that can't be decoded is a commit with a Problem.
func (f *Feed) Head(ctx context.Context, key string) (c Commit, ok bool, err error) {
	if err := f.online(); err != nil {
		return Commit{}, false, err
	}
	subject, err := f.Subject(key)
	if err != nil {
		return c, false, err
	}
	return f.lookup(ctx, getRequest{LastFor: subject})
}

func (f *Feed) lookup(ctx context.Context, req getRequest) (c Commit, ok bool, err error) {
	if err := f.intact(); err != nil {
		return c, false, err
	}
	ask := f.get
	if req.LastFor != "" && !strings.ContainsAny(req.LastFor, "*>") {
		ask = func(ctx context.Context, req getRequest) (message, bool, error) { return f.headOf(ctx, req.LastFor) }
	}
	m, ok, err := ask(ctx, req)
	if err != nil || !ok || f.isMarker(&m) {
		return c, false, err
	}
	_ = f.decode(&c, m) // which is its Problem
	return c, true, nil
}
