package eventlog

import (
	"context"
	"iter"

	"github.com/tidemark-es/tidemark/timeframe"
)

// ReadOption says what to read.
type ReadOption func(*readConfig)

type readConfig struct {
	after   uint64
	until   uint64
	key     string
	keyed   bool
	twice   bool // OfKey was given for two keys
	follow  bool
	trimmed bool
	steps   bool
	known   mark // of the message at after; none where seq is 0

	unreadable bool
}

// After starts reading behind this sequence. Default: at the feed's start.
func After(seq uint64) ReadOption {
	return func(c *readConfig) { c.after, c.known = seq, mark{} }
}

// AfterMessage is After the sequence of a message that was read before, which
// must still be there: where the log has another one, or has lost it, that is an
// ErrLostTail. Numbers alone don't tell: a log that lost its tail uses them
// again. One that was trimmed meanwhile isn't missed.
func AfterMessage(m timeframe.Anchor) ReadOption {
	return func(c *readConfig) { c.after, c.known = m.Seq, mark{seq: m.Seq, print: m.Print} }
}

// Until ends reading with this sequence, inclusive. Default: with the last
// one that the log has when reading starts, which is also the end where this
// sequence isn't there yet, unless Follow is given too.
func Until(seq uint64) ReadOption { return func(c *readConfig) { c.until = seq } }

// OfKey reads the commits of one key alone: all of those that the leader counts,
// or it ends with an ErrGap. A key that was not read lately is read from the
// log's beginning for that, also with After. What the log lost by trimming shows
// when reading starts; a commit of the key that is trimmed before a follower has
// reached it isn't missed. Two keys are an ErrInvalid: a reader reads one, or
// all.
func OfKey(key string) ReadOption {
	return func(c *readConfig) {
		c.twice = c.twice || c.keyed && c.key != key
		c.key, c.keyed = key, true
	}
}

// Follow goes on with what is appended later, until the context ends.
func Follow() ReadOption { return func(c *readConfig) { c.follow = true } }

// AllowTrimmed starts at the first commit that is left where the log no
// longer holds what comes behind After. Without it that is an ErrTrimmed.
func AllowTrimmed() ReadOption { return func(c *readConfig) { c.trimmed = true } }

// Progress makes Reader.Next return when only markers of tags have come as
// well, with an empty batch that isn't nil: for who has to know how far the
// feed was read (Reader.At), and not only what is in it.
func Progress() ReadOption { return func(c *readConfig) { c.steps = true } }

// Unreadable delivers messages that can't be decoded as commits with a Problem,
// where reading would end with that error. Their events fail to decode.
func Unreadable() ReadOption { return func(c *readConfig) { c.unreadable = true } }

// Read yields a feed's events in order, from the start to what is the end
// now, or as the options say. An error is the last step; when ctx ends, its
// cause is, and nothing comes behind it. An event is valid until the next
// step; what Decode and Value make of it stays.
//
// A message that can't be decoded, such as one that another tool has published,
// is a *CorruptError with its position: read on after that (After), with it
// (Unreadable), or register it as passed over (Feed.Pass).
//
// Errors: ErrTrimmed, ErrLostTail, ErrGap, ErrCorrupt, ErrUnavailable,
// ErrClosed, ErrInvalidKey, and the context's.
func (f *Feed) Read(ctx context.Context, opts ...ReadOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for c, err := range f.Commits(ctx, opts...) {
			if err != nil {
				yield(Event{}, err)
				return
			}
			for i := range c.Len() {
				if i > 0 && ctx.Err() != nil {
					yield(Event{}, context.Cause(ctx))
					return
				}
				if !yield(c.Event(i), nil) {
					return
				}
			}
		}
	}
}

// Commits is Read by whole commits.
func (f *Feed) Commits(ctx context.Context, opts ...ReadOption) iter.Seq2[*Commit, error] {
	return func(yield func(*Commit, error) bool) {
		r, err := f.NewReader(ctx, opts...)
		if err != nil {
			yield(nil, err)
			return
		}
		defer r.Close()
		for {
			batch, err := r.Next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if batch == nil {
				return
			}
			for i := range batch {
				if ctx.Err() != nil {
					yield(nil, context.Cause(ctx))
					return
				}
				if !yield(&batch[i], nil) {
					return
				}
				if mangling {
					batch[i].mangle()
				}
			}
		}
	}
}
