package effect_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// stating opens an outbox that wants an effect for each event of a feed, and
// one for each change of a table of them, and returns their IDs by the text of
// the event. Nothing is carried out.
func stating(t testing.TB, log *eventlog.Log, feed *eventlog.Feed, name string) map[string]string {
	t.Helper()
	ctx := logtest.Context(t)
	o, err := effect.New[mail](ctx, log, name, 1)
	if err != nil {
		t.Fatal(err)
	}
	effect.On(o, feed, func(tx *effect.Tx[mail], e eventlog.Event, d Placed) error {
		tx.Want("", mail{To: e.Key, Text: d.Item})
		return nil
	})
	items := projection.NewTable[string, string]("items")
	projection.On(items, feed, func(tx *projection.Tx[string, string], _ eventlog.Event, d Placed) error {
		tx.Put(d.Item, d.Item)
		return nil
	})
	effect.OnChange(o, items, func(tx *effect.Tx[mail], c projection.Change[string, string]) error {
		tx.Want("changed", mail{Text: "change " + c.Key})
		return nil
	})
	rt, err := (projection.Config{NoSnapshots: true}).Start(ctx, log, items, o)
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]string)
	due, err := o.Due(time.Now(), effect.Options{})
	for _, e := range due {
		ids[e.Intent.Text] = e.ID
	}
	if len(ids) != len(due) {
		t.Errorf("%d effects of %d", len(ids), len(due))
	}
	if err := errors.Join(err, rt.Close()); err != nil {
		t.Fatal(err)
	}
	return ids
}

