package backup

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// A backup names its server, and a restore on an older one says so.
func TestRestoreOnAnOlderServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "saved")
	lines := new(logtest.Lines)
	open := func() *eventlog.Log {
		log, err := eventlog.Open(logtest.Context(t), eventlog.Options{App: "versions", Memory: true, Logger: zerolog.New(lines)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = log.Close() })
		return log
	}
	restore := func() *Manifest {
		m, err := Restore(context.WithoutCancel(t.Context()), open(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	log := open()
	m, err := Save(t.Context(), log, dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Server == "" || m.Server != log.Conn().ConnectedServerVersion() {
		t.Errorf("it is of server %q", m.Server)
	}
	if m := restore(); len(m.Notes) > 0 {
		t.Errorf("on the same server: %v", m.Notes)
	}
	const told = "restored on an older server"
	if n := lines.Count(told); n != 0 {
		t.Errorf("logged %d times on the same server", n)
	}
	m.Server = "2.99.1"
	if err := m.write(dir); err != nil {
		t.Fatal(err)
	}
	if m := restore(); len(m.Notes) != 1 || !strings.Contains(m.Notes[0], `nats-server "2.99.1"`) {
		t.Errorf("on an older server: %v", m.Notes)
	}
	if n := lines.Count(`"level":"warn"`, told, `"backup":"2.99.1"`); n != 1 {
		t.Errorf("logged %d times:\n%s", n, lines)
	}
	full := open() // so that the restore fails
	if _, err := full.Feed(t.Context(), "accounts"); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), full, dir); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), `nats-server "2.99.1"`) {
		t.Errorf("a restore that fails: %v", err)
	}
	for _, c := range []struct {
		saved, now string
		want       bool
	}{{"2.15.0", "2.14.9", true}, {"2.14.9", "2.14.1", false}, {"2.9.1", "2.10.0", false}, {"3.0.0", "2.15.0", true}, {"", "2.15.0", false}, {"2.15.0", "dev", false}} {
		if newerServer(c.saved, c.now) != c.want {
			t.Errorf("%+v", c)
		}
	}
}
