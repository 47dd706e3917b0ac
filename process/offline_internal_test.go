package process

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

type asked struct{}

// What a manager can't be made of is said when it is made.
func TestManagersThatCantBe(t *testing.T) {
	log, ctx := logtest.Fresh(t), logtest.Context(t)
	theirs, err := logtest.Fresh(t).Feed(ctx, "parcels", eventlog.Type[asked]("asked"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		name string
		feed *eventlog.Feed
		want error
	}{
		"a name that is none":        {"No", nil, eventlog.ErrInvalid},
		"a nil feed":                 {"p", nil, ErrInvalid},
		"a feed of another log":      {"p", theirs, ErrInvalid},
		"a name too long for timers": {strings.Repeat("n", 300), nil, eventlog.ErrInvalid},
	} {
		if m, err := New[int](ctx, log, c.name, 1, c.feed); m != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, %v", what, m, err)
		}
		if c.feed != theirs {
			if m, err := Offline[int](c.name, 1, c.feed); m != nil || !errors.Is(err, ErrInvalid) {
				t.Errorf("%s, offline: got %v, %v", what, m, err)
			}
		}
	}
	for what, on := range map[string]func(m *Manager[int]){
		"events": func(m *Manager[int]) { On[int, asked](m, theirs, nil, nil) },
		"timers": func(m *Manager[int]) { OnTimer(m, nil) },
	} {
		m, err := Offline[int]("p", 1)
		if err != nil {
			t.Fatal(err)
		}
		on(m)
		if _, err := projection.Rehearse(m); !errors.Is(err, projection.ErrInvalid) {
			t.Errorf("a nil handler of %s: got %v", what, err)
		}
	}
}

// A reaction to a feed that the program doesn't give any more can't be carried
// out: that is permanent, so that it is given up, listed, and waits for one that
// does.
func TestReactionToAFeedThatIsGone(t *testing.T) {
	orders, err := eventlog.Offline("orders", eventlog.Type[asked]("asked"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Offline[int]("p", 1, orders)
	if err != nil {
		t.Fatal(err)
	}
	On(m, orders, nil, func(do *Step[int], e eventlog.Event, _ asked) error {
		do.Append(orders, "bob", asked{})
		return nil
	})
	r, err := projection.Rehearse(m)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(f *eventlog.Feed, key string, event any) {
		c, err := f.Rehearse(eventlog.Draft{Key: key, Events: []any{event}}, 1, time.Unix(0, 0))
		if err == nil {
			_, err = r.Apply(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	apply(orders, "ada", asked{})
	due, err := m.outbox.Due(time.Unix(1, 0), effect.Options{})
	if err != nil || len(due) != 1 {
		t.Fatal(due, err)
	}
	delete(m.feeds, "orders")
	if err := m.act(t.Context(), due[0]); !errors.Is(err, effect.ErrPermanent) || !errors.Is(err, ErrInvalid) {
		t.Errorf("carried out: %v", err)
	}
	if _, err := m.Due(time.Unix(1, 0)); !errors.Is(err, ErrInvalid) {
		t.Errorf("due: %v", err)
	}
	apply(m.Outcomes(), due[0].ID, effect.GaveUp{Attempts: 1, Error: "gone"})
	if p := m.Parked(); len(p) != 1 || p[0].Key != "bob" || !strings.Contains(p[0].Error, `gone (process "p"`) {
		t.Errorf("parked: %+v", p)
	}
}
