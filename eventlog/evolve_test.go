package eventlog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"pgregory.net/rapid"
)

// A bank whose events have a past: accounts were opened with one name, then
// with two, then with a currency; "paid" was renamed; a transfer was one event
// and is two; a note is of no interest any more.
type (
	openedV1    struct{ Owner string }
	openedV2    struct{ First, Last string }
	openedV3    struct{ First, Last, Currency string }
	withdrawal  struct{ Cents int64 }
	transferred struct{ From, To, Cents int64 }
	noted       struct{ Text string }
)

// oldTypes is the program that wrote the log.
func oldTypes() []eventlog.FeedOption {
	return []eventlog.FeedOption{
		eventlog.Type[openedV1]("opened"), eventlog.Type[openedV2]("opened.v2"), eventlog.Type[deposited]("paid"),
		eventlog.Type[transferred]("transfer"), eventlog.Type[noted]("note"),
	}
}

// newTypes is the one that reads it today.
func newTypes() []eventlog.FeedOption {
	return []eventlog.FeedOption{
		eventlog.Type[openedV3]("opened.v3"), eventlog.Type[deposited]("deposited"), eventlog.Type[withdrawal]("withdrawn"),
		eventlog.Alias[deposited]("paid"),
		eventlog.Upcast("opened", func(o openedV1) (openedV2, error) {
			first, last, ok := strings.Cut(o.Owner, " ")
			if !ok {
				return openedV2{}, fmt.Errorf("owner %q has one name", o.Owner)
			}
			return openedV2{first, last}, nil
		}),
		eventlog.Upcast("opened.v2", func(o openedV2) (openedV3, error) { return openedV3{o.First, o.Last, "EUR"}, nil }),
		eventlog.UpcastMany("transfer", func(o transferred) ([]any, error) {
			return []any{withdrawal{o.Cents}, deposited{o.Cents}}, nil
		}, eventlog.Into[withdrawal](), eventlog.Into[deposited]()),
		eventlog.UpcastMany("note", func(noted) ([]any, error) { return nil, nil }),
	}
}

// read describes every event of a feed, one a line.
func read(t testing.TB, f *eventlog.Feed, opts ...eventlog.ReadOption) (lines []string) {
	t.Helper()
	for e, err := range f.Read(t.Context(), opts...) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := e.Value()
		line := fmt.Sprintf("%s %s %s %s %+v", e.Position(), e.Key, e.ID(), e.Type, v)
		if err != nil {
			line = fmt.Sprintf("%s %s %s %s: %v", e.Position(), e.Key, e.ID(), e.Type, err)
		}
		lines = append(lines, line)
	}
	return lines
}

