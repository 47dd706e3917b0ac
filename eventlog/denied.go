package eventlog

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A server doesn't answer a request that its user may not make: it reports a
// permissions violation on the connection, some time later, and the request
// waits in vain. What is found here is which request a violation belongs to,
// so that it fails at once and says which permission is missing.

// denials passes violations on to who waits.
type denials struct {
	mu      sync.Mutex
	next    int
	waiting map[int]denialWatch
	inbox   *PermissionError // subscriptions to inboxes are refused, until reconnected
}

type denialWatch struct {
	prefixes []string // of subjects that are published to
	tell     func(*PermissionError)
}

// parseDenied reads the server's words: Permissions Violation for Publish to
// "subject", or for Subscription to "subject", and more behind it.
func parseDenied(err error) *PermissionError {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	text := err.Error()
	for op, words := range map[string]string{"publish": "Publish to ", "subscribe": "Subscription to "} {
		if _, rest, ok := strings.Cut(text, words); ok {
			if quoted, err := strconv.QuotedPrefix(rest); err == nil {
				if subject, err := strconv.Unquote(quoted); err == nil {
					return &PermissionError{Op: op, Subject: subject}
				}
			}
		}
	}
	return nil
}

// note takes an error that the connection reports by itself.
func (d *denials) note(inboxPrefix string, err error) {
	e := parseDenied(err)
	if e == nil {
		return
	}
	inbox := e.Op == "subscribe" && strings.HasPrefix(e.Subject, inboxPrefix)
	if e.Op == "subscribe" && !inbox {
		return // not one of ours
	}
	d.mu.Lock()
	if inbox {
		d.inbox = e
	}
	var tell []func(*PermissionError)
	for _, w := range d.waiting {
		if inbox || w.wants(e) {
			tell = append(tell, w.tell)
		}
	}
	d.mu.Unlock()
	for _, t := range tell {
		t(e)
	}
}

func (w denialWatch) wants(e *PermissionError) bool {
	for _, p := range w.prefixes {
		if strings.HasPrefix(e.Subject, p) {
			return true
		}
	}
	return false
}

// watch calls tell for each violation of a publish to a subject that begins
// with one of the prefixes, and where answers can't come in at all.
func (d *denials) watch(tell func(*PermissionError), prefixes ...string) (stop func()) {
	d.mu.Lock()
	d.next++
	id, inbox := d.next, d.inbox
	if d.waiting == nil {
		d.waiting = make(map[int]denialWatch)
	}
	d.waiting[id] = denialWatch{prefixes: prefixes, tell: tell}
	d.mu.Unlock()
	if inbox != nil {
		tell(inbox)
	}
	return func() {
		d.mu.Lock()
		delete(d.waiting, id)
		d.mu.Unlock()
	}
}

// reset forgets that inboxes are refused: a new connection asks again.
func (d *denials) reset() {
	d.mu.Lock()
	d.inbox = nil
	d.mu.Unlock()
}

// watchDenied ends a request's context when the server refuses it. done takes
// the request's error and gives the better one.
func (l *Log) watchDenied(ctx context.Context, prefixes ...string) (_ context.Context, done func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := l.denials.watch(func(e *PermissionError) { cancel(e) }, prefixes...)
	stopPoll := l.pollDenied()
	return ctx, func(err error) error {
		stop()
		stopPoll()
		if e, ok := errors.AsType[*PermissionError](context.Cause(ctx)); ok && err != nil {
			err = e
		}
		cancel(nil)
		return err
	}
}

// deniedEvery is how often a connection of the caller's is asked for its last
// error: its error handler isn't ours.
const deniedEvery = 100 * time.Millisecond

// pollDenied stands in for the error handler on a connection of the caller's.
func (l *Log) pollDenied() (stop func()) {
	if l.opts.Conn == nil {
		return func() {}
	}
	before := l.nc.LastError()
	end := make(chan struct{})
	go func() {
		tick := time.NewTicker(deniedEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			if err := l.nc.LastError(); err != before { // the very same value is an older one
				before = err
				l.denials.note(l.inboxPrefix(), err)
			}
		}
	}()
	return func() { close(end) }
}

func (l *Log) inboxPrefix() string {
	if p := l.nc.Opts.InboxPrefix; p != "" {
		return p
	}
	return nats.InboxPrefix
}

// deniedHandler is the last option of our connection: it hears what the error
// handler hears, whoever set that.
func (l *Log) deniedHandler() nats.Option {
	return func(o *nats.Options) error {
		prefix := o.InboxPrefix
		if prefix == "" {
			prefix = nats.InboxPrefix
		}
		heard, back := o.AsyncErrorCB, o.ReconnectedCB
		o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
			l.denials.note(prefix, err)
			if heard != nil {
				heard(nc, sub, err)
			}
		}
		o.ReconnectedCB = func(nc *nats.Conn) {
			l.denials.reset()
			if back != nil {
				back(nc)
			}
		}
		return nil
	}
}
