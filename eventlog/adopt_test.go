package eventlog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"pgregory.net/rapid"
)

type (
	orderCreated struct{ Total int64 }
	orderPaid    struct{ Cents int64 }
	blob         []byte
)

// foreign is a stream that somebody else writes. Its name begins like the
// application's, so that it is deleted with what the test has stored.
type foreign struct {
	t    testing.TB
	log  *eventlog.Log
	name string // and first token of its subjects
}

func newForeign(t testing.TB, log *eventlog.Log, change ...func(*jetstream.StreamConfig)) *foreign {
	t.Helper()
	s := &foreign{t: t, log: log, name: log.App() + "_orders"}
	s.create(change...)
	return s
}

func (s *foreign) create(change ...func(*jetstream.StreamConfig)) {
	s.t.Helper()
	c := jetstream.StreamConfig{Name: s.name, Subjects: []string{s.name + ".>"}}
	for _, f := range change {
		f(&c)
	}
	logtest.CreateStream(s.t, s.log.JetStream(), c)
}

func (s *foreign) stream() jetstream.Stream {
	s.t.Helper()
	st, err := s.log.JetStream().Stream(s.t.Context(), s.name)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// publish sends a message, with headers in pairs.
func (s *foreign) publish(subject, payload string, header ...string) uint64 {
	s.t.Helper()
	m := nats.NewMsg(s.name + "." + subject)
	m.Data = []byte(payload)
	for i := 0; i < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	ack, err := s.log.JetStream().PublishMsg(s.t.Context(), m)
	if err != nil {
		s.t.Fatal(err)
	}
	return ack.Sequence
}

// layout is the usual one: orders.eu.42.created.
func (s *foreign) layout() eventlog.Adoption {
	return eventlog.Adoption{Stream: s.name, Layouts: []eventlog.Layout{{Subject: s.name + ".{region}.{id}.{type}"}}}
}

func orderTypes() []eventlog.FeedOption {
	return []eventlog.FeedOption{eventlog.Type[orderCreated]("created"), eventlog.Type[orderPaid]("paid")}
}

func (s *foreign) adopt(a eventlog.Adoption, types ...eventlog.FeedOption) *eventlog.Feed {
	s.t.Helper()
	if len(types) == 0 {
		types = orderTypes()
	}
	f, err := s.log.Adopt(s.t.Context(), "orders", a, types...)
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

func TestAdopt(t *testing.T) {
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t))
	s.publish("eu.42.created", `{"Total":7}`, "Nats-Msg-Id", "m-1")
	s.publish("us.42.paid", `{"Cents":70}`)
	s.publish("eu.42.paid", `{"Cents":71}`)
	f := s.adopt(s.layout())
	want := []string{
		"orders@1 eu.42 m-1 created {Total:7}",
		"orders@2 us.42 orders@2 paid {Cents:70}",
		"orders@3 eu.42 orders@3 paid {Cents:71}",
	}
	if got := read(t, f); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := read(t, f, eventlog.OfKey("eu.42")); !slices.Equal(got, []string{want[0], want[2]}) {
		t.Errorf("of one key: %q", got)
	}
	if c, ok, err := f.Head(ctx, "us.42"); err != nil || !ok || c.Seq != 2 {
		t.Errorf("head %v %v %v", c.Seq, ok, err)
	}
	for _, key := range []string{"", "eu", "eu.42.x", "eu.*", "eu."} {
		_, _, err := f.Head(ctx, key)
		wantErr(t, err, eventlog.ErrInvalidKey)
	}
	if again := s.adopt(s.layout()); again != f {
		t.Error("adopted twice: another handle")
	}
	_, err := s.log.Adopt(ctx, "orders", eventlog.Adoption{Stream: s.name, SkipOthers: true, Layouts: s.layout().Layouts}, orderTypes()...)
	wantErr(t, err, eventlog.ErrInvalid, "open already")
	if !f.Adopted() || accounts(t, s.log).Adopted() {
		t.Error("what is adopted, and what isn't")
	}
	// A follower goes on as the owner does.
	n := 0
	for e, err := range f.Read(ctx, eventlog.After(2), eventlog.Follow()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			if e.Seq != 5 {
				t.Errorf("followed to %s", e.Position())
			}
			break
		}
		s.publish("eu.1.paid", `{}`)
	}
	if err := errors.Join(f.Check(ctx), s.log.Healthy(ctx)); err != nil {
		t.Error(err)
	}
}

