//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// What was applied is gone from the leader's log, and nobody was told yet: it
// isn't saved, nothing is trimmed, and no effect is carried out for it.
func TestNothingReliesOnWhatTheLeaderLacks(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	cluster := natstest.StartCluster(t, 3)
	log := must(eventlog.Open(ctx, eventlog.Options{App: "relies", URL: cluster.URL(), Replicas: 3}))(t)
	defer log.Close()
	// lose takes the feed's last message away, as no program of ours does.
	lose := func(f *eventlog.Feed, key string) {
		s := must(log.JetStream().Stream(ctx, f.Stream()))(t)
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(must(f.Subject(key))(t))); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("snapshots and trimming", func(t *testing.T) {
		// A loss may be told at the very moment, by the look of every 5 s.
		for n := 0; !refusedToSave(ctx, t, log, fmt.Sprint("kept", n), lose); n++ {
			if n == 5 {
				t.Fatal("each time it was told before")
			}
		}
	})
	t.Run("effects", func(t *testing.T) {
		orders := must(log.Feed(ctx, "orders", eventlog.Type[placed]("placed")))(t)
		letters := must(effect.New[letter](ctx, log, "letters", 1))(t)
		effect.On(letters, orders, func(tx *effect.Tx[letter], e eventlog.Event, _ placed) error {
			tx.Want("", letter{To: e.Key})
			return nil
		})
		rt := must(readOnly().Start(ctx, log, letters))(t)
		defer rt.Close()
		place := func(key string) {
			if err := rt.Wait(ctx, must(orders.Append(ctx, key, eventlog.ExpectNew, placed{"tea"}))(t)); err != nil {
				t.Fatal(err)
			}
		}
		place("kept")
		running, cancel := context.WithCancel(ctx)
		defer cancel()
		begun, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		lines := new(logtest.Lines)
		logger := zerolog.New(lines)
		go func() {
			defer close(ended)
			// It ends where its projection does, which is told of the loss later.
			_ = letters.Run(running, func(_ context.Context, e effect.Effect[letter]) error {
				if e.Key == "gone" {
					t.Errorf("%s was carried out", e.ID)
					return nil
				}
				close(begun)
				<-goOn
				return nil
			}, effect.Options{Parallel: 1, Backoff: 100 * time.Millisecond, Logger: &logger})
		}()
		select {
		case <-begun: // so the next one waits for its turn
		case <-ctx.Done():
			t.Fatal("nothing is carried out")
		}
		place("gone")
		lose(orders, "gone")
		close(goOn)
		const refused = "doesn't confirm what it follows from"
		await(ctx, t, "the effect's turn", func() bool {
			select {
			case <-ended:
				return true
			default:
				return lines.Count(refused) > 0 || t.Failed()
			}
		})
		if lines.Count(refused) == 0 {
			t.Errorf("nobody asked the leader:\n%s", lines)
		}
		cancel()
		<-ended
	})
}

// refusedToSave loses the last message of what a table was made of, and says
// whether a compaction was asked to save and trim before that was told.
func refusedToSave(ctx context.Context, t *testing.T, log *eventlog.Log, name string, lose func(f *eventlog.Feed, key string)) bool {
	feed := must(openPatiently(ctx, log, name))(t)
	table := setBackTable(feed)
	rt, err := readOnly().Start(ctx, log, table)
	for errors.Is(err, eventlog.ErrUnavailable) && ctx.Err() == nil { // a bucket that a new cluster is slow to make
		rt, err = readOnly().Start(ctx, log, table)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	add := func(n int) {
		at := must(feed.Append(ctx, fmt.Sprint("k", n), eventlog.ExpectNew, added{Writer: "w", N: n, Part: 1, Of: 1}))(t)
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 19 {
		add(n)
	}
	_, err = rt.Compact(ctx, projection.CompactOptions{})
	for errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		_, err = rt.Compact(ctx, projection.CompactOptions{})
	}
	before := rt.Metrics()[0].Snapshots
	if err != nil || before.Saves == 0 {
		t.Fatalf("before the loss: %v, %+v", err, before)
	}
	add(19)
	lose(feed, "k19")
	report, err := rt.Compact(ctx, projection.CompactOptions{})
	if _, there := table.Get("k19"); err == nil && !there {
		return false // it is what the leader's log makes of it
	}
	if !errors.Is(err, eventlog.ErrLostTail) {
		t.Errorf("compacted: %v; %d rows, %+v", err, table.Len(), rt.Metrics()[0])
	}
	if s := rt.Metrics()[0].Snapshots; s.Saves != before.Saves || len(report.Feeds) != 1 || report.Feeds[0].Trimmed {
		t.Errorf("%+v, %+v", s, report.Feeds)
	}
	return true
}
