package projection_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

type paidOrder struct{ Cents int64 }

// shop is a stream of orders that somebody else writes, in a server's
// directory.
type shop struct {
	t   *testing.T
	app string
	dir string
}

// with opens the log, makes the stream where it is missing, and runs f; close
// follows.
func (s shop) with(f func(log *eventlog.Log)) {
	s.t.Helper()
	log := must(eventlog.Open(logtest.Context(s.t), eventlog.Options{App: s.app, Dir: s.dir}))(s.t)
	defer func() {
		if err := log.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	must(log.JetStream().CreateOrUpdateStream(s.t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}))(s.t)
	f(log)
}

func (s shop) publish(log *eventlog.Log, key string, n int) {
	s.t.Helper()
	for range n {
		must(log.JetStream().Publish(s.t.Context(), "orders."+key+".paid", []byte(`{"Cents":5}`)))(s.t)
	}
}

// totals runs a projection over the adopted stream, and says where its state
// came from.
func (s shop) totals(log *eventlog.Log, during func(rt *projection.Runtime)) (map[string]int64, projection.Recovery) {
	s.t.Helper()
	orders := must(log.Adopt(s.t.Context(), "orders", eventlog.Adoption{
		Stream: "ORDERS", Layouts: []eventlog.Layout{{Subject: "orders.{region}.{id}.{type}"}},
	}, eventlog.Type[paidOrder]("paid")))(s.t)
	totals := projection.NewTable[string, int64]("totals", projection.Version(1))
	projection.On(totals, orders, func(t *projection.Tx[string, int64], e eventlog.Event, d paidOrder) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	rt := must(projection.Start(logtest.Context(s.t), log, totals))(s.t)
	if during != nil {
		during(rt)
	}
	rec := status(s.t, rt, "totals").Recovery
	if err := rt.Close(); err != nil {
		s.t.Error(err)
	}
	return contents(totals), rec
}

// A projection over an adopted stream, from its first start to a restart: it
// is restored, and goes on; and where the stream is another one, or lost its
// tail, the snapshot is refused (R3.13, T3.14). What the owner removed is no
// reason to refuse one.
func TestAdoptedFeed(t *testing.T) {
	ctx := t.Context()
	purge := func(log *eventlog.Log, below uint64) {
		t.Helper()
		if err := must(log.JetStream().Stream(ctx, "ORDERS"))(t).Purge(ctx, jetstream.WithPurgeSequence(below)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		then   func(t *testing.T, s shop)
		want   string
		source projection.Source
		says   string // a reason or a note
	}{
		{"restarted", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) { s.publish(log, "eu.1", 1) })
		}, "map[eu.1:55 us.2:15]", projection.FromSnapshot, ""},
		{"the snapshot's message was deleted", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) {
				st := must(log.JetStream().Stream(ctx, "ORDERS"))(t)
				if err := st.DeleteMsg(ctx, 13); err != nil {
					t.Fatal(err)
				}
				s.publish(log, "eu.1", 1)
			})
		}, "map[eu.1:55 us.2:15]", projection.FromSnapshot, "was deleted inside"},
		{"trimmed beyond the snapshot", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) {
				s.publish(log, "us.2", 3)
				purge(log, 16)
			})
		}, "map[eu.1:50 us.2:20]", projection.FromSnapshot, "14 to 15 were removed by its owner"},
		{"purged", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) { purge(log, 1000) })
		}, "map[eu.1:50 us.2:15]", projection.FromSnapshot, "was trimmed"},
		{"deleted and made again", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) {
				if err := log.JetStream().DeleteStream(ctx, "ORDERS"); err != nil {
					t.Fatal(err)
				}
			})
			s.with(func(log *eventlog.Log) { s.publish(log, "eu.9", 20) })
		}, "map[eu.9:100]", projection.FromReplay, "created again"},
		{"restored from the server's backup", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) { restoreBackup(t, log, "ORDERS", backUp(t, log, "ORDERS")) })
			s.with(func(log *eventlog.Log) { s.publish(log, "eu.1", 1) })
		}, "map[eu.1:55 us.2:15]", projection.FromSnapshot, ""},
		{"restored from an older backup, and numbers used again", func(t *testing.T, s shop) {
			s.with(func(log *eventlog.Log) {
				backup := backUp(t, log, "ORDERS")
				s.publish(log, "us.2", 4)
				s.totals(log, nil)
				restoreBackup(t, log, "ORDERS", backup)
			})
			s.with(func(log *eventlog.Log) { s.publish(log, "jp.3", 10) })
		}, "map[eu.1:50 jp.3:50 us.2:15]", projection.FromSnapshot, "created again"},
		{"tail lost and numbers used again", func(t *testing.T, s shop) {
			s.lose(func(log *eventlog.Log) {
				s.publish(log, "us.2", 4)
				s.totals(log, nil)
			})
			s.with(func(log *eventlog.Log) { s.publish(log, "jp.3", 10) })
		}, "map[eu.1:50 jp.3:50 us.2:15]", projection.FromSnapshot, "used again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := shop{t, logtest.App(t), t.TempDir()}
			s.with(func(log *eventlog.Log) {
				s.publish(log, "eu.1", 10)
				s.totals(log, func(rt *projection.Runtime) {
					s.publish(log, "us.2", 3)
					if err := rt.Wait(logtest.Context(t), eventlog.Position{Feed: "orders", Seq: 13}); err != nil {
						t.Error(err)
					}
				})
			})
			c.then(t, s)
			s.with(func(log *eventlog.Log) {
				got, rec := s.totals(log, nil)
				if fmt.Sprint(got) != c.want || rec.Source != c.source {
					t.Errorf("%v from %s, want %s from %s; %q %q", got, rec.Source, c.want, c.source, rec.Skipped, rec.Notes)
				}
				if said := strings.Join(append(rec.Skipped, rec.Notes...), "; "); !strings.Contains(said, c.says) {
					t.Errorf("said %q, without %q", said, c.says)
				}
			})
		})
	}
}

