package command

import (
	"cmp"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
)

// DefaultAttempts is how often a command is decided at most.
const DefaultAttempts = 16

// Option is about one command.
type Option func(*options)

type options struct {
	id       string
	attempts int
	applied  bool
	drafts   []func(*eventlog.Draft)
	problem  error
}

// ID is the command's identity, unique in the feed: a command that is sent
// again with it is carried out once, whoever sends it, and answered with where
// its events are (Result.Duplicate). It costs a look into the key's history,
// so give one where somebody may repeat the command; retries of this package
// are safe without.
func ID(id string) Option {
	return func(o *options) {
		if o.id = id; id == "" {
			o.problem = fmt.Errorf("command: %w: an empty ID", ErrInvalid)
		}
	}
}

// Applied lets Do return only when the state that it decides on has applied
// the events: a read from that table then includes them. Where that fails, Do
// returns the error together with the Result of what is in the log.
func Applied() Option { return func(o *options) { o.applied = true } }

// Attempts is how often the command is decided at most, when others change
// its key at the same time (default DefaultAttempts).
func Attempts(n int) Option {
	return func(o *options) {
		if o.attempts = n; n < 1 {
			o.problem = fmt.Errorf("command: %w: %d attempts", ErrInvalid, n)
		}
	}
}

// With changes the commit's draft before it is appended: causation,
// correlation, headers, durability, tags. Key, Expect, Events, ID and After
// are the command's own, and set behind it.
func With(change func(d *eventlog.Draft)) Option {
	return func(o *options) {
		if change == nil {
			o.problem = fmt.Errorf("command: %w: With without a function", ErrInvalid)
			return
		}
		o.drafts = append(o.drafts, change)
	}
}

func optionsOf(opts []Option) (o options, err error) {
	for _, f := range opts {
		if f != nil {
			f(&o)
		}
	}
	o.attempts = cmp.Or(o.attempts, DefaultAttempts)
	return o, o.problem
}

func (o *options) draft(key string, head uint64, events []any) (d eventlog.Draft, err error) {
	err = contain(func() error {
		for _, change := range o.drafts {
			change(&d)
		}
		return nil
	})
	d.Key, d.Expect, d.Events, d.ID, d.After = key, eventlog.ExpectSeq(head), events, o.id, 0
	return d, err
}