// Nothing is appended to what others write, by any way.
func TestAdoptedIsReadOnly(t *testing.T) {
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t))
	f := s.adopt(s.layout())
	d := eventlog.Draft{Key: "eu.42", Events: []any{orderPaid{1}}}
	drafts := func(yield func(eventlog.Draft, error) bool) { yield(d, nil) }
	_, err1 := f.Append(ctx, d.Key, eventlog.ExpectAny, d.Events...)
	_, err2 := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: []eventlog.Draft{d, d}})
	_, err3 := f.Import(ctx, drafts, eventlog.ImportOptions{})
	_, err4 := f.Ordered().Append(ctx, d.Key, d.Expect, d.Events...)
	for _, err := range []error{err1, err2, err3, err4} {
		wantErr(t, err, eventlog.ErrReadOnly, s.name, "written by others")
	}
	if st, err := f.State(ctx); err != nil || st.Last != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// Several layouts in one stream: types by header, by constant and by function;
// JSON, msgpack and bytes; what no layout is for.
func TestAdoptedLayouts(t *testing.T) {
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t))
	a := eventlog.Adoption{Stream: s.name, Layouts: []eventlog.Layout{
		{Subject: s.name + ".h.{id}", TypeHeader: "Event", Type: "paid", Codec: eventlog.MsgPack},
		{Subject: s.name + ".files.{path>}", Type: "file", Codec: eventlog.Bytes},
		{Subject: s.name + ".json.*.>", KeyOf: func(m eventlog.Message) (string, error) {
			var v struct{ ID string }
			err := json.Unmarshal(m.Data(), &v)
			return v.ID, err
		}, TypeOf: func(m eventlog.Message) (string, error) {
			if m.Header("Kind") == "boom" {
				panic("boom")
			}
			return m.Header("Kind"), nil
		}},
	}}
	pack, err := eventlog.MsgPack.Append(nil, &orderPaid{5})
	if err != nil {
		t.Fatal(err)
	}
	s.publish("h.a", string(pack), "Event", "created")
	s.publish("h.b", string(pack))
	s.publish("files.x.y.z", "\x00\x01")
	s.publish("json.1.2.3", `{"ID":"j","Total":3}`, "Kind", "created")
	s.publish("elsewhere", "?")
	s.publish("json.1.2", `{"ID":"j"}`, "Kind", "boom")
	s.publish("json.1.2", `{"ID":""}`, "Kind", "paid")
	types := append(orderTypes(), eventlog.Type[blob]("file"))
	f := s.adopt(a, types...)
	want := []string{
		"orders@1 a orders@1 created {Total:0}",
		"orders@2 b orders@2 paid {Cents:5}",
		"orders@3 x.y.z orders@3 file [0 1]",
		"orders@4 j orders@4 created {Total:3}",
	}
	if got := read(t, f, eventlog.Until(4)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for seq, words := range map[uint64]string{5: "no layout is for its subject", 6: "boom", 7: `key ""`} {
		_, err := seqs(ctx, f, eventlog.After(seq-1))
		wantErr(t, err, eventlog.ErrCorrupt, words, fmt.Sprintf("orders@%d", seq))
	}
	_, _, err = f.Head(ctx, "j")
	wantErr(t, err, eventlog.ErrInvalidKey, "one layout")
	a.SkipOthers = true
	g, err := s.log.Adopt(ctx, "orders-2", a, types...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seqs(ctx, g, eventlog.Until(5)); err != nil || !slices.Equal(got, span(1, 4)) || g.Metrics().Foreign != 1 {
		t.Errorf("%v, %v, %d", got, err, g.Metrics().Foreign)
	}
}

// T0.5: what the owner removes is passed over and counted, wherever it was.
func TestAdoptedGaps(t *testing.T) {
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t), func(c *jetstream.StreamConfig) { c.MaxMsgs = 8 })
	for i := range 12 { // 1 to 4 go by the limit
		s.publish("eu.1.paid", fmt.Sprintf(`{"Cents":%d}`, i))
	}
	for _, seq := range []uint64{7, 8, 12} {
		if err := s.stream().DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}
	f := s.adopt(s.layout())
	for range 2 {
		if got, err := seqs(ctx, f); err != nil || !slices.Equal(got, []uint64{5, 6, 9, 10, 11}) {
			t.Errorf("%v, %v", got, err)
		}
	}
	if m := f.Metrics(); m.Trimmed != 8 || m.Deleted != 4 {
		t.Errorf("trimmed %d and deleted %d, by two readers", m.Trimmed, m.Deleted)
	}
	st, err := f.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if reach, err := f.Reach(ctx, st); err != nil || reach != 11 || st.Last != 12 {
		t.Errorf("reach %d of %d, %v", reach, st.Last, err)
	}
	if ds := f.Drift(); len(ds) == 0 || ds[0].Setting != "max_msgs" && !slices.ContainsFunc(ds, func(d eventlog.Drift) bool { return d.Setting == "max_msgs" }) {
		t.Errorf("drift %v", ds)
	}
}

