package projection_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// forgetful encodes itself, and forgets a field above a limit.
type forgetful struct {
	Cents int64
	Limit int64
}

func (f forgetful) MarshalText() ([]byte, error) {
	if f.Limit > 0 && f.Cents > f.Limit {
		return fmt.Appendf(nil, "%d", f.Limit), nil
	}
	return fmt.Appendf(nil, "%d", f.Cents), nil
}

func (f *forgetful) UnmarshalText(text []byte) error {
	_, err := fmt.Sscan(string(text), &f.Cents)
	return err
}

// hashed keeps what follows from the rest, and says so.
type hashed struct {
	Name string
	hash int
}

func (h hashed) MarshalText() ([]byte, error)     { return []byte(h.Name), nil }
func (h *hashed) UnmarshalText(text []byte) error { h.Name = string(text); return nil }
func (h hashed) Equal(other hashed) bool          { return h.Name == other.Name }

// lossyCodec is JSON that loses what isn't ASCII.
type lossyCodec struct{}

func (lossyCodec) Name() string { return "lossy" }

func (lossyCodec) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r > 127 {
			return '?'
		}
		return r
	}, string(b)), "?")...), err
}

func (lossyCodec) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// tableOf sums nothing up: it puts what value makes of each deposit.
func tableOf[V any](b *bank, name string, value func(cents int64, old V) V, opts ...projection.TableOption) *projection.Table[string, V] {
	t := projection.NewTable[string, V](name, opts...)
	projection.On(t, b.accounts, func(tx *projection.Tx[string, V], e eventlog.Event, d deposited) error {
		tx.Put(e.Key, value(d.Cents, tx.Value(e.Key)))
		return nil
	})
	return t
}

// What only values show is found when the first rows are saved, off the
// handlers' way: the table goes on and isn't saved, so that a restart replays;
// others of its unit are; nothing is trimmed for it; and everybody is told.
func TestLossyRowsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		table func(b *bank) projection.Projection
		path  string
	}{
		"a type that forgets": {func(b *bank) projection.Projection {
			return tableOf(b, "odd", func(cents int64, _ forgetful) forgetful { return forgetful{Cents: cents, Limit: 3} })
		}, ".Limit"},
		"a codec that loses": {func(b *bank) projection.Projection {
			return tableOf(b, "odd", func(int64, string) string { return "öde" }, projection.Codec(lossyCodec{}))
		}, ""},
		"partitions": {func(b *bank) projection.Projection {
			p := projection.NewPartitioned[forgetful]("odd", 3)
			projection.OnRow(p, b.accounts, func(r projection.Row[forgetful], e eventlog.Event, d deposited) error {
				r.Put(forgetful{Cents: d.Cents, Limit: 3})
				return nil
			})
			return p
		}, ".Limit"},
		"a zero time that is taken for none": {func(b *bank) projection.Projection {
			type row struct {
				At *time.Time `msgpack:",omitempty"`
			}
			return tableOf(b, "odd", func(int64, row) row { return row{new(time.Time)} })
		}, ".At"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			rt := b.start(t, projection.Config{}, projection.NewUnit("u", c.table(b), b.balances()))
			b.filled(t, rt, 20)
			_, err := rt.Compact(ctx, projection.CompactOptions{})
			lost, ok := errors.AsType[*projection.LossError](err)
			if !ok || !errors.Is(err, projection.ErrLossy) || lost.Projection != "odd" || !strings.HasPrefix(lost.Key, "k") || lost.Path != c.path {
				t.Fatalf("compact: %v", err)
			}
			if b.first(t) != 1 {
				t.Errorf("trimmed to %d", b.first(t))
			}
			if err := rt.Healthy(ctx); !errors.Is(err, projection.ErrLossy) {
				t.Errorf("healthy: %v", err)
			}
			if s := status(t, rt, "odd"); s.Lossy == nil || s.State != projection.Live || !strings.Contains(s.Snapshots.LastError, "comes back as") {
				t.Errorf("status %+v", s)
			}
			if s := status(t, rt, "balances"); s.Lossy != nil || s.Snapshots.Saves == 0 {
				t.Errorf("status of another: %+v", s)
			}
			if err := rt.Close(); err != nil && !errors.Is(err, projection.ErrLossy) && !strings.Contains(err.Error(), "comes back as") {
				t.Error(err)
			}
			again := c.table(b)
			rt = b.start(t, projection.Config{}, projection.NewUnit("u", again, b.balances()))
			if s := status(t, rt, "odd"); s.Recovery.Source != projection.FromReplay {
				t.Errorf("restored from %+v", s.Recovery)
			}
		})
	}
}

