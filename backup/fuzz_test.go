package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"

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
	})
}
