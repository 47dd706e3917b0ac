//go:build tidemark_mangle

package projection_test

import (
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// A handler that keeps what it was lent shows it: its state isn't what the
// events say. One that decodes has the right one.
func TestKeptBuffersShow(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	good, bad := projection.NewTable[string, opened]("good"), projection.NewTable[string, []byte]("bad")
	projection.On(good, b.accounts, func(t *projection.Tx[string, opened], e eventlog.Event, d opened) error {
		t.Put(e.Key, d)
		return nil
	})
	projection.On(bad, b.accounts, func(t *projection.Tx[string, []byte], e eventlog.Event, _ opened) error {
		t.Put(e.Key, e.Data()) // wrong: it is lent
		return nil
	})
	rt := b.start(t, projection.Config{NoSnapshots: true}, good, bad)
	b.append(t, "ada", opened{"Ada"})
	if err := rt.Wait(logtest.Context(t), b.append(t, "bob", opened{"Bob"})); err != nil {
		t.Fatal(err)
	}
	equal(t, "good", good, map[string]opened{"ada": {"Ada"}, "bob": {"Bob"}})
	if err := rt.Close(); err != nil { // its readers have given all back
		t.Fatal(err)
	}
	kept, _ := bad.Get("ada")
	want, err := eventlog.MsgPack.Append(nil, opened{"Ada"})
	if err != nil || len(kept) != len(want) || string(kept) == string(want) {
		t.Errorf("kept %x, and the event is %x; %v", kept, want, err)
	}
}
