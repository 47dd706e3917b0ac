package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tidemark-es/tidemark/internal/equal"
	"github.com/tidemark-es/tidemark/internal/storable"
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
	reg, err := newRegistry(name, opts, true, 0)
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
// TooLargeError; a TypeError also where an event isn't decoded to what it was. Without an ID, the commit's is <feed>@<sequence>.
func (f *Feed) Rehearse(d Draft, seq uint64, at time.Time) (c Commit, err error) {
	if err := f.RehearseInto(&c, d, seq, at); err != nil {
		return Commit{}, err
	}
	return c, nil
}

// RehearseInto is Rehearse for who needs one commit at a time: c is the zero
// Commit, or what an earlier RehearseInto has filled, whose memory is used
// again. So a commit is lent here, as by a Reader: it and its events are valid
// until the next call. After an error c is zero. A nil c is an ErrInvalid.
func (f *Feed) RehearseInto(c *Commit, d Draft, seq uint64, at time.Time) error {
	if c == nil {
		return fmt.Errorf("eventlog: rehearse on %s: %w: there is no commit to fill", f.name, ErrInvalid)
	}
	if mangling {
		c.mangle()
		*c = Commit{}
	}
	p := rehearsals.Get().(*prepared)
	p.msg.subject, p.msg.data = c.msg.subject, c.msg.data
	err := f.rehearse(c, p, d, seq, at)
	if err != nil {
		*c = Commit{}
	}
	*p = prepared{}
	rehearsals.Put(p)
	return err
}

// rehearsals are prepared ones that nobody uses, empty.
var rehearsals = sync.Pool{New: func() any { return new(prepared) }}

func (f *Feed) rehearse(c *Commit, p *prepared, d Draft, seq uint64, at time.Time) error {
	if d.ID == "" {
		var room [64]byte
		id := append(append(room[:0], f.name...), '@')
		d.ID = string(strconv.AppendUint(id, seq, 10))
	}
	if err := f.encodeDraft(p, d); err != nil {
		return err
	}
	h := append(slices.Grow(c.msg.header[:0], p.msg.headerSize()), headerLine...)
	for _, field := range p.msg.header {
		h = append(append(append(append(h, field.name...), ": "...), field.value...), "\r\n"...)
	}
	c.msg = message{seq: seq, nanos: at.UnixNano(), subject: p.msg.subject, data: p.msg.data, header: append(h, "\r\n"...)}
	by := decoder{f: f, once: true, of: p}
	if err := by.decode(c, &c.msg); err != nil {
		return err
	}
	return f.comeBack(d.Events)
}

// comeBack checks that events are decoded to what they were, where their types
// don't tell.
func (f *Feed) comeBack(events []any) error {
	tried := f.reg.tried()
	if len(tried) == 0 {
		return nil
	}
	for _, v := range events {
		et := f.reg.byType[reflect.TypeOf(v)]
		rel := tried[et]
		if rel == nil {
			continue
		}
		data, err := et.encode(f.reg.codec, nil, v)
		if err != nil {
			return err
		}
		fail := func(format string, args ...any) error {
			return &TypeError{Feed: f.name, Type: et.goType.String(), Reason: "doesn't come back as it was appended: " + fmt.Sprintf(format, args...), class: ErrInvalidType}
		}
		back, err := et.decode(f.reg.codec, data)
		if err != nil {
			return fail("%v", err)
		}
		was, is := reflect.New(et.goType).Elem(), reflect.New(et.goType).Elem()
		was.Set(reflect.ValueOf(v))
		is.Set(reflect.ValueOf(back))
		if d := rel.Difference(was, is); d != nil {
			return fail("%s was %s, and comes back as %s", cmp.Or(d.Path, "it"), d.A, d.B)
		}
	}
	return nil
}

// tried is how values are compared of the types that don't tell that these come
// back.
func (r *registry) tried() map[*eventType]*equal.Type {
	r.once.Do(func() {
		r.tries = make(map[*eventType]*equal.Type)
		for _, t := range r.byType {
			if !storable.Check(t.goType, storable.RulesOf(r.codec)).ByType() {
				r.tries[t] = equal.Of(t.goType, r.codec.Name())
			}
		}
	})
	return r.tries
}
