package lease

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

func FuzzRecord(f *testing.F) {
	f.Add(record{Owner: "a", Token: "t", Epoch: 3, TTL: 10, Session: "s"}.encode())
	f.Add([]byte(`{"version":1,"token":"t","epoch":1,"ttl_ns":1e9}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r record
		var err error
		fuzzmem.Check(t, len(data), 200, 1<<20, func() { r, err = decodeRecord("name", data) })
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not an ErrCorrupt: %v", err)
			}
			return
		}
		var again record
		if err := json.Unmarshal(r.encode(), &again); err != nil || again != r {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}
