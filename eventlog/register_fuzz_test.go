package eventlog

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

func FuzzRegistration(f *testing.F) {
	f.Add([]byte(`{"version":1,"incarnation":"abc","state":"open","since":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":1,"incarnation":"abc","state":"creating"}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r registration
		var err error
		fuzzmem.Check(t, len(data), 200, 1<<20, func() { err = r.decode(data) })
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("can't be written again: %v", err)
		}
		var back registration
		if err := back.decode(again); err != nil || back.Incarnation != r.Incarnation || back.State != r.State {
			t.Fatalf("%+v became %+v, %v", r, back, err)
		}
	})
}