func placing(t testing.TB, log *eventlog.Log) *eventlog.Feed {
	t.Helper()
	f, err := log.Feed(logtest.Context(t), "orders", eventlog.Type[Placed]("placed"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// distinct fails where two of several outboxes share an ID, or one is longer
// than those who are given it take.
func distinct(t testing.TB, all ...map[string]string) {
	t.Helper()
	of := make(map[string]string)
	for i, ids := range all {
		if len(ids) == 0 {
			t.Errorf("outbox %d states nothing", i)
		}
		for text, id := range ids {
			this := fmt.Sprintf("%q of outbox %d", text, i)
			if of[id] != "" || len(id) > 250 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("%s has the ID %q, as %s", this, id, of[id])
			}
			of[id] = this
		}
	}
}

// Two outboxes on one event, two applications that are given the same IDs, and
// two logs of one application share no ID.
func TestIDsOfOtherOutboxes(t *testing.T) {
	var opts eventlog.Options
	var all []map[string]string
	for _, app := range []string{"production", "staging", "production"} {
		opts.App, opts.Dir = app, t.TempDir()
		log := logtest.Open(t, opts)
		f := placing(t, log)
		d := eventlog.Draft{Key: "ada", Events: []any{Placed{"tea"}, Placed{"jam"}}}
		if len(all) < 4 { // the last one has IDs of its own, as an append without any
			d.ID = "form-7"
		}
		if _, err := f.AppendDraft(logtest.Context(t), d); err != nil {
			t.Fatal(err)
		}
		all = append(all, stating(t, log, f, "mails"), stating(t, log, f, "letters"))
	}
	distinct(t, all...)
}

// An effect keeps its ID where its event is appended again by its ID: at
// another position, and packed with others by an import.
func TestIDsOfPackedEvents(t *testing.T) {
	ctx, opts := logtest.Context(t), eventlog.Options{App: "shop", Dir: t.TempDir()}
	draft := func(i int) eventlog.Draft {
		events := []any{Placed{fmt.Sprint("tea", i)}}
		if i%3 == 0 {
			events = append(events, Placed{fmt.Sprint("milk", i)})
		}
		return eventlog.Draft{Key: "ada", ID: fmt.Sprint("old/", i), Events: events}
	}
	drafts := func(yield func(eventlog.Draft, error) bool) {
		for i := range 9 {
			if !yield(draft(i), nil) {
				return
			}
		}
	}
	log := logtest.Open(t, opts)
	f := placing(t, log)
	if _, err := f.Import(ctx, iter.Seq2[eventlog.Draft, error](drafts), eventlog.ImportOptions{Pack: 100}); err != nil {
		t.Fatal(err)
	}
	if st, err := f.State(ctx); err != nil || st.Messages != 1 {
		t.Fatalf("it isn't packed: %+v, %v", st, err)
	}
	packed := stating(t, log, f, "mails")
	opts.Dir = t.TempDir()
	log = logtest.Open(t, opts)
	f = placing(t, log)
	for _, i := range []int{8, 3, 5, 1, 0, 2, 4, 6, 7} {
		if _, err := f.AppendDraft(ctx, draft(i)); err != nil {
			t.Fatal(err)
		}
	}
	single := stating(t, log, f, "mails")
	for text, id := range single { // a change is of a whole commit
		if got := packed[text]; !strings.HasPrefix(text, "change") && got != id {
			t.Errorf("%s has the ID %q, and %q where it is packed", text, id, got)
		}
	}
	distinct(t, single)
	if len(single) != 24 || len(packed) != 24 {
		t.Errorf("%d and %d effects", len(single), len(packed))
	}
}

// A stream of others has no IDs of ours, and may have the same IDs again: it
// is deleted and made anew, and what comes then is something else.
func TestIDsOfAdoptedStreams(t *testing.T) {
	ctx, opts := logtest.Context(t), eventlog.Options{App: "shop", Dir: t.TempDir()}
	var all []map[string]string
	for range 2 {
		log, err := eventlog.Open(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		_, err = log.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"theirs.>"}, Duplicates: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			m := &nats.Msg{Subject: "theirs.ada.placed", Header: nats.Header{}, Data: fmt.Appendf(nil, `{"Item":"tea%d"}`, i)}
			m.Header.Set(nats.MsgIdHdr, fmt.Sprint("their-", i))
			if _, err := log.JetStream().PublishMsg(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		f, err := log.Adopt(ctx, "orders", eventlog.Adoption{Stream: "ORDERS", Layouts: []eventlog.Layout{{Subject: "theirs.{id}.{type}"}}}, eventlog.Type[Placed]("placed"))
		if err != nil {
			t.Fatal(err)
		}
		ids := stating(t, log, f, "mails")
		if again := stating(t, log, f, "mails"); !maps.Equal(ids, again) {
			t.Errorf("another reader comes to %v, not %v", again, ids)
		}
		all = append(all, ids)
		if err := errors.Join(log.JetStream().DeleteStream(ctx, "ORDERS"), log.Close()); err != nil {
			t.Fatal(err)
		}
	}
	distinct(t, all...)
}

// Whatever is appended, an ID belongs to one intent, and stays its own where
// the same commits stand at other positions.
func TestIDsProperty(t *testing.T) {
	orders, err := eventlog.Offline("orders", eventlog.Type[Placed]("placed"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		n := 0
		drafts := rapid.SliceOfNDistinct(rapid.Custom(func(rt *rapid.T) eventlog.Draft {
			d := eventlog.Draft{
				Key: rapid.SampledFrom([]string{"a", "a.1", "a/1", "1", "ada~1"}).Draw(rt, "key"),
				ID:  rapid.SampledFrom([]string{"a", "a.0", "a.1", "1", "a/b", "orders@1"}).Draw(rt, "id"),
			}
			for range rapid.IntRange(1, 3).Draw(rt, "events") {
				n++
				d.Events = append(d.Events, Placed{fmt.Sprint(n)})
			}
			return d
		}), 1, 8, func(d eventlog.Draft) string { return d.Key + " " + d.ID }).Draw(rt, "drafts")
		n = 0
		for _, d := range drafts {
			n += len(d.Events)
		}
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "0", "a", "a/b", "a%2Fb", ".0", "~1"}), 1, 4, rapid.ID).Draw(rt, "names")
		state := func(shift uint64) map[string]string {
			o, err := effect.Offline[mail]("mails", 1)
			if err != nil {
				rt.Fatal(err)
			}
			effect.On(o, orders, func(tx *effect.Tx[mail], _ eventlog.Event, d Placed) error {
				for _, name := range names {
					tx.Want(name, mail{To: name, Text: d.Item})
				}
				return nil
			})
			r, err := projection.Rehearse(o)
			if err != nil {
				rt.Fatal(err)
			}
			for i, d := range drafts {
				c, err := orders.Rehearse(d, uint64(i+1)+shift, time.Unix(0, 0))
				if err == nil {
					_, err = r.Apply(c)
				}
				if err != nil {
					rt.Fatal(err)
				}
			}
			ids := make(map[string]string)
			due, err := o.Due(time.Unix(1, 0), effect.Options{})
			for _, e := range due {
				ids[e.ID] = e.Intent.Text + " " + e.Intent.To
			}
			if err != nil || len(ids) != n*len(names) {
				rt.Fatalf("%d IDs of %d intents, %v", len(ids), n*len(names), err)
			}
			return ids
		}
		if here, there := state(0), state(1000); !maps.Equal(here, there) {
			rt.Fatalf("at other positions: %v, not %v", there, here)
		}
	})
}

