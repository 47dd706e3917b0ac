package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tidemark-es/tidemark/internal/bubble"
)

// meddle stands between a consumer and its tail: what is delivered goes through
// pass, which may hand it on late, twice or not at all.
func meddle(t *testing.T, tail *tail, pass func(m *nats.Msg, on func(*nats.Msg))) {
	t.Helper()
	nc, inbox := tail.f.log.nc, tail.inbox
	sub, err := nc.Subscribe(inbox, func(m *nats.Msg) {
		if _, _, delivery := parseDelivery(m); !delivery {
			tail.receive(inbox, m)
			return
		}
		pass(m, func(m *nats.Msg) { tail.receive(inbox, m) })
	})
	if err == nil {
		err = errors.Join(tail.sub.Unsubscribe(), nc.Flush())
	}
	if err != nil {
		t.Fatal(err)
	}
	tail.sub = sub
}

// T2.8: what the server delivers is a hint of what the log holds: lost, doubled
// or reordered, each commit is read once, in order.
func TestDeliveriesLostDoubledReordered(t *testing.T) {
	const each = 10
	for name, pass := range map[string]func(n int, m *nats.Msg, held *nats.Msg, on func(*nats.Msg)) (hold *nats.Msg){
		"lost": func(n int, m, _ *nats.Msg, on func(*nats.Msg)) *nats.Msg {
			if n != 4 {
				on(m)
			}
			return nil
		},
		"the last one lost": func(n int, m, _ *nats.Msg, on func(*nats.Msg)) *nats.Msg {
			if n != each {
				on(m)
			}
			return nil
		},
		"doubled": func(_ int, m, _ *nats.Msg, on func(*nats.Msg)) *nats.Msg {
			on(m)
			on(m)
			return nil
		},
		"doubled late": func(n int, m, held *nats.Msg, on func(*nats.Msg)) *nats.Msg {
			on(m)
			if n == 2 {
				return m
			}
			if n == 6 {
				on(held)
			}
			return held
		},
		"reordered": func(n int, m, held *nats.Msg, on func(*nats.Msg)) *nats.Msg {
			if n%2 == 1 {
				return m
			}
			on(m)
			on(held)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "the last one lost" && testing.Short() {
				t.Skip("takes more than a second: that is noticed by the next heartbeat")
			}
			f := suiteFeed(t, Options{App: "suite", Memory: true})
			tail, err := f.openTail(t.Context(), 0, mark{}, "", false)
			if err != nil {
				t.Fatal(err)
			}
			defer tail.close()
			var got, want []uint64
			for round := range 3 {
				n := 0
				var held *nats.Msg
				meddle(t, tail, func(m *nats.Msg, on func(*nats.Msg)) {
					n++
					held = pass(n, m, held, on)
				})
				for i := range each {
					if _, err := f.Append(t.Context(), fmt.Sprint("k", i%3), ExpectAny, goldenOpened{}); err != nil {
						t.Fatal(err)
					}
					want = append(want, uint64(each*round+i+1))
				}
				for len(got) < len(want) {
					msgs, err := tail.next(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range msgs {
						got = append(got, m.seq)
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("read %d", got)
			}
			if restarts := f.stats.restarts.Load(); restarts == 0 {
				t.Error("nothing was noticed: this test shows nothing")
			}
		})
	}
}

// R2.23: whoever waits for the server asks ever more seldom, up to once in 2 s.
func TestUntilAvailableBacksOff(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		f := suiteFeed(t, Options{App: "suite", Memory: true})
		var at []time.Time
		err := f.untilAvailable(t.Context(), func() error {
			if at = append(at, time.Now()); len(at) == 20 {
				return nil
			}
			return ErrUnavailable
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 19 {
			if wait, want := at[i+1].Sub(at[i]), min(20*time.Millisecond<<i, 2*time.Second); wait != want {
				t.Errorf("wait %d: %v, want %v", i, wait, want)
			}
		}
		no := errors.New("no")
		if err := f.untilAvailable(t.Context(), func() error { return no }); !errors.Is(err, no) {
			t.Errorf("another error: %v", err)
		}
	})
}
