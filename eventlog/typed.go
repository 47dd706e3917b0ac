package eventlog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/timeframe"
)

// NameOf returns the name that T is registered under on a feed, or an
// ErrInvalidType that says how to register it.
func NameOf[T any](f *Feed) (string, error) {
	t := reflect.TypeFor[T]()
	if et, ok := f.reg.byType[t]; ok {
		return et.name, nil
	}
	e := &TypeError{Feed: f.name, Type: t.String(), class: ErrInvalidType}
	if t == reflect.TypeFor[Raw]() {
		if f.reg.keeps() {
			return AnyUnknown, nil
		}
		e.Reason = "events of unknown types are kept where the feed is opened with eventlog.Unknown(eventlog.KeepUnknown)"
		return "", e
	}
	e.Reason = fmt.Sprintf("not registered: open the feed with eventlog.Type[%s](\"a-stable-name\")", t)
	if t.Kind() == reflect.Pointer && f.reg.byType[t.Elem()] != nil {
		e.Reason = fmt.Sprintf("registered as a value: use %s", t.Elem())
	}
	return "", e
}

// Decode decodes an event into T without going through an interface value.
func Decode[T any](e Event) (T, error) {
	var v T
	err := e.Decode(&v)
	return v, err
}

// Knows says whether an event type of this name is registered. Events of a
// name with an Alias or Upcast have another one when they are read.
func (f *Feed) Knows(typeName string) bool {
	_, ok := f.reg.byName[typeName]
	return ok
}

// KeepsUnknown says whether events whose type isn't registered are read as Raw
// (KeepUnknown).
func (f *Feed) KeepsUnknown() bool { return f.reg.keeps() }

// TypeNames lists the registered event types in order.
func (f *Feed) TypeNames() []string {
	names := make([]string, 0, len(f.reg.byName))
	for n := range f.reg.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Size is the commit's payload in bytes.
func (c *Commit) Size() int { return len(c.msg.data) }

// DeleteStream removes a stream of this application, such as a feed's
// (Feed.Stream) or the snapshots' ("KV_<app>_snapshots"), with all that it
// holds. A feed is forgotten first (Forget), so that it can begin anew, and so
// that a crash leaves one that can be opened. It is no error where there is
// no such stream. What else runs on the feed gets ErrLostTail.
func (l *Log) DeleteStream(ctx context.Context, stream string) error {
	if !strings.HasPrefix(strings.TrimPrefix(stream, "KV_"), l.opts.App+"_") {
		return fmt.Errorf("eventlog: %w: stream %q isn't one of application %q", ErrInvalid, stream, l.opts.App)
	}
	if feed, ok := strings.CutPrefix(stream, l.opts.App+"_"); ok && timeframe.ValidName(feed) == nil {
		if err := l.Forget(ctx, feed); err != nil {
			return err
		}
	}
	err := l.js.DeleteStream(ctx, stream)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("eventlog: delete stream %s: %w", stream, err)
	}
	return nil
}
