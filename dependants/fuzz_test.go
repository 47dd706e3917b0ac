package dependants

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"dependants":{"a":{"needs":"f=3","expiry_ns":5,"upstream":["b"]},"b":{"needs":"","unit":"u","seen":"2026-01-02T03:04:05Z"}},"trimmed":{"f":{"incarnation":"i","from":7}}}`))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":9}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		var r record
		var err error
		fuzzmem.Check(t, len(data), 500, 1<<20, func() { r, err = decodeRecord(data, now) })
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
			return
		}
		// What was read can be used, written, and read again.
		ds := r.list(now)
		Holds(ds, nil)
		for _, d := range ds {
			_ = r.advance(d.Name, d.Needs)
		}
		r.trim(map[string]Mark{"f": {Incarnation: "i", From: 9}}, ds)
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("can't be written again: %v", err)
		}
		if _, err := decodeRecord(again, now); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

// FuzzCopy reads the register's copy, and the record in it.
func FuzzCopy(f *testing.F) {
	f.Add(`{"revision":3,"at":"2026-01-02T03:04:05Z","record":{"version":1}}`)
	f.Add(`{"revision":0}`)
	f.Add(`{"revision":3,"record":[[[[1]]]]}`)
	f.Fuzz(func(t *testing.T, note string) {
		fuzzmem.Check(t, len(note), 1000, 1<<20, func() {
			c, ok := decodeCopy(note)
			if !ok {
				return
			}
			if c.Revision == 0 || len(c.Record) == 0 {
				t.Fatalf("%+v", c)
			}
			if _, err := decodeRecord(c.Record, c.At); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
		})
	})
}
