package projection_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
)

// unreadable is a store in which one member's rows can't be read.
type unreadable struct {
	projection.Store
	member string
	reads  int
}

var errUnreadable = fmt.Errorf("unreadable: %w", snapshot.ErrCorrupt) // asking again doesn't help

func (s *unreadable) Load(ctx context.Context, m *snapshot.Manifest, member string) iter.Seq2[snapshot.Change, error] {
	if member != s.member {
		return s.Store.Load(ctx, m, member)
	}
	s.reads++
	return func(yield func(snapshot.Change, error) bool) { yield(snapshot.Change{}, errUnreadable) }
}

// R2.13: the rows that a restored table was built from, in the version before,
// can't be read, so it can't be told how they differ from the right ones: it is
// built from those, and so is what reads it.
func TestCorrectionThatCantBeTold(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	b.append(t, "a", deposited{1})
	b.append(t, "a", deposited{4})
	at := b.append(t, "b", deposited{2})
	if err := b.start(t, projection.Config{}, correctedProgram(b, 1, 2, 1).all()...).Close(); err != nil { // saved here
		t.Fatal(err)
	}
	s := &unreadable{Store: newTrickyStore(t, b), member: "src"}
	p := correctedProgram(b, 2, 2, 1)
	rt := b.start(t, projection.Config{Store: s}, p.all()...)
	if err := rt.Wait(ctx, at); err != nil || s.reads == 0 {
		t.Fatalf("%d reads, %v", s.reads, err)
	}
	want := map[string]int64{"a": 5, "b": 2}
	for name, got := range map[string]map[string]int64{"src": contents(p.src), "between": contents(p.between), "end": contents(p.end)} {
		if !maps.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"between", "end"} {
		r := status(t, rt, name).Recovery
		if r.Source != projection.FromRows || !strings.Contains(strings.Join(r.Skipped, "; "), errUnreadable.Error()) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// R0.22: what a commit waits for can't be read from it. What reads its feed
// stops there and says so; the other feeds go on.
func TestSeenThatCantBeRead(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	at := b.append(t, "a", deposited{5})
	balances, notes := b.balances(), projection.NewTable[string, int]("notes")
	projection.On(notes, b.audits, func(tx *projection.Tx[string, int], e eventlog.Event, _ audited) error {
		tx.Put(e.Key, 1)
		return nil
	})
	rt := b.start(t, projection.Config{}, projection.NewUnit("both", balances, notes))
	st, err := b.log.JetStream().Stream(ctx, b.log.App()+"_accounts")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := st.GetMsg(ctx, at.Seq)
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: raw.Subject, Data: raw.Data, Header: maps.Clone(raw.Header)}
	m.Header.Del(nats.MsgIdHdr)
	m.Header.Set("Tm-Seen", "no timeframe")
	if _, err := b.log.JetStream().PublishMsg(ctx, m); err != nil {
		t.Fatal(err)
	}
	err = rt.Wait(ctx, eventlog.Position{Feed: "accounts", Seq: 2})
	if stopped, ok := errors.AsType[*projection.StoppedError](err); !ok || !errors.Is(err, eventlog.ErrCorrupt) || stopped.Projection != "balances" || stopped.Position.Feed != "accounts" {
		t.Errorf("got %v", err)
	}
	equal(t, "stopped", balances, map[string]int64{"a": 5})
	if err := rt.Wait(ctx, b.audit(t, "x", "goes on")); err != nil || notes.Len() != 1 {
		t.Errorf("the other feed: %d rows, %v", notes.Len(), err)
	}
}

// R2.13: a table that depends on how others came to be what they are isn't told
// the corrective difference, through however many tables: it is replayed, with
// all that it reads. Where nothing is corrected it comes from its snapshot.
func TestHistoryBehindACorrection(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	var at eventlog.Position
	for _, cents := range []int64{1, 2, 1} {
		at = b.append(t, "b", deposited{cents})
	}
	for i, c := range []struct {
		version uint64
		from    projection.Source
	}{{1, projection.FromReplay}, {1, projection.FromSnapshot}, {2, projection.FromReplay}, {2, projection.FromSnapshot}} {
		p := correctedProgram(b, c.version, 2, 1)
		changes := projection.NewTable[string, int64]("changes")
		projection.OnChange(changes, p.end, func(tx *projection.Tx[string, int64], c projection.Change[string, int64]) error {
			tx.Put(c.Key, tx.Value(c.Key)+1)
			return nil
		})
		rt := b.start(t, projection.Config{}, append(p.all(), changes)...)
		if err := rt.Wait(ctx, at); err != nil {
			t.Fatal(err)
		}
		if s := status(t, rt, "changes").Recovery; s.Source != c.from {
			t.Errorf("start %d: %+v, want %s", i, s, c.from)
		}
		equal(t, fmt.Sprint("start ", i), changes, map[string]int64{"b": 3}) // of either version
		if err := rt.Close(); err != nil {                                   // saved here
			t.Fatal(err)
		}
	}
}
