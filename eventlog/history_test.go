package eventlog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

var record = flag.Bool("record", false, "record the histories under testdata/history that aren't there yet")

const historyDir = "testdata/history"

// histories are logs that former programs wrote. What they wrote is recorded
// once, message by message, with what is read of it; the records are only
// ever added to. A program that can't read one of them any more has lost
// somebody's events.
var histories = []struct {
	name  string
	types func() []eventlog.FeedOption
	write func(ctx context.Context, f *eventlog.Feed) error
}{
	{"bank-msgpack", oldTypes, writeBank},
	{"bank-json", func() []eventlog.FeedOption { return append(oldTypes(), eventlog.WithCodec(eventlog.JSON)) }, writeBank},
	{"bank-import", oldTypes, importBank},
}

func writeBank(ctx context.Context, f *eventlog.Feed) error {
	for i, events := range [][]any{
		{openedV1{"Ada Lovelace"}},
		{openedV2{"Bob", "Marley"}, deposited{7}, transferred{1, 2, 5}, noted{"x"}, deposited{-1 << 40}},
		{noted{"alone"}},
		{transferred{1, 2, 9}},
	} {
		d := eventlog.Draft{Key: fmt.Sprint("eu.", i/2), Events: events, ID: eventlog.ActorID("old", uint64(i+1))}
		if i == 3 {
			d.Tags, d.Causation, d.Header = []string{"audit"}, "old/1", map[string]string{"traceparent": "00-x"}
		}
		if _, err := f.AppendDraft(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func importBank(ctx context.Context, f *eventlog.Feed) error {
	_, err := f.Import(ctx, func(yield func(eventlog.Draft, error) bool) {
		for i := range 6 {
			d := eventlog.Draft{Key: "k", Events: []any{deposited{int64(i)}, transferred{1, 2, 3}}, ID: eventlog.ActorID("import", uint64(i))}
			if !yield(d, nil) {
				return
			}
		}
	}, eventlog.ImportOptions{Pack: 12})
	return err
}

func TestRecordedHistories(t *testing.T) {
	for _, h := range histories {
		t.Run(h.name, func(t *testing.T) {
			path := filepath.Join(historyDir, h.name+".txt")
			stored, err := os.ReadFile(path)
			if os.IsNotExist(err) && *record {
				stored = recordHistory(t, h.types(), h.write)
				if err = os.WriteFile(path, stored, 0o644); err == nil {
					err = addSum(path, stored)
				}
			}
			if err != nil {
				t.Fatalf("%v (a new history is recorded by -record)", err)
			}
			f := replayHistory(t, stored)
			got := []byte(strings.Join(read(t, f), "\n") + "\n")
			golden := strings.TrimSuffix(path, ".txt") + ".golden"
			want, err := os.ReadFile(golden)
			if os.IsNotExist(err) && *record {
				want = got
				if err = os.WriteFile(golden, got, 0o644); err == nil {
					err = addSum(golden, got)
				}
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v; got:\n%s\nwant:\n%s", err, got, want)
			}
		})
	}
}

// Nothing that was ever recorded is changed or removed.
func TestHistoriesAreOnlyAdded(t *testing.T) {
	sums, err := os.ReadFile(filepath.Join(historyDir, "SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(sums)), "\n")
	if len(lines) < 2*len(histories) {
		t.Errorf("%d sums for %d histories", len(lines), len(histories))
	}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		b, err := os.ReadFile(filepath.Join(historyDir, name))
		if got := sha256.Sum256(b); err != nil || hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s was changed since it was recorded: %v", name, err)
		}
	}
}

func addSum(path string, b []byte) error {
	f, err := os.OpenFile(filepath.Join(historyDir, "SUMS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%x  %s\n", sha256.Sum256(b), filepath.Base(path))
	return err
}

// recordHistory lets a program write a log, and dumps the stored messages:
// the subject behind the feed's prefix, header lines, an empty line, and the
// payload in hexadecimal.
func recordHistory(t *testing.T, types []eventlog.FeedOption, write func(context.Context, *eventlog.Feed) error) []byte {
	ctx := logtest.Context(t)
	log := logtest.Embedded(t)
	f, err := log.Feed(ctx, "accounts", types...)
	if err == nil {
		err = write(ctx, f)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	st, err := f.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= st.Last; seq++ {
		m, err := jsStream(t, f).GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", strings.TrimPrefix(m.Subject, log.App()+".accounts."))
		names := make([]string, 0, len(m.Header))
		for name := range m.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			// The server's other headers decided whether it took the message, or
			// say where it is; they mean nothing elsewhere.
			if name == nats.MsgIdHdr || !strings.HasPrefix(name, "Nats-") {
				fmt.Fprintf(&b, "%s: %s\n", name, m.Header.Get(name))
			}
		}
		fmt.Fprintf(&b, "\n%x\n", m.Data)
	}
	return []byte(b.String())
}

// replayHistory stores recorded messages in a new feed's stream, and opens it
// with today's types.
func replayHistory(t *testing.T, stored []byte) *eventlog.Feed {
	ctx := logtest.Context(t)
	log := logtest.Embedded(t)
	f, err := log.Feed(ctx, "accounts", newTypes()...)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(stored), "\n")
	for len(lines) > 1 {
		m := nats.NewMsg(log.App() + ".accounts." + lines[0])
		for lines = lines[1:]; lines[0] != ""; lines = lines[1:] {
			name, value, _ := strings.Cut(lines[0], ": ")
			m.Header.Set(name, value)
		}
		if m.Data, err = hex.DecodeString(lines[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := log.JetStream().PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
		lines = lines[2:]
	}
	return f
}
