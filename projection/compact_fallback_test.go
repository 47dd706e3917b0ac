package projection_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// What is kept of a trimmed log proves each retained snapshot: where the
// newest is damaged, an older one serves, and none looks foreign.
func TestTrimmedLogKeepsFallbacks(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	for range 4 {
		saved(t, b, 10)
	}
	rt := b.start(t, projection.Config{}, b.balances(projection.Version(1)))
	if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := b.first(t); got < 10 || got > 30 {
		t.Errorf("begins at %d, behind or far below the oldest retained snapshot", got)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	kv := must(b.log.JetStream().KeyValue(ctx, b.log.App()+"_snapshots"))(t)
	for damaged := range 2 {
		var newest jetstream.KeyValueEntry
		for key := range must(kv.ListKeys(ctx))(t).Keys() {
			e := must(kv.Get(ctx, key))(t)
			if strings.HasPrefix(key, "manifest.") && (newest == nil || e.Created().After(newest.Created())) && !damagedAlready(e) {
				newest = e
			}
		}
		flip(t, kv, newest)
		balances := b.balances(projection.Version(1))
		quiet := projection.Config{Snapshots: projection.Policy{NotOnClose: true}}
		rt := b.start(t, quiet, balances)
		r := status(t, rt, "balances").Recovery
		if r.Source != projection.FromSnapshot || len(r.Skipped) < damaged+1 || strings.Contains(strings.Join(r.Skipped, " "), "belong") {
			t.Errorf("recovery %+v", r)
		}
		equal(t, "state", balances, map[string]int64{"k0": 16, "k1": 12, "k2": 12})
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// damagedAlready: what flip put is newer than any save before it.
func damagedAlready(e jetstream.KeyValueEntry) bool {
	id := e.Key()[strings.LastIndex(e.Key(), ".")+1:]
	return id != snapshot.ID(sha256.Sum256(e.Value())).String()
}

// R1.18: where a policy says so, a log that has outgrown its size is trimmed
// by itself.
func TestCompactBySize(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	cfg := projection.Config{Compaction: projection.CompactPolicy{Bytes: 2000, Every: 5 * time.Millisecond}}
	rt := b.start(t, cfg, b.balances())
	b.filled(t, rt, 60)
	// The first one may have been so early that its anchor is the log's first
	// message: a log that grows is trimmed for all that.
	for b.first(t) == 1 {
		select {
		case <-time.After(5 * time.Millisecond):
			b.append(t, "k0", deposited{1})
		case <-ctx.Done():
			t.Fatal("never trimmed")
		}
	}
}

// foreignStore has what was saved say that it is of another log: of another
// incarnation, or of one whose messages at these places are others.
type foreignStore struct {
	*snapshot.Store
	change func(*timeframe.Lineage)
}

func (s *foreignStore) Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error) {
	found, err := s.Store.Candidates(ctx, unit)
	for i, c := range found {
		if c.Manifest == nil || s.change == nil {
			continue
		}
		m := *c.Manifest
		m.Tag.Lineages = maps.Clone(m.Tag.Lineages)
		l := m.Tag.Lineages["accounts"]
		l.Anchors = slices.Clone(l.Anchors)
		s.change(&l)
		m.Tag.Lineages["accounts"] = l
		found[i].Manifest = &m
	}
	return found, err
}

// Invariant 5: nothing is trimmed on the strength of a snapshot whose anchors
// aren't in this log, though its rows are whole and its numbers fit.
func TestCompactOfAnotherLog(t *testing.T) {
	for name, change := range map[string]func(*timeframe.Lineage){
		"another incarnation": func(l *timeframe.Lineage) { l.Incarnation = "another" },
		"numbers used again":  func(l *timeframe.Lineage) { l.Anchors[0].Print[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, inMemory(t))
			s := &foreignStore{Store: must(snapshot.Open(ctx, snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)}
			cfg := often(1)
			cfg.Store = s
			b.fill(t, 30) // so that the oldest snapshot leaves something to be trimmed
			rt := b.start(t, cfg, b.balances())
			b.filled(t, rt, 10)
			awaitStatus(t, rt, "saved", func(s projection.SnapshotStatus) bool { return s.At.String() == "accounts=40" })
			s.change = change
			for _, o := range []projection.CompactOptions{{NoSave: true}, {}} {
				r, err := rt.Compact(ctx, o)
				if !errors.Is(err, projection.ErrUnverified) || r.Units[0].Verified || r.Units[0].Note == "" {
					t.Errorf("%+v, %v", r, err)
				}
				if f := feedOf(t, r, "accounts"); f.Trimmed || f.Note == "" || b.first(t) != 1 {
					t.Errorf("trimmed: %+v", f)
				}
			}
			s.change = nil
			for range 3 { // what was saved first may be of the first event
				b.filled(t, rt, 1)
				if _, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil {
					t.Error(err)
				}
			}
			if b.first(t) == 1 {
				t.Error("nothing was trimmed")
			}
		})
	}
}

// otherDigests says of the newest snapshots of a unit that their state has
// another digest than the one that is stored.
type otherDigests struct {
	*snapshot.Store
	newest int // so many
}

func (s *otherDigests) Candidates(ctx context.Context, unit string) ([]snapshot.Candidate, error) {
	found, err := s.Store.Candidates(ctx, unit)
	for i, c := range found {
		if i < s.newest && c.Manifest != nil {
			m := *c.Manifest
			m.Members = slices.Clone(m.Members)
			for k := range m.Members {
				m.Members[k].Digest = slices.Clone(m.Members[k].Digest)
				m.Members[k].Digest[31] ^= 1
			}
			found[i].Manifest = &m
		}
	}
	return found, err
}

// R3.4: a snapshot whose state isn't the one that its manifest says is passed
// over, with the reason, for an older one, and where all are so, for a replay.
func TestOtherDigestIsPassedOver(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	for range 2 {
		saved(t, b, 10)
	}
	s := &otherDigests{Store: must(snapshot.Open(ctx, snapshot.Options{App: b.log.App(), JetStream: b.log.JetStream()}))(t)}
	for newest, want := range []struct {
		source projection.Source
		from   uint64
	}{{projection.FromSnapshot, 20}, {projection.FromSnapshot, 10}, {projection.FromReplay, 0}} {
		s.newest = newest
		balances := b.balances(projection.Version(1))
		rt := b.start(t, projection.Config{Store: s, Snapshots: projection.Policy{NotOnClose: true}}, balances)
		r := status(t, rt, "balances").Recovery
		from, _ := r.From.Get("accounts")
		if r.Source != want.source || from != want.from || len(r.Skipped) != newest || newest > 0 && !strings.Contains(r.Skipped[0], "digest") {
			t.Errorf("%d are other ones: %+v", newest, r)
		}
		equal(t, "state", balances, map[string]int64{"k0": 8, "k1": 6, "k2": 6})
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
