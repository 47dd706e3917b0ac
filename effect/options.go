package effect

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/lease"
)

// The classes of errors; eventlog's, projection's and lease's pass through.
var (
	// ErrInvalid: an argument is wrong. Nothing was done.
	ErrInvalid = errors.New("invalid effect")
	// ErrNotParked: there is no effect with this ID that was given up.
	ErrNotParked = errors.New("effect isn't parked")
	// ErrPermanent is what Permanent makes of an error.
	ErrPermanent = errors.New("permanent failure")
)

// Permanent says that an effect can't ever be carried out: it is given up at
// once.
func Permanent(err error) error { return fmt.Errorf("%w: %w", ErrPermanent, err) }

// Options say how effects are carried out. The zero value works.
type Options struct {
	// Attempts is after how many failures an effect is given up (default 10).
	Attempts int
	// Backoff is how long after the first failure the second attempt comes
	// (default 1 s); it doubles with each, up to MaxBackoff (default 5 min).
	Backoff, MaxBackoff time.Duration
	// Timeout is how long an attempt may take (default 30 s): then its context
	// ends. One that doesn't heed that is left behind 5 s later, as a failed one.
	Timeout time.Duration
	// Parallel is how many effects are carried out at once (default 16).
	Parallel int
	// SkipHistory passes over the effects of all that was there before this
	// outbox ran for the first time: for one that is added to a log with a
	// past. Default: they are carried out.
	SkipHistory bool
	// MarkEvery is how often it is recorded how far the effects are ended,
	// which tells a later version where to begin (default 30 s). It is
	// recorded when Run returns, too.
	MarkEvery time.Duration
	// Leases decide which process carries effects out. Default: those in the
	// bucket <app>_leases, expiring after 10 s.
	Leases *lease.Manager
	// Failed is told of an attempt that failed and will be repeated, GaveUp of an
	// effect that was given up, when that is recorded. Both may be called by
	// several goroutines, and an effect waits for them. A panic is logged.
	Failed, GaveUp func(Failure)
	// Logger is the log's unless set. Each failed attempt is a warning, of which
	// there are at most 10 a minute, and each effect that is given up an error, at
	// most 100 a minute; the next line says how many were left out.
	Logger *zerolog.Logger
}

// plain fills in what doesn't need a log.
func (o Options) plain() (Options, error) {
	if o.Attempts < 0 || o.Backoff < 0 || o.MaxBackoff < 0 || o.Timeout < 0 || o.Parallel < 0 || o.MarkEvery < 0 {
		return o, fmt.Errorf("effect: %w: an option is negative", ErrInvalid)
	}
	o.Attempts = cmp.Or(o.Attempts, 10)
	o.Backoff = cmp.Or(o.Backoff, time.Second)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, 5*time.Minute)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Parallel = cmp.Or(o.Parallel, 16)
	o.MarkEvery = cmp.Or(o.MarkEvery, 30*time.Second)
	return o, nil
}

func (o Options) withDefaults(log *eventlog.Log) (Options, error) {
	o, err := o.plain()
	if err != nil {
		return o, err
	}
	if o.Logger == nil {
		l := log.Logger()
		o.Logger = &l
	}
	if o.Leases == nil {
		m, err := lease.New(lease.Options{
			App: log.App(), JetStream: log.JetStream(), APIPrefix: log.APIPrefix(), Session: log.Session(),
			Replicas: log.Replicas(), Memory: log.InMemory(), Logger: *o.Logger,
		})
		if err != nil {
			return o, fmt.Errorf("effect: leases: %w", err)
		}
		o.Leases = m
	}
	return o, nil
}

// wait is how long to wait behind so many failures, of which there is one.
func (o *Options) wait(failures int) time.Duration {
	d := o.Backoff
	for range failures - 1 {
		if d >= o.MaxBackoff/2 {
			return o.MaxBackoff
		}
		d *= 2
	}
	return min(d, o.MaxBackoff)
}