// A type that keeps something beside what it stores, and says by Equal what
// counts, is healthy; so are all kinds of values that come back alike.
func TestHealthyRowsPass(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	type row struct {
		At    time.Time
		Tags  []string `msgpack:",omitempty"`
		Any   map[string]any
		Names []hashed
	}
	rows := tableOf(b, "rows", func(cents int64, _ row) row {
		return row{time.Now().Local(), []string{}, map[string]any{"a": "b", "c": 1.5}, []hashed{{"a", int(cents)}}}
	})
	rt := b.start(t, projection.Config{}, rows)
	b.filled(t, rt, 20)
	r, err := rt.Compact(ctx, projection.CompactOptions{})
	if err != nil || !r.Units[0].Verified || !r.Units[0].Compared || b.first(t) != 20 {
		t.Errorf("%+v: %v", r, err)
	}
	if err := rt.Healthy(ctx); err != nil {
		t.Error(err)
	}
}

// A row that isn't among those that were tried when they were saved is found
// before anything is trimmed, by comparing all rows with what they were at the
// cut, whatever becomes of them meanwhile.
func TestCompactComparesAllRows(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	odd := tableOf(b, "odd", func(cents int64, _ forgetful) forgetful {
		f := forgetful{Cents: cents}
		if cents == 777 {
			f.Limit = 3
		}
		return f
	})
	rt := b.start(t, projection.Config{Snapshots: projection.Policy{NotOnClose: true}}, odd)
	for i := range 1200 {
		cents := int64(1)
		if i == 601 { // neither of the first rows nor of the few later ones
			cents = 777
		}
		at := b.append(t, fmt.Sprintf("key%04d", i), deposited{cents})
		if i == 1199 {
			if err := rt.Wait(ctx, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := rt.Compact(ctx, projection.CompactOptions{}.AtStep(func(step string) error {
		if step == "saved" {
			if err := rt.Healthy(ctx); err != nil {
				return fmt.Errorf("it was found by the sample: %w", err)
			}
			for i := range 1200 { // the present rows are others by now
				if at := b.append(t, fmt.Sprintf("key%04d", i), deposited{2}); i == 1199 {
					return rt.Wait(ctx, at)
				}
			}
		}
		return nil
	}))
	lost, ok := errors.AsType[*projection.LossError](err)
	if !ok || lost.Key != "key0601" || b.first(t) != 1 {
		t.Fatalf("begins at %d: %v", b.first(t), err)
	}
	if err := rt.Healthy(ctx); !errors.Is(err, projection.ErrLossy) {
		t.Error(err)
	}
}

// The comparison is with the rows at the cut: what is changed, deleted, put
// again or added while it runs makes no difference.
func TestCompactComparesTheCut(t *testing.T) {
	for _, parts := range []int{0, 3} {
		t.Run(fmt.Sprint(parts), func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			var p projection.Projection = b.balances()
			if parts > 0 {
				q := projection.NewPartitioned[int64]("balances", parts)
				projection.OnRow(q, b.accounts, func(r projection.Row[int64], _ eventlog.Event, d deposited) error {
					r.Put(r.Value() + d.Cents)
					return nil
				})
				projection.OnRow(q, b.accounts, func(r projection.Row[int64], _ eventlog.Event, _ closed) error {
					r.Delete()
					return nil
				})
				p = q
			}
			rt := b.start(t, projection.Config{}, p)
			b.filled(t, rt, 40)
			for round := range 3 {
				r, err := rt.Compact(ctx, projection.CompactOptions{}.AtStep(func(step string) error {
					if step != "saved" {
						return nil
					}
					b.append(t, "k0", closed{})
					b.append(t, "k0", deposited{5})
					b.append(t, "k1", closed{})
					b.append(t, "k2", deposited{7})
					return rt.Wait(ctx, b.append(t, fmt.Sprint("new", round), deposited{1}))
				}))
				if err != nil || !r.Units[0].Verified || !r.Units[0].Compared {
					t.Fatalf("round %d: %+v: %v", round, r, err)
				}
			}
		})
	}
}

// purse is a model that saves itself, as an int and a note.
type purse struct {
	cents       int64
	note        string
	losesNote   bool // Restore does
	savesNoNote bool
	order       int // of what Snapshot writes, which changes
	shuffles    bool
}

func (p *purse) Snapshot(w io.Writer) error {
	note := p.note
	if p.savesNoNote {
		note = ""
	}
	p.order++
	if p.shuffles && p.order%3 == 0 {
		_, err := fmt.Fprintf(w, "%q %d", note, p.cents)
		return err
	}
	_, err := fmt.Fprintf(w, "%d %q", p.cents, note)
	return err
}

func (p *purse) Restore(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if data[0] == '"' {
		_, err = fmt.Sscanf(string(data), "%q %d", &p.note, &p.cents)
	} else {
		_, err = fmt.Sscanf(string(data), "%d %q", &p.cents, &p.note)
	}
	if p.losesNote {
		p.note = ""
	}
	return err
}

// comparablePurse says when two are equal.
type comparablePurse struct{ purse }

func (p *comparablePurse) Equal(o *comparablePurse) bool {
	return p.cents == o.cents && p.note == o.note
}

func modelOf[T any](b *bank, fresh func() T, purseOf func(T) *purse) projection.Projection {
	m := projection.NewModel("odd", fresh)
	projection.OnModel(m, b.accounts, func(m T, e eventlog.Event, d deposited) error {
		p := purseOf(m)
		p.cents += d.Cents
		p.note = "paid by " + e.Key
		return nil
	})
	return m
}

// A model that saves itself is restored from what it has saved, before anything
// is trimmed, and must save the same again; one with a method Equal must be
// equal, too. One that writes in another order each time passes.
func TestCompactComparesModels(t *testing.T) {
	plain := func(p purse) func(b *bank) projection.Projection {
		return func(b *bank) projection.Projection {
			return modelOf(b, func() *purse { q := p; return &q }, func(p *purse) *purse { return p })
		}
	}
	for name, c := range map[string]struct {
		model func(b *bank) projection.Projection
		lossy bool
	}{
		"healthy":                {plain(purse{}), false},
		"another order":          {plain(purse{shuffles: true}), false},
		"Restore loses a field":  {plain(purse{losesNote: true}), true},
		"Snapshot loses a field": {plain(purse{savesNoNote: true}), false}, // nobody can tell
		"Snapshot loses a field, and the model has Equal": {func(b *bank) projection.Projection {
			return modelOf(b, func() *comparablePurse { return &comparablePurse{purse{savesNoNote: true}} }, func(p *comparablePurse) *purse { return &p.purse })
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := logtest.Context(t)
			b := openBank(t, logtest.Options(t))
			rt := b.start(t, projection.Config{}, c.model(b))
			b.filled(t, rt, 20)
			r, err := rt.Compact(ctx, projection.CompactOptions{})
			if errors.Is(err, projection.ErrLossy) != c.lossy || (b.first(t) == 1) != c.lossy {
				t.Errorf("begins at %d: %+v: %v", b.first(t), r, err)
			}
		})
	}
}
