//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

const effectsApp = "effects"

type placed struct{ Item string }

type letter struct{ To string }

// openPost is the log of the orders, and the outbox that states a letter for
// each.
func openPost(ctx context.Context, url string) (*eventlog.Log, *eventlog.Feed, *effect.Outbox[letter], error) {
	log, err := eventlog.Open(ctx, eventlog.Options{App: effectsApp, URL: url})
	if err != nil {
		return nil, nil, nil, err
	}
	orders, err := log.Feed(ctx, "orders", eventlog.Type[placed]("placed"))
	if err != nil {
		return nil, nil, nil, err
	}
	letters, err := effect.New[letter](ctx, log, "letters", 1)
	if err != nil {
		return nil, nil, nil, err
	}
	effect.On(letters, orders, func(tx *effect.Tx[letter], e eventlog.Event, _ placed) error {
		tx.Want("", letter{To: e.Key})
		return nil
	})
	return log, orders, letters, nil
}

// runPost is a child that carries letters out until it is killed: it prints
// the ID of each.
func runPost(args []string) error {
	ctx := context.Background()
	log, _, letters, err := openPost(ctx, args[0])
	if err != nil {
		return err
	}
	if _, err := (projection.Config{}).Start(ctx, log, letters); err != nil {
		return err
	}
	if _, err := fmt.Println("open"); err != nil {
		return err
	}
	return letters.Run(ctx, func(_ context.Context, e effect.Effect[letter]) error {
		_, err := fmt.Fprintln(os.Stdout, e.ID)
		return err
	}, effect.Options{})
}

// T2.17, T2.14: of two processes that carry out the same effects, one is
// killed again and again, whoever it is. Each effect is carried out, and ends
// once in the log; and it is repeated only where its process was killed before
// that was recorded.
func TestKilledEffects(t *testing.T) {
	const kills, each, atOnce = 4, 25, 16
	ctx := limited(t, 3*time.Minute)
	server := natstest.Start(t)
	log, orders, letters, err := openPost(ctx, server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()

	type running struct {
		p   *natstest.Process
		out *output
	}
	start := func() running {
		p, out := child(t, "post", server.URL())
		out.awaitBegun(ctx, t, p)
		return running{p, out}
	}
	all := []running{start(), start()}
	alive := []running{all[0], all[1]}
	want := 0
	for range kills {
		for range each {
			if _, err := orders.Append(ctx, fmt.Sprint("order-", want), eventlog.ExpectNew, placed{"tea"}); err != nil {
				t.Fatal(err)
			}
			want++
		}
		i := rand.IntN(len(alive))
		alive[i].p.Kill()
		alive[i] = start()
		all = append(all, alive[i])
	}
	ended := map[string]int{}
	for e, err := range letters.Outcomes().Read(ctx, eventlog.Follow()) {
		if err != nil {
			t.Fatalf("%d of %d have ended: %v", len(ended), want, err)
		}
		if e.Type != "marked" {
			if ended[e.Key]++; e.Type != "done" || ended[e.Key] > 1 {
				t.Errorf("%s: %s, the %d. outcome", e.Key, e.Type, ended[e.Key])
			}
		}
		if len(ended) == want {
			break
		}
	}
	sent, carried := map[string]bool{}, 0
	for _, r := range all {
		r.p.Kill()
		for _, line := range r.out.lines() {
			if strings.HasPrefix(line, "letters:") {
				sent[line], carried = true, carried+1
			}
		}
	}
	for id := range ended {
		if !sent[id] {
			t.Errorf("%s ended, and nobody carried it out", id)
		}
	}
	t.Logf("%d effects, %d repeated after %d kills", want, carried-want, kills)
	if carried-want > kills*atOnce {
		t.Errorf("%d were repeated: more than %d kills explain", carried-want, kills)
	}
}
