package eventlog

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A server that doesn't know batches stores their messages one by one, and the
// first one's acknowledgement names no batch: the transaction isn't said to be
// stored.
func TestUnbatchedAnswer(t *testing.T) {
	f, _ := deaf(t, 0)
	if err := f.batches.sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	about := regexp.MustCompile(`,"(batch|count)":("[^"]*"|\d+)`)
	var err error
	f.batches.sub, err = f.log.nc.Subscribe(f.batches.inbox+"*", func(m *nats.Msg) {
		m.Data = about.ReplaceAll(m.Data, nil)
		f.batches.onAck(m)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.AppendTransaction(t.Context(), Transaction{Drafts: []Draft{
		{Key: "a", Events: []any{goldenOpened{"a"}}}, {Key: "b", Events: []any{goldenOpened{"b"}}},
	}})
	if !errors.Is(err, ErrAmbiguous) || !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

// A commit that another domain's stream acknowledges, instead of the log's own
// or beside it, closes the feed to appends.
func TestForeignDomain(t *testing.T) {
	for _, second := range []bool{false, true} {
		t.Run(fmt.Sprint("second answer: ", second), func(t *testing.T) {
			l, err := Open(t.Context(), Options{App: "domains", Memory: true})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			f, err := l.Feed(t.Context(), "accounts", Type[goldenOpened]("opened"))
			if err != nil {
				t.Fatal(err)
			}
			appendOne(t, f, 1)
			if second {
				f.writer.onAck(f.writer.token, []byte(`{"stream":"domains_accounts","domain":"edge","seq":1}`), false)
			} else {
				f.acks = newAckReader(f.stream, "hub")
				_, err := f.Append(t.Context(), "k", ExpectAny, goldenOpened{"x"})
				if !errors.Is(err, ErrAmbiguous) || !errors.Is(err, ErrForeign) {
					t.Errorf("append: %v", err)
				}
			}
			_, err = f.Append(t.Context(), "k", ExpectAny, goldenOpened{"x"})
			if e, ok := errors.AsType[*DomainError](err); !ok || errors.Is(err, ErrAmbiguous) {
				t.Errorf("the next append: %v (%v)", err, e)
			}
			if err := l.Healthy(t.Context()); !errors.Is(err, ErrForeign) {
				t.Errorf("healthy: %v", err)
			}
		})
	}
}

// A server that lets a consumer ask for few messages at a time is read to the
// end.
func TestSmallRequests(t *testing.T) {
	s := listening(t, func(o *server.Options) { o.JetStreamLimits.MaxRequestBatch = 7 })
	f := openedAt(t, Options{URL: s.ClientURL()})
	const n = 100
	for i := range n {
		appendOne(t, f, uint64(i+1))
	}
	read := 0
	for _, err := range f.Read(t.Context(), Follow()) {
		if err != nil {
			t.Fatal(err)
		}
		if read++; read == n {
			break
		}
	}
}
