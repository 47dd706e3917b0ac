package projection

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/bubble"
)

// times is a logger's output that keeps when each line came.
type times struct {
	mu sync.Mutex
	at []time.Time
}

func (w *times) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = append(w.at, time.Now())
	return len(p), nil
}

// R2.23, T2.11: a feed whose server is away is asked for ever more seldom, up
// to once in 5 s.
func TestReadingBacksOff(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		defer s.WaitForShutdown()
		defer s.Shutdown()
		nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		log, err := eventlog.Open(t.Context(), eventlog.Options{App: "app", Conn: nc, RequestTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		f, err := log.Feed(t.Context(), "feed", eventlog.Type[int]("any"))
		if err != nil {
			t.Fatal(err)
		}
		s.Shutdown()
		s.WaitForShutdown()
		var told times
		logger := zerolog.New(&told)
		u := &unit{rt: &Runtime{cfg: Config{Logger: &logger}}, name: "unit"}
		over, ended := make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(ended)
			u.pump(ctx, over, f, 0, eventlog.After(0), math.MaxUint64, make(chan arrival))
		}()
		bubble.Pass(10 * time.Minute)
		told.mu.Lock()
		at := slices.Clone(told.at)
		told.mu.Unlock()
		if len(at) < 20 {
			t.Fatalf("%d tries in 10 minutes", len(at))
		}
		if first, last := at[1].Sub(at[0]), at[len(at)-1].Sub(at[len(at)-2]); first > 3*time.Second/2 || last < 5*time.Second || last > 7*time.Second {
			t.Errorf("%v between the first two tries, %v between the last two of %d", first, last, len(at))
		}
		if err := log.Close(); err != nil {
			t.Log(err) // its server is gone
		}
		cancel()
		<-ended
	})
}

// R2.22: the wait before each retry of a handler is twice the one before it, up
// to MaxBackoff.
func TestFailurePolicyWaits(t *testing.T) {
	p := FailurePolicy{Backoff: 10 * time.Millisecond, MaxBackoff: 75 * time.Millisecond}
	var got []time.Duration
	for retry := range 6 {
		got = append(got, p.wait(retry+1)/time.Millisecond)
	}
	if want := []time.Duration{10, 20, 40, 75, 75, 75}; !slices.Equal(got, want) {
		t.Errorf("%d, want %d", got, want)
	}
	if w := p.wait(math.MaxInt32); w != p.MaxBackoff {
		t.Errorf("%v in the end", w)
	}
}
