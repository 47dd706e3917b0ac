package projection_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// streamBackup is what the server's backup of a stream gives.
type streamBackup struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	chunks [][]byte
}

// backUp takes the server's own backup of a stream.
func backUp(t *testing.T, log *eventlog.Log, stream string) (s streamBackup) {
	t.Helper()
	nc := log.Conn()
	inbox := nc.NewInbox()
	sub := must(nc.SubscribeSync(inbox))(t)
	defer func() { _ = sub.Unsubscribe() }()
	streamAPI(t, log, "SNAPSHOT", stream, map[string]any{"deliver_subject": inbox, "no_consumers": true}, &s)
	for {
		m := must(sub.NextMsg(patience))(t)
		if len(m.Data) == 0 {
			if st := m.Header.Get("Status"); st != "" && st != "204" {
				t.Fatalf("backup: %v", m.Header)
			}
			return s
		}
		s.chunks = append(s.chunks, m.Data)
		if m.Reply == "" {
			continue // the server doesn't wait for this one
		}
		if err := m.Respond(nil); err != nil {
			t.Fatal(err)
		}
	}
}

// restoreBackup puts a backup in the place of the stream.
func restoreBackup(t *testing.T, log *eventlog.Log, stream string, s streamBackup) {
	t.Helper()
	if err := log.JetStream().DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	streamAPI(t, log, "RESTORE", stream, s, &to)
	for _, chunk := range append(s.chunks, nil) {
		m := must(log.Conn().Request(to.Subject, chunk, patience))(t)
		if strings.Contains(string(m.Data), `"error"`) {
			t.Fatalf("restore: %s", m.Data)
		}
	}
}

func streamAPI(t *testing.T, log *eventlog.Log, what, stream string, request, reply any) {
	t.Helper()
	body := must(json.Marshal(request))(t)
	m := must(log.Conn().Request(log.APIPrefix()+".STREAM."+what+"."+stream, body, patience))(t)
	if strings.Contains(string(m.Data), `"error"`) {
		t.Fatalf("%s: %s", what, m.Data)
	}
	if err := json.Unmarshal(m.Data, reply); err != nil {
		t.Fatal(err)
	}
}

// R3.13: a feed's stream is restored from an older backup, with the same
// incarnation, and grows on with other events under the same numbers, under a
// running projection: that ends with what the log holds, or stops loudly; and
// the next start has what the log holds, from a snapshot that belongs to it.
func TestStreamRestoredFromBackup(t *testing.T) {
	for name, more := range map[string]int{"short": 0, "grown beyond": 30} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			at := saved(t, b, 20) // a snapshot that belongs to both histories
			backup := backUp(t, b.log, b.accounts.Stream())
			rt := must(often(5).Start(ctx, b.log, b.balances(projection.Version(1))))(t)
			for range 20 {
				at = b.append(t, "lost", deposited{1})
			}
			if err := rt.Wait(ctx, at); err != nil {
				t.Fatal(err)
			}
			if _, err := rt.Compact(ctx, projection.CompactOptions{DryRun: true}); err != nil {
				t.Fatal(err)
			}
			restoreBackup(t, b.log, b.accounts.Stream(), backup)
			want := map[string]int64{"k0": 7, "k1": 7, "k2": 6}
			later := appendAgain(t, b, 1+more)
			want["later"] = int64(1 + more)
			deadline := time.After(patience)
			for done := false; !done; {
				s := rt.Metrics()[0]
				now, _ := s.At.Get("accounts")
				done = s.Err != nil || now == later.Seq
				if s.Err != nil && !errors.Is(s.Err, eventlog.ErrLostTail) {
					t.Errorf("stopped by %v", s.Err)
				}
				select {
				case <-time.After(5 * time.Millisecond):
				case <-deadline:
					t.Fatalf("neither stopped nor where the log is: %+v", s)
				}
			}
			_ = rt.Close()
			balances := b.balances(projection.Version(1))
			rt = b.start(t, projection.Config{}, balances)
			if got := contents(balances); !maps.Equal(got, want) {
				t.Errorf("restored %v, want %v; %+v", got, want, status(t, rt, "balances").Recovery)
			}
			// Nothing is trimmed on the strength of the lost history.
			r, err := rt.Compact(ctx, projection.CompactOptions{})
			if err != nil && !errors.Is(err, projection.ErrUnverified) {
				t.Error(err)
			}
			if err != nil && feedOrNone(r, "accounts").Trimmed {
				t.Errorf("trimmed: %+v", r)
			}
		})
	}
}

// appendAgain appends to a feed whose stream was away for a moment, which
// closes it to appends until it is seen to be back.
func appendAgain(t *testing.T, b *bank, n int) (at eventlog.Position) {
	t.Helper()
	for i := 0; i < n; {
		var err error
		at, err = b.accounts.Append(t.Context(), "later", eventlog.ExpectAny, deposited{1})
		switch {
		case err == nil:
			i++
		case errors.Is(err, eventlog.ErrMissing):
			if _, err := b.accounts.State(t.Context()); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal(err)
		}
	}
	return at
}