// reopened closes a log and opens it with other types of events.
func reopened(t testing.TB, o eventlog.Options, name string, types ...eventlog.FeedOption) *eventlog.Feed {
	t.Helper()
	f, err := logtest.Open(t, o).Feed(t.Context(), name, types...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEvolution(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	old := reopened(t, o, "accounts", oldTypes()...)
	for i, events := range [][]any{
		{openedV1{"Ada Lovelace"}},
		{openedV2{"Bob", "Marley"}, deposited{7}, transferred{1, 2, 5}, noted{"x"}, deposited{8}},
		{noted{"alone"}},
		{transferred{1, 2, 9}},
		{deposited{1}, openedV1{"Eve"}},
	} {
		if _, err := old.AppendDraft(ctx, eventlog.Draft{Key: "k", Events: events, ID: eventlog.ActorID("old", uint64(i+1))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Log().Close(); err != nil {
		t.Fatal(err)
	}
	f := reopened(t, o, "accounts", newTypes()...)
	got := read(t, f)
	want := []string{
		"accounts@1 k old/1 opened.v3 {First:Ada Last:Lovelace Currency:EUR}",
		"accounts@2 k old/2.0 opened.v3 {First:Bob Last:Marley Currency:EUR}",
		"accounts@2.1 k old/2.1 deposited {Cents:7}",
		"accounts@2.2 k old/2.2 withdrawn {Cents:5}",
		"accounts@2.3 k old/2.2~1 deposited {Cents:5}",
		"accounts@2.4 k old/2.4 deposited {Cents:8}",
		"accounts@4 k old/4 withdrawn {Cents:9}",
		"accounts@4.1 k old/4~1 deposited {Cents:9}",
		"accounts@5 k old/5.0 deposited {Cents:1}",
		`accounts@5.1 k old/5.1 opened: eventlog: accounts@5.1, event "opened": upcast failed: owner "Eve" has one name: correct the upcaster, which has to take everything that was ever stored so`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The commit with nothing left is still there, for positions.
	if s, err := seqs(ctx, f); err != nil || !slices.Equal(s, span(1, 5)) {
		t.Errorf("commits %v, %v", s, err)
	}
	for e, err := range f.Read(ctx, eventlog.After(4)) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index == 1 {
			wantErr(t, e.Problem(), eventlog.ErrUpcast, "one name")
			wantErr(t, e.Decode(new(openedV1)), eventlog.ErrUpcast)
		} else if e.Problem() != nil {
			t.Error(e.Problem())
		}
	}
	// What is appended now is today's, and nothing is appended under an alias.
	at, err := f.Append(ctx, "k", eventlog.ExpectAny, openedV3{"C", "D", "USD"}, deposited{3})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok, err := f.Lookup(ctx, at.Seq); err != nil || !ok || c.Event(1).Header("Tm-Type") != "opened.v3,deposited" {
		t.Errorf("%v %v %q", ok, err, c.Event(1).Header("Tm-Type"))
	}
	_, err = f.Append(ctx, "k", eventlog.ExpectAny, openedV1{"Ada"})
	wantErr(t, err, eventlog.ErrInvalidType, "openedV1")
	if got, want := f.Evolved(), []string{"note > ", "opened > opened.v3", "opened.v2 > opened.v3", "paid > deposited", "transfer > deposited withdrawn"}; !slices.Equal(got, want) {
		t.Errorf("evolved %q, want %q", got, want)
	}
}

// Everything that is wrong is reported at once, when the feed is opened.
func TestEvolutionProblems(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	type a struct{ A int }
	type b struct{ B int }
	type lost struct{ C int }
	ab := func(a) (b, error) { return b{}, nil }
	ba := func(b) (a, error) { return a{}, nil }
	id := func(d deposited) (deposited, error) { return d, nil }
	for _, c := range []struct {
		name string
		opts []eventlog.FeedOption
		want []string
	}{
		{"two types, one name", []eventlog.FeedOption{eventlog.Type[a]("x"), eventlog.Type[b]("x")}, []string{`event name "x" is registered for`}},
		{"one type, two names", []eventlog.FeedOption{eventlog.Type[a]("x"), eventlog.Type[a]("y")}, []string{`is registered as "x" and as "y"`, "Alias"}},
		{"a cycle", []eventlog.FeedOption{eventlog.Type[deposited]("d"), eventlog.Upcast("a", ab), eventlog.Upcast("b", ba)}, []string{"circle: a > b > a"}},
		{"onto itself", []eventlog.FeedOption{eventlog.Upcast("a", func(x a) (a, error) { return x, nil })}, []string{"circle: a > a"}},
		{"leads nowhere", []eventlog.FeedOption{eventlog.Upcast("a", func(a) (lost, error) { return lost{}, nil }), eventlog.Alias[b]("z")}, []string{"lost", "neither registered", `alias "z"`}},
		{"a present name", []eventlog.FeedOption{eventlog.Type[deposited]("d"), eventlog.Upcast("d", id)}, []string{"the name is that of"}},
		{"twice", []eventlog.FeedOption{eventlog.Type[deposited]("d"), eventlog.Upcast("o", id), eventlog.Alias[deposited]("o")}, []string{`alias "o"`, `there is upcaster of "o" too`}},
		{"two ways on", []eventlog.FeedOption{eventlog.Type[deposited]("d"), eventlog.Upcast("a", ab),
			eventlog.Upcast("b", func(b) (deposited, error) { return deposited{}, nil }), eventlog.Upcast("c", func(b) (deposited, error) { return deposited{}, nil })},
			[]string{`by upcaster of "b" and by upcaster of "c"`}},
		{"several at once", []eventlog.FeedOption{eventlog.Type[deposited]("d"), eventlog.Upcast[a, deposited]("bad name", nil), eventlog.Alias[*deposited]("p"), eventlog.Unknown(9)},
			[]string{"bad name", "no function", "isn't a pointer", "unknown policy 9"}},
	} {
		_, err := log.Feed(ctx, "accounts", c.opts...)
		if !errors.Is(err, eventlog.ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		wantErr(t, err, eventlog.ErrInvalid, c.want...)
	}
	// The same shape with another meaning: from the type to itself.
	f, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("d"), eventlog.Upcast("o", id))
	if err != nil {
		t.Fatal(err)
	}
	_, err = log.Feed(ctx, "accounts", eventlog.Type[deposited]("d"))
	wantErr(t, err, eventlog.ErrInvalid, "open already")
	if g, err := log.Feed(ctx, "accounts", eventlog.Type[deposited]("d"), eventlog.Upcast("o", id)); err != nil || g != f {
		t.Errorf("opened again: %v", err)
	}
}

func TestUnknownPolicies(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	old := reopened(t, o, "accounts", oldTypes()...)
	if _, err := old.AppendDraft(ctx, eventlog.Draft{Key: "k", ID: "i", Events: []any{deposited{1}, noted{"x"}, deposited{2}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := old.AppendDraft(ctx, eventlog.Draft{Key: "k", ID: "j", Events: []any{noted{"y"}}}); err != nil {
		t.Fatal(err)
	}
	if err := old.Log().Close(); err != nil {
		t.Fatal(err)
	}
	f := reopened(t, o, "accounts", eventlog.Type[deposited]("paid"))
	if got := read(t, f); len(got) != 4 || !strings.Contains(got[1], "not registered") || !strings.Contains(got[3], "accounts@2") {
		t.Errorf("refused: %q", got)
	}
	_ = f.Log().Close()
	f = reopened(t, o, "accounts", eventlog.Type[deposited]("paid"), eventlog.Unknown(eventlog.SkipUnknown))
	want := []string{"accounts@1 k i.0 paid {Cents:1}", "accounts@1.1 k i.2 paid {Cents:2}"}
	if got := read(t, f); !slices.Equal(got, want) {
		t.Errorf("skipped: %q", got)
	}
	if n := f.Metrics().Unknown; n != 2 {
		t.Errorf("counted %d unknown events, want 2", n)
	}
	_ = f.Log().Close()
	f = reopened(t, o, "accounts", eventlog.Type[deposited]("paid"), eventlog.Unknown(eventlog.KeepUnknown))
	if got := read(t, f); len(got) != 4 || !strings.HasPrefix(got[1], "accounts@1.1 k i.1 note {Type:note Codec:msgpack Data:[") {
		t.Errorf("kept: %q", got)
	}
	for e, err := range f.Read(ctx, eventlog.After(1)) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := eventlog.Decode[eventlog.Raw](e)
		if err != nil || r.Type != "note" || !e.IsRaw() {
			t.Fatalf("%+v, %v", r, err)
		}
		// Whoever knows the shape can still decode it.
		if n, err := eventlog.Decode[noted](e); err != nil || n.Text != "y" {
			t.Errorf("%+v, %v", n, err)
		}
	}
}

// Whatever commits an old program wrote, the present one reads what a plain
// fold over the old values says.
func TestEvolutionProperty(t *testing.T) {
	long(t)
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	name := func(i int) string { return fmt.Sprintf("accounts-%d", i) }
	var want [][]string
	log := logtest.Open(t, o)
	rapid.Check(t, func(rt *rapid.T) {
		feed := name(len(want))
		f, err := log.Feed(ctx, feed, oldTypes()...)
		if err != nil {
			rt.Fatal(err)
		}
		var lines []string
		for seq := range rapid.IntRange(1, 4).Draw(rt, "commits") {
			var events []any
			at := 0
			expect := func(v any, typ string) {
				p := eventlog.Position{Feed: feed, Seq: uint64(seq + 1), Index: at}
				lines = append(lines, fmt.Sprintf("%s %s %+v", p, typ, v))
				at++
			}
			for range rapid.IntRange(1, 6).Draw(rt, "events") {
				cents := rapid.Int64().Draw(rt, "cents")
				switch rapid.IntRange(0, 4).Draw(rt, "type") {
				case 0:
					events = append(events, openedV1{"A B"})
					expect(openedV3{"A", "B", "EUR"}, "opened.v3")
				case 1:
					events = append(events, openedV2{"C", "D"})
					expect(openedV3{"C", "D", "EUR"}, "opened.v3")
				case 2:
					events = append(events, deposited{cents})
					expect(deposited{cents}, "deposited")
				case 3:
					events = append(events, transferred{1, 2, cents})
					expect(withdrawal{cents}, "withdrawn")
					expect(deposited{cents}, "deposited")
				case 4:
					events = append(events, noted{"n"})
				}
			}
			if _, err := f.Append(ctx, "k", eventlog.ExpectAny, events...); err != nil {
				rt.Fatal(err)
			}
		}
		want = append(want, lines)
	})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = logtest.Open(t, o)
	for i, lines := range want {
		f, err := log.Feed(ctx, name(i), newTypes()...)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		ids := map[string]bool{}
		for e, err := range f.Read(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Value()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %+v", e.Position(), e.Type, v))
			if ids[e.ID()] {
				t.Errorf("ID %s twice", e.ID())
			}
			ids[e.ID()] = true
		}
		if !slices.Equal(got, lines) {
			t.Fatalf("got %q, want %q", got, lines)
		}
	}
}