// lose makes the stream lose what f stores in it, as a restored backup does.
func (s shop) lose(f func(log *eventlog.Log)) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "jetstream", "$G", "streams", "ORDERS")
	copied := filepath.Join(s.t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		s.t.Fatal(err)
	}
	s.with(f)
	if err := os.RemoveAll(dir); err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(copied)); err != nil {
		s.t.Fatal(err)
	}
}

// What the owner had removed before the first start is missing, and said so.
func TestAdoptedWithoutBeginning(t *testing.T) {
	s := shop{t, logtest.App(t), t.TempDir()}
	s.with(func(log *eventlog.Log) {
		s.publish(log, "eu.1", 10)
		st := must(log.JetStream().Stream(t.Context(), "ORDERS"))(t)
		if err := st.Purge(t.Context(), jetstream.WithPurgeSequence(8)); err != nil {
			t.Fatal(err)
		}
		for _, seq := range []uint64{9, 10} {
			if err := st.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
		got, rec := s.totals(log, nil)
		if got["eu.1"] != 5 || len(rec.Notes) != 1 || !strings.Contains(rec.Notes[0], "messages 1 to 7 were removed") {
			t.Errorf("%v, notes %q", got, rec.Notes)
		}
	})
}

// Orders that another program publishes as JSON, as orders.eu.42.created, are
// a read-only feed: the subject says key and type.
func Example_adopt() {
	ctx := context.Background()
	l, err := eventlog.Open(ctx, eventlog.Options{App: "reports", Memory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	// The other program's part.
	js := l.JetStream()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		log.Fatal(err)
	}
	for subject, payload := range map[string]string{"orders.eu.42.created": `{"total":1200}`, "orders.us.7.created": `{"total":99}`} {
		if _, err := js.Publish(ctx, subject, []byte(payload)); err != nil {
			log.Fatal(err)
		}
	}

	type Created struct {
		Total int64 `json:"total"`
	}
	orders, err := l.Adopt(ctx, "orders", eventlog.Adoption{
		Stream:  "ORDERS",
		Layouts: []eventlog.Layout{{Subject: "orders.{region}.{id}.{type}"}},
	}, eventlog.Type[Created]("created"))
	if err != nil {
		log.Fatal(err)
	}
	totals := projection.NewTable[string, int64]("totals")
	projection.On(totals, orders, func(t *projection.Tx[string, int64], e eventlog.Event, d Created) error {
		t.Put(e.Key, d.Total)
		return nil
	})
	rt, err := projection.Start(ctx, l, totals)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	fmt.Println(totals.Get("eu.42"))
	_, err = orders.Append(ctx, "eu.42", eventlog.ExpectAny, Created{1})
	fmt.Println(err)
	// Output:
	// 1200 true
	// eventlog: feed "orders": read-only feed: it is adopted, and stream ORDERS is written by others: publish to it as they do, or append to a feed of your own
}
