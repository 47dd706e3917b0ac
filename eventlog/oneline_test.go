package eventlog_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

const forged = "\x1b[2J\x1b[31mERR forged\x07"

// oneLine fails where a text could be taken for several lines, or control a
// terminal, or has no end.
func oneLine(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	if s := err.Error(); strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || len(s) > 4<<10 {
		t.Errorf("%s: %d bytes: %.500q", what, len(s), s)
	}
}

// Keys, types and headers hold any text, of this program's callers and of
// others that write to the log: they are quoted wherever they are told.
func TestErrorsAreOneLine(t *testing.T) {
	ctx := logtest.Context(t)
	var lines bytes.Buffer
	o := logtest.Options(t)
	o.Logger = zerolog.New(zerolog.ConsoleWriter{Out: zerolog.SyncWriter(&lines), NoColor: true})
	log := logtest.Open(t, o)
	f := must(log.Feed(ctx, "accounts", eventlog.Type[deposited]("deposited")))(t)
	key := "k\n" + forged + strings.Repeat("x", 1000)
	put(t, f, key, 1)
	_, err := f.Append(ctx, key, eventlog.ExpectNew, deposited{})
	oneLine(t, "conflict", err)
	_, err = f.Append(ctx, key, eventlog.ExpectAny, deposited{}, deposited{}, struct{}{})
	oneLine(t, "unregistered", err)
	_, err = f.Append(ctx, strings.Repeat(forged, 10_000), eventlog.ExpectAny, deposited{})
	oneLine(t, "long key", err)
	_, err = f.AppendDraft(ctx, eventlog.Draft{Key: key, ID: "x\n" + forged, Events: []any{deposited{}}})
	if err != nil {
		oneLine(t, "ID", err)
	}
	var last uint64
	for _, header := range []string{"Tm-Type", "Tm-Codec", "Tm-Events", "Tm-Ids", "Tm-Seen", "Tm-Tagged", "Tm-Marker"} {
		h := nats.Header{"Tm-Type": {"deposited"}}
		h.Set(header, forged+strings.Repeat("y", 2000))
		m := &nats.Msg{Subject: log.App() + ".accounts.other", Header: h, Data: []byte("\x80" + forged)}
		last = must(log.JetStream().PublishMsg(ctx, m))(t).Sequence
		told := 0
		for c, err := range f.Commits(ctx, eventlog.After(last-1), eventlog.Unreadable()) {
			if err != nil {
				oneLine(t, header+" read", err)
				told++
				break
			}
			if c.Problem() != nil {
				oneLine(t, header+" commit", c.Problem())
				told++
			}
			for i := range c.Len() {
				if _, err := c.Event(i).Value(); err != nil {
					oneLine(t, header+" value", err)
					told++
				}
			}
		}
		if told == 0 && (header == "Tm-Type" || header == "Tm-Codec" || header == "Tm-Events") {
			t.Errorf("%s: nothing was told", header)
		}
	}
	m := &nats.Msg{Subject: log.App() + ".accounts." + "a" + strings.ReplaceAll(forged, " ", ""), Data: []byte("x")}
	if ack, err := log.JetStream().PublishMsg(ctx, m); err == nil {
		last = ack.Sequence
	}
	_, err = seqs(ctx, f)
	oneLine(t, "reading", err)
	_, err = seqs(ctx, f, eventlog.After(last-1))
	oneLine(t, "a stray subject", err)
	if err := log.Healthy(ctx); !errors.Is(err, eventlog.ErrCorrupt) {
		t.Errorf("healthy: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(lines.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) || strings.HasPrefix(line, "ERR forged") {
			t.Errorf("logged: %q", line)
		}
	}
}