// A feed comes back without its end: what is appended then is carried out,
// under the positions of what was, also by another version, and what has lost
// its cause is told, and counts for nothing.
func TestEffectsAfterALostTail(t *testing.T) {
	for version := uint64(1); version <= 2; version++ {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			ctx, opts := logtest.Context(t), eventlog.Options{App: "shop", Dir: t.TempDir()}
			stored := filepath.Join(opts.Dir, "jetstream", "$G", "streams", opts.App+"_orders")
			before := filepath.Join(t.TempDir(), "before")
			p, lines := newPost(), new(logtest.Lines)
			logger := zerolog.New(lines)
			session := func(version uint64, keys ...string) *shop {
				log, err := eventlog.Open(ctx, opts)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = log.Close() })
				s := openShop(t, log, version)
				s.run(p, effect.Options{Logger: &logger})
				s.order(keys...)
				return s
			}
			end := func(s *shop) {
				s.close()
				if err := s.orders.Log().Close(); err != nil {
					t.Fatal(err)
				}
			}
			s := session(1, "ada", "bob")
			s.outcomes(2)
			end(s)
			if err := os.CopyFS(before, os.DirFS(stored)); err != nil {
				t.Fatal(err)
			}
			s = session(1, "cy", "dee", "eve")
			s.outcomes(5)
			end(s)
			// Their mark knows nothing of it, as after a power failure.
			if err := errors.Join(os.RemoveAll(stored), os.CopyFS(stored, os.DirFS(before)), os.RemoveAll(filepath.Join(opts.Dir, "marks"))); err != nil {
				t.Fatal(err)
			}
			p.sent = nil
			s = session(version, "fay", "gus")
			n := int(7 + (version-1)*4) // thanks for all: passed for two, done for two
			s.outcomes(n)
			found, err := s.mails.Orphans(ctx)
			if err != nil {
				t.Fatal(err)
			}
			const told = "what they followed from isn't in the log"
			for lines.Count(told) == 0 {
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("nobody is warned:\n%s", lines)
				}
			}
			end(s)
			// How many there are is as of the moment at which Run has looked.
			if n := lines.Count(`"level":"warn"`, told, `"outbox":"mails"`, `of orders@5"`); n != 1 {
				t.Errorf("warned %d times:\n%s", n, lines)
			}
			want := []string{"orders@3.0", "orders@4.0"}
			if version > 1 {
				want = append(want, "orders@3.0/thanks", "orders@4.0/thanks")
			}
			wantList(t, "sent", p.ids(), want...)
			var causes []string
			for _, c := range found {
				causes = append(causes, c.Cause.String())
				if c.Reason == "" || c.Since.IsZero() || c.Outcome.Feed != "mails-outcomes" || c.Outcome.Seq == 0 {
					t.Errorf("%+v says too little", c)
				}
			}
			if !slices.Equal(causes, []string{"orders@3", "orders@4", "orders@5"}) {
				t.Errorf("without a cause: %+v", found)
			}
		})
	}
}
