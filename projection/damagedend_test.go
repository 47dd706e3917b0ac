package projection_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// The last record can't be read. Start doesn't wait for it: the table stops,
// and the error names the position.
func TestStartOverADamagedEnd(t *testing.T) {
	o := eventlog.Options{App: "a", Dir: t.TempDir()}
	log := must(eventlog.Open(t.Context(), o))(t)
	b := bankOf(t, log)
	for range 20 {
		b.append(t, "ada", deposited{1})
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(o.Dir, "jetstream", "$G", "streams", b.accounts.Stream(), "msgs", "1.blk")
	data := must(os.ReadFile(block))(t)
	data[len(data)-12] ^= 4
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b = bankOf(t, logtest.Open(t, o))
	balances := b.balances()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rt := must(projection.Start(ctx, b.log, balances))(t)
	defer rt.Close()
	e, ok := errors.AsType[*eventlog.RangeError](balances.Err())
	if !ok || !errors.Is(e, eventlog.ErrGap) || e.Want != 20 {
		t.Errorf("stopped: %v", balances.Err())
	}
	equal(t, "what is before it", balances, map[string]int64{"ada": 19})
}
