package process_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
	"github.com/tidemark-es/tidemark/process"
)

// The log of the feed that reactions go to comes back without its end, and nobody
// has accepted that: each reaction would fail, so New says it. Once it is accepted,
// the reactions that are wanted, and those that were lost, are there.
func TestTargetLostItsTail(t *testing.T) { bubble.Run(t, targetLostItsTail) }

func targetLostItsTail(t *testing.T) {
	ctx, dir, before := t.Context(), t.TempDir(), t.TempDir()
	parcels := filepath.Join(dir, "jetstream", "$G", "streams", "lostend_parcels")
	open := func() *eventlog.Log {
		t.Helper()
		log, err := eventlog.Open(ctx, eventlog.Options{App: "lostend", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	session := func(log *eventlog.Log, requested int, keys ...string) {
		t.Helper()
		o := openOffice(t, log)
		o.run()
		for _, k := range keys {
			o.append(o.orders, k, Paid{})
		}
		bubble.Pass(time.Minute) // all that is wanted now is done
		if n := o.count("requested"); n != requested {
			t.Errorf("%d requested, want %d", n, requested)
		}
		o.close()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	session(open(), 1, "ada")
	if err := os.CopyFS(before, os.DirFS(parcels)); err != nil {
		t.Fatal(err)
	}
	session(open(), 3, "bob", "cy")
	if err := errors.Join(os.RemoveAll(parcels), os.CopyFS(parcels, os.DirFS(before))); err != nil {
		t.Fatal(err)
	}

	log := open()
	feed, err := log.Feed(ctx, "parcels", eventlog.Type[Requested]("requested"), eventlog.Type[Sent]("sent"), eventlog.Type[Reminded]("reminded"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = process.New[shipping](ctx, log, "shipping", 1, feed)
	loss, ok := errors.AsType[*eventlog.LossError](err)
	if !ok || loss.Feed != "parcels" || loss.From != 2 {
		t.Fatalf("got %v", err)
	}
	if err := feed.AcceptLoss(ctx, loss.From, loss.To); err != nil {
		t.Fatal(err)
	}
	session(log, 2, "dee") // bob's and cy's were carried out, and given up with the loss
}
