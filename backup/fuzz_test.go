package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

// FuzzManifest adds the checksum that hostile bytes would have.
func FuzzManifest(f *testing.F) {
	whole, err := json.Marshal(Manifest{
		Format: formatVersion, App: "bank",
		Streams:   []Stream{{Name: "bank_accounts", Feed: true, File: "streams/a", Config: json.RawMessage(`{}`), State: State{Messages: 3, LastSeq: 3}}},
		Snapshots: []Snapshot{{Unit: "u", ID: "i", At: map[string]uint64{"accounts": 3}}},
		Files:     map[string]File{"streams/a": {Size: 1, SHA256: "00"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"format":1,"files":{"../../etc/passwd":{"size":-1}}}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.ReplaceAll(line, []byte("\n"), nil)
		sum := sha256.Sum256(line)
		data := append(append(bytes.Clone(line), '\n'), hex.EncodeToString(sum[:])+"\n"...)
		var m *Manifest
		var err error
		fuzzmem.Check(t, len(data), 500, 1<<20, func() { m, err = decode(data) })
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrInvalid) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		m.Feeds()
		for _, s := range m.Streams {
			if foreign(m.App, s) != "" {
				continue
			}
			have, err := settingsOf(s)
			own := ownSettings(m.App, s, have)
			if err == nil && len(deviations(own, ownSettings(m.App, s, own))) > 0 {
				t.Fatalf("its own settings are refused: %+v", own)
			}
			if own.Mirror != nil || len(own.Sources) > 0 || own.RePublish != nil || own.SubjectTransform != nil || own.Sealed || own.MaxAge > 0 || own.Name != s.Name {
				t.Fatalf("unsafe settings: %+v", own)
			}
		}
	})
}

// FuzzContents reads hostile bytes as a stream's file.
func FuzzContents(f *testing.F) {
	var whole bytes.Buffer
	z := s2.NewWriter(&whole)
	w := archive.NewWriter(z)
	state := []byte(`{"messages":1,"first_seq":1,"last_seq":1}`)
	for _, h := range []archive.Header{{Name: archiveState, PayloadSize: int64(len(state))}, {Name: "bank.accounts.k", Sequence: 1, PayloadSize: 1}, {}} {
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		if h.PayloadSize > 0 {
			_, _ = w.Write(state[:h.PayloadSize])
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	dir := f.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = root.Close() })
	c := checking{root: root}
	s := Stream{Name: "bank_accounts", File: "file", State: State{Messages: 1, FirstSeq: 1, LastSeq: 1}}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.contents(t.Context(), s, "bank.accounts.>"); err == nil && len(data) < 32 {
			t.Fatalf("%x is a stream's file", data)
		}
	})
}