func TestAdoptProblems(t *testing.T) {
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t))
	one := func(l eventlog.Layout) eventlog.Adoption {
		return eventlog.Adoption{Stream: s.name, Layouts: []eventlog.Layout{l}}
	}
	for _, c := range []struct {
		a     eventlog.Adoption
		words []string
	}{
		{eventlog.Adoption{}, []string{`stream name ""`, "no layout"}},
		{one(eventlog.Layout{Subject: "a.b"}), []string{"name the tokens of the key", "the type comes from"}},
		{one(eventlog.Layout{Subject: "a.{id}.{type}", Type: "x"}), []string{"one of them"}},
		{one(eventlog.Layout{Subject: "a.{id}.>.{type}"}), []string{"at the end only"}},
		{one(eventlog.Layout{Subject: "a..{x{.{id}.{type}"}), []string{`token ""`, `token "{x{"`}},
		{one(eventlog.Layout{Subject: "oders.{id}.{type}"}), []string{"no subject of stream", "oders"}},
	} {
		_, err := s.log.Adopt(ctx, "orders", c.a, orderTypes()...)
		wantErr(t, err, eventlog.ErrInvalid, c.words...)
	}
	_, err := s.log.Adopt(ctx, "orders", s.layout(), append(orderTypes(), eventlog.Recreate())...)
	wantErr(t, err, eventlog.ErrInvalid, "Recreate")
	_, err = s.log.Adopt(ctx, "orders", eventlog.Adoption{Stream: "nowhere", Layouts: s.layout().Layouts}, orderTypes()...)
	wantErr(t, err, eventlog.ErrMissing, "nowhere")
	if err := s.log.JetStream().DeleteStream(ctx, s.name); err != nil {
		t.Fatal(err)
	}
	s.create(func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	_, err = s.log.Adopt(ctx, "orders", s.layout(), orderTypes()...)
	wantErr(t, err, eventlog.ErrUnsafe, "retention", "mirror")
}

// The incarnation of an adopted stream stays while it lives, through a
// restart of the server, and is another when it was made anew.
func TestAdoptedIncarnation(t *testing.T) {
	ctx := logtest.Context(t)
	o := eventlog.Options{App: logtest.App(t), Dir: t.TempDir()}
	log := logtest.Open(t, o)
	s := newForeign(t, log)
	s.publish("eu.1.paid", `{}`)
	was := s.adopt(s.layout()).Incarnation()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s.log = logtest.Open(t, o)
	f := s.adopt(s.layout())
	if f.Incarnation() != was || was == "" {
		t.Errorf("incarnation %q, and %q after a restart", was, f.Incarnation())
	}
	if err := s.log.JetStream().DeleteStream(ctx, s.name); err != nil {
		t.Fatal(err)
	}
	_, err := seqs(ctx, f)
	wantErr(t, err, eventlog.ErrLostTail)
	s.create()
	s.publish("eu.1.paid", `{}`)
	wantErr(t, f.Check(ctx), eventlog.ErrRecreated)
	_, err = seqs(ctx, f)
	wantErr(t, err, eventlog.ErrLostTail, "created again")
}

// A key's filter matches exactly the messages that have the key.
func TestAdoptedKeysProperty(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t))
	f := s.adopt(s.layout())
	rapid.Check(t, func(rt *rapid.T) {
		tok := rapid.StringMatching(`[a-c]{1,2}`)
		s.publish(tok.Draw(rt, "region")+"."+tok.Draw(rt, "id")+".paid", `{}`)
	})
	byKey := map[string][]uint64{}
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		byKey[c.Key] = append(byKey[c.Key], c.Seq)
	}
	for key, want := range byKey {
		if got, err := seqs(ctx, f, eventlog.OfKey(key)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v; %v", key, got, want, err)
		}
	}
}
