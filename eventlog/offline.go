package eventlog

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tidemark-es/tidemark/timeframe"
)

// ErrOffline: the feed is an Offline one, which has no log.
var ErrOffline = errors.New("the feed has no log")

// offlinePayload is the largest commit of an Offline feed: a server's default.
const offlinePayload = 1 << 20

// Offline makes a feed without a log and without a server: it has a name,
// types and a codec, so that projections can be made over it, and it can
// Rehearse commits. Whatever needs a log fails with ErrOffline. It takes the
// options of Log.Feed; package projectiontest is what it is for.
func Offline(name string, opts ...FeedOption) (*Feed, error) {
	if err := timeframe.ValidName(name); err != nil {
		return nil, fmt.Errorf("eventlog: feed: %w: %w", ErrInvalid, err)
	}
	reg, err := newRegistry(name, opts)
	if err != nil {
		return nil, err
	}
	l := &Log{opts: Options{App: "offline", MaxInFlight: 1}, closed: true}
	return l.newFeed(name, reg), nil
}

// online is an ErrOffline where the feed has no log.
func (f *Feed) online() error {
	if f.log.nc == nil {
		return fmt.Errorf("eventlog: feed %q: %w", f.name, ErrOffline)
	}
	return nil
}

// Rehearse returns the commit that readers would get if the draft stood in the
// feed at this sequence and time. Nothing is appended, and nothing is asked:
// the draft's Expect and Tags don't count. The draft is checked and encoded as
// for an append, so the errors are AppendDraft's, ErrInvalid, TypeError and
// TooLargeError. Without an ID, the commit's is <feed>@<sequence>.
func (f *Feed) Rehearse(d Draft, seq uint64, at time.Time) (c Commit, err error) {
	if d.ID == "" {
		d.ID = f.name + "@" + strconv.FormatUint(seq, 10)
	}
	var p prepared
	if err := f.encodeDraft(&p, d); err != nil {
		return Commit{}, err
	}
	m := message{seq: seq, nanos: at.UnixNano(), subject: p.msg.subject, data: p.msg.data}
	h := append(make(headers, 0, p.msg.headerSize()), headerLine...)
	for _, field := range p.msg.header {
		h = append(append(append(append(h, field.name...), ": "...), field.value...), "\r\n"...)
	}
	m.header = append(h, "\r\n"...)
	if err := f.decode(&c, m); err != nil {
		return Commit{}, err
	}
	return c, nil
}
