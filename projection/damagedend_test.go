package projection_test

import (
	"bytes"
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

// A state of the past whose last commit can't be read is an error, never one of
// fewer commits; one before it is a state, and so is one after it when the
// commit is registered as lost.
func TestAsOfDamaged(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: "a", Dir: t.TempDir()}
	log := must(eventlog.Open(ctx, o))(t)
	b := bankOf(t, log)
	for range 10 {
		b.append(t, "ada", deposited{1})
	}
	mark := b.append(t, "damaged", deposited{1})
	for range 9 {
		b.append(t, "ada", deposited{1})
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(o.Dir, "jetstream", "$G", "streams", b.accounts.Stream(), "msgs", "1.blk")
	data := must(os.ReadFile(block))(t)
	data[bytes.Index(data, []byte("damaged"))+len("damaged")+30] ^= 4 // in its headers
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b = bankOf(t, logtest.Open(t, o))
	asOf := func(seq uint64) (map[string]int64, error) {
		balances := b.balances()
		_, err := projection.AsOf(ctx, b.log, frame(t, map[string]uint64{"accounts": seq}), balances)
		return contents(balances), err
	}
	for _, seq := range []uint64{mark.Seq, mark.Seq + 3} {
		if got, err := asOf(seq); !errors.Is(err, eventlog.ErrGap) {
			t.Errorf("at %d: %v, %v", seq, got, err)
		}
	}
	if got, err := asOf(mark.Seq - 1); err != nil || got["ada"] != 10 {
		t.Errorf("before it: %v, %v", got, err)
	}
	if _, err := b.accounts.AcceptGap(ctx, eventlog.Note{Reason: "damaged", By: "test"}, mark.Seq, mark.Seq); err != nil {
		t.Fatal(err)
	}
	if got, err := asOf(mark.Seq + 3); err != nil || got["ada"] != 13 || len(got) != 1 {
		t.Errorf("after it was registered: %v, %v", got, err)
	}
}
