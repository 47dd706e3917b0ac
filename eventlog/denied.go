package eventlog

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

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
	own     bool             // nobody else subscribes on the connection
	inbox   *PermissionError // subscriptions to inboxes are refused
	asOf    uint64           // after so many reconnects: the next one asks anew
}

type denialWatch struct {
	prefixes []string // of subjects that are published to
	tell     func(*PermissionError)
}

// parseDenied reads the server's words: Permissions Violation for Publish to
// "subject", or for Subscription to "subject", and more behind it.
func parseDenied(err error) *PermissionError {
	if errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		return &PermissionError{Op: "subscribe", Limit: true} // of which, the server doesn't say
	}
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
func (d *denials) note(inboxPrefix string, reconnects uint64, err error) {
	e := parseDenied(err)
	if e == nil {
		return
	}
	inbox := e.Limit || e.Op == "subscribe" && strings.HasPrefix(e.Subject, inboxPrefix)
	if e.Op == "subscribe" && !inbox {
		return // not one of ours
	}
	d.mu.Lock()
	if inbox && (d.own || !e.Limit) { // else it may have been a subscription of somebody else
		d.inbox, d.asOf = e, reconnects
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
func (d *denials) watch(reconnects uint64, tell func(*PermissionError), prefixes ...string) (stop func()) {
	d.mu.Lock()
	d.next++
	id, inbox, asOf := d.next, d.inbox, d.asOf
	if d.waiting == nil {
		d.waiting = make(map[int]denialWatch)
	}
	d.waiting[id] = denialWatch{prefixes: prefixes, tell: tell}
	d.mu.Unlock()
	if inbox != nil && asOf == reconnects {
		tell(inbox)
	}
	return func() {
		d.mu.Lock()
		delete(d.waiting, id)
		d.mu.Unlock()
	}
}

// watch is denials.watch. A server of the log's own domain has turned subjects
// of the API into those without a domain before it looks at permissions, so it
// names these.
func (l *Log) watch(tell func(*PermissionError), prefixes ...string) (stop func()) {
	for _, p := range prefixes {
		rest, ok := strings.CutPrefix(p, l.api+".")
		switch {
		case !ok || l.api == defaultAPI:
		case strings.HasPrefix(rest, "$KV."):
			prefixes = append(prefixes, rest)
		default:
			prefixes = append(prefixes, defaultAPI+"."+rest)
		}
	}
	return l.denials.watch(l.nc.Stats().Reconnects, tell, prefixes...)
}

// watchDenied ends a request's context when the server refuses it. done takes
// the request's error and gives the better one.
func (l *Log) watchDenied(ctx context.Context, prefixes ...string) (_ context.Context, done func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := l.watch(func(e *PermissionError) { cancel(e) }, prefixes...)
	return ctx, func(err error) error {
		stop()
		if e, ok := errors.AsType[*PermissionError](context.Cause(ctx)); ok && err != nil {
			err = e
		}
		cancel(nil)
		return err
	}
}

// subscribed says whether the server has taken the subscriptions of the writer,
// to which acknowledgements come: appending would wait for them in vain.
func (l *Log) subscribed(ctx context.Context) error {
	if l.embedded != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.opts.RequestTimeout)
	defer cancel()
	if l.nc.FlushWithContext(ctx) != nil {
		return nil // the connection is gone: what is subscribed to is asked for again with the next one
	}
	e := parseDenied(l.nc.LastError())
	if e == nil || e.Op != "subscribe" || !(e.Limit && l.denials.own || strings.HasPrefix(e.Subject, l.inboxPrefix())) {
		return nil
	}
	return e
}

func (l *Log) inboxPrefix() string {
	if p := l.nc.Opts.InboxPrefix; p != "" {
		return p
	}
	return nats.InboxPrefix
}

// hearDenied puts itself before the connection's error handler, whoever set
// that; on a connection of the caller's until the log is closed.
func (l *Log) hearDenied() {
	heard := l.nc.ErrorHandler()
	l.denials.own = l.opts.Conn == nil
	l.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		l.denials.note(l.inboxPrefix(), nc.Stats().Reconnects, err)
		if heard != nil {
			heard(nc, sub, err)
		}
	})
	l.unhear = func() { l.nc.SetErrorHandler(heard) }
}
