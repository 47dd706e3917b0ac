package eventlog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

func drafts(keys ...string) (ds []eventlog.Draft) {
	for i, k := range keys {
		ds = append(ds, eventlog.Draft{Key: k, Events: []any{deposited{int64(i)}, deposited{int64(-i)}}})
	}
	return ds
}

func expecting(d eventlog.Draft, e eventlog.Expectation) eventlog.Draft {
	d.Expect = e
	return d
}

func positions(t testing.TB, at []eventlog.Position, err error) (s []uint64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range at {
		s = append(s, p.Seq)
	}
	return s
}

// R1.2: a transaction is there as a whole, in the order of its drafts, at the
// positions that it was answered with.
func TestTransaction(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "b", 2)
	ds := drafts("a", "b", "c")
	ds[0].Expect, ds[1].Expect = eventlog.ExpectNew, eventlog.ExpectSeq(2)
	at, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: ds})
	if got := positions(t, at, err); !slices.Equal(got, []uint64{3, 4, 5}) {
		t.Fatalf("got %v", got)
	}
	for i, key := range []string{"a", "b", "c"} {
		c, ok, err := f.Head(ctx, key)
		if err != nil || !ok || c.Seq != uint64(3+i) || c.Len() != 2 || c.Key != key {
			t.Errorf("%s: %+v, %v, %v", key, c, ok, err)
		}
	}
	if m := f.Metrics(); m.Commits != 5 || m.Events != 8 || m.InFlight != 0 {
		t.Errorf("%+v", m)
	}
}

// Whatever expectation or guard fails, nothing of the transaction is there.
func TestTransactionAllOrNone(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "b", 2)
	tagged, err := f.AppendDraft(ctx, eventlog.Draft{Key: "t", Tags: []string{"red"}, Events: []any{deposited{1}}})
	if err != nil {
		t.Fatal(err)
	}
	before := messages(t, f)
	abc := func(change func(tx *eventlog.Transaction)) eventlog.Transaction {
		tx := eventlog.Transaction{Drafts: drafts("a", "b", "c")}
		change(&tx)
		return tx
	}
	for name, c := range map[string]struct {
		tx     eventlog.Transaction
		key    string
		tag    string
		actual uint64
	}{
		"first-stale":  {tx: abc(func(tx *eventlog.Transaction) { tx.Drafts[0].Expect = eventlog.ExpectSeq(7) }), key: "a"},
		"middle-new":   {tx: abc(func(tx *eventlog.Transaction) { tx.Drafts[1].Expect = eventlog.ExpectNew }), key: "b", actual: 2},
		"middle-stale": {tx: abc(func(tx *eventlog.Transaction) { tx.Drafts[1].Expect = eventlog.ExpectSeq(1) }), key: "b", actual: 2},
		"last-future":  {tx: abc(func(tx *eventlog.Transaction) { tx.Drafts[2].Expect = eventlog.ExpectSeq(99) }), key: "c"},
		"guard":        {tx: abc(func(tx *eventlog.Transaction) { tx.Guards = []eventlog.Guard{{Tag: "red", After: 2}} }), tag: "red", actual: tagged.Seq},
		"identified":   {tx: abc(func(tx *eventlog.Transaction) { tx.ID, tx.Drafts[1].Expect = "me/1", eventlog.ExpectNew }), key: "b", actual: 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.AppendTransaction(ctx, c.tx)
			wantErr(t, err, eventlog.ErrConflict)
			if ce, ok := errors.AsType[*eventlog.ConflictError](err); ok != (c.key != "") || (ok && (ce.Key != c.key || ce.Actual != c.actual)) {
				t.Errorf("got %v, want key %q at %d", err, c.key, c.actual)
			}
			if te, ok := errors.AsType[*eventlog.TagConflictError](err); ok != (c.tag != "") || (ok && (te.Tag != c.tag || te.Actual != c.actual)) {
				t.Errorf("got %v, want tag %q at %d", err, c.tag, c.actual)
			}
			if n := messages(t, f); n != before {
				t.Errorf("%d messages, %d before", n, before)
			}
		})
	}
}

// What can be refused without the server is, and leaves nothing.
func TestTransactionRefused(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	many := make([]string, eventlog.MaxTransaction+1)
	for i := range many {
		many[i] = fmt.Sprint("k", i)
	}
	tags := func(tags ...string) eventlog.Transaction {
		ds := drafts("a")
		ds[0].Tags = tags
		return eventlog.Transaction{Drafts: ds}
	}
	guard := func(gs ...eventlog.Guard) eventlog.Transaction {
		return eventlog.Transaction{Drafts: drafts("a"), Guards: gs}
	}
	identified := drafts("a")
	identified[0].ID = "x"
	large := drafts("a", "b")
	large[1].Header = map[string]string{"x": strings.Repeat("x", 2<<20)}
	for name, c := range map[string]struct {
		tx    eventlog.Transaction
		class error
		word  string
	}{
		"empty":          {eventlog.Transaction{}, eventlog.ErrInvalid, "no drafts"},
		"key-twice":      {eventlog.Transaction{Drafts: drafts("a", "b", "a")}, eventlog.ErrInvalid, "twice"},
		"draft-id":       {eventlog.Transaction{Drafts: identified}, eventlog.ErrInvalid, "ID"},
		"too-many":       {eventlog.Transaction{Drafts: drafts(many...)}, eventlog.ErrTooLarge, "1000"},
		"too-many-tags":  {tags(many...), eventlog.ErrTooLarge, "1000"},
		"too-large":      {eventlog.Transaction{Drafts: large}, eventlog.ErrTooLarge, ""},
		"no-key":         {eventlog.Transaction{Drafts: drafts("a", "")}, eventlog.ErrInvalidKey, ""},
		"no-event":       {eventlog.Transaction{Drafts: []eventlog.Draft{{Key: "a"}}}, eventlog.ErrInvalid, ""},
		"unknown-type":   {eventlog.Transaction{Drafts: []eventlog.Draft{{Key: "a", Events: []any{1}}}}, eventlog.ErrInvalidType, ""},
		"wildcard":       {tags("course-*"), eventlog.ErrInvalid, "literal"},
		"wildcard-guard": {guard(eventlog.Guard{Tag: "course.>"}), eventlog.ErrInvalid, "literal"},
		"empty-tag":      {tags(""), eventlog.ErrInvalid, "tag"},
		"guard-twice":    {guard(eventlog.Guard{Tag: "x"}, eventlog.Guard{Tag: "x", After: 1}), eventlog.ErrInvalid, "two guards"},
		"guard-future":   {guard(eventlog.Guard{Tag: "x", After: 9}), eventlog.ErrLostTail, ""},
		"long-id":        {eventlog.Transaction{Drafts: drafts("a", "b"), ID: strings.Repeat("x", 256)}, eventlog.ErrInvalid, "256"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.AppendTransaction(ctx, c.tx)
			wantErr(t, err, c.class, c.word)
		})
	}
	_, err := f.AppendDraft(ctx, eventlog.Draft{Key: "a", Tags: []string{"a*"}, Events: []any{deposited{1}}})
	wantErr(t, err, eventlog.ErrInvalid, "literal")
	if n := messages(t, f); n != 0 {
		t.Errorf("%d messages", n)
	}
	at, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: drafts(many[:eventlog.MaxTransaction]...)})
	if got := positions(t, at, err); !slices.Equal(got, span(1, eventlog.MaxTransaction)) {
		t.Errorf("the largest: %v", got)
	}
}

// A guard holds while nothing tagged so has come after its sequence, whoever
// else guards the tag.
func TestGuards(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	tag := func(key string, tags ...string) uint64 {
		at, err := f.AppendDraft(ctx, eventlog.Draft{Key: key, Tags: tags, Events: []any{deposited{1}}})
		if err != nil {
			t.Fatal(err)
		}
		return at.Seq
	}
	guarded := func(after uint64, tag string, own ...string) error {
		ds := drafts("g")
		ds[0].Tags = own
		_, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: ds, Guards: []eventlog.Guard{{Tag: tag, After: after}}})
		return err
	}
	last := func(tag string, want uint64) {
		t.Helper()
		if got, err := f.LastTagged(ctx, tag); err != nil || got != want {
			t.Errorf("last of %s: %d, %v, want %d", tag, got, err, want)
		}
	}
	last("red", 0)
	if err := guarded(0, "red"); err != nil {
		t.Errorf("of a new tag: %v", err)
	}
	last("red", 0) // a guard alone is not a tagged commit
	one := tag("a", "red", "blue", "red")
	last("red", one)
	last("blue", one)
	wantErr(t, guarded(one-1, "red"), eventlog.ErrConflict, "red")
	for range 3 {
		if err := guarded(one, "red"); err != nil {
			t.Errorf("at its own commit: %v", err)
		}
	}
	last("red", one)
	two := tag("b", "blue")
	wantErr(t, guarded(one, "blue"), eventlog.ErrConflict, "blue")
	if err := guarded(two, "blue", "blue"); err != nil {
		t.Errorf("guard and tag in one: %v", err)
	}
	wantErr(t, guarded(two, "blue"), eventlog.ErrConflict, "blue")
	if err := guarded(two, "blue.x"); err != nil {
		t.Errorf("another tag: %v", err)
	}
	purge(t, f, two+1)
	if err := guarded(two, "red"); err != nil { // its marker is from a guard behind
		t.Errorf("after a trim: %v", err)
	}
	st, err := f.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	purge(t, f, st.Last+1)
	wantErr(t, guarded(two, "red"), eventlog.ErrTrimmed)
	if err := guarded(st.Last, "red"); err != nil {
		t.Errorf("after a trim, from its end: %v", err)
	}
}

// Sent again with its ID, a transaction is answered with its first positions.
func TestTransactionIdentity(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	f := accounts(t, logtest.Open(t, o))
	ds := drafts("a", "b")
	ds[0].Expect, ds[0].Tags = eventlog.ExpectNew, []string{"red"}
	tx := eventlog.Transaction{Drafts: ds, ID: eventlog.ActorID("me", 1), Guards: []eventlog.Guard{{Tag: "red"}}}
	for range 3 {
		at, err := f.AppendTransaction(ctx, tx)
		if got := positions(t, at, err); !slices.Equal(got, []uint64{1, 2}) {
			t.Fatalf("got %v", got)
		}
		put(t, f, "a", 1)
	}
	if n := messages(t, f); n != 6 {
		t.Errorf("%d messages", n)
	}
	_, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: drafts("a", "c"), ID: tx.ID})
	wantErr(t, err, eventlog.ErrIdentity)
	_, err = f.AppendTransaction(ctx, eventlog.Transaction{Drafts: drafts("z", "c"), ID: tx.ID})
	wantErr(t, err, eventlog.ErrIdentity)
	d := eventlog.Draft{Key: "t", ID: "me/2", Tags: []string{"red"}, Events: []any{deposited{1}}}
	first, err := f.AppendDraft(ctx, d)
	if again, err2 := f.AppendDraft(ctx, d); err != nil || err2 != nil || again != first {
		t.Errorf("%v, %v, %v, %v", first, err, again, err2)
	}
	if n := messages(t, f); n != 8 {
		t.Errorf("%d messages", n)
	}
}

// Markers are skipped by every way of reading, and counted.
func TestMarkersAreSkipped(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	red := eventlog.Draft{Key: "a", Tags: []string{"red", "blue"}, Events: []any{deposited{1}}}
	for i := range 3 { // commits at 1, 4 and 7
		if at, err := f.AppendDraft(ctx, red); err != nil || at.Seq != uint64(1+3*i) {
			t.Fatal(at, err)
		}
	}
	for _, c := range []struct {
		name string
		opts []eventlog.ReadOption
		want []uint64
	}{
		{"all", nil, []uint64{1, 4, 7}},
		{"key", []eventlog.ReadOption{eventlog.OfKey("a")}, []uint64{1, 4, 7}},
		{"from-marker", []eventlog.ReadOption{eventlog.After(2)}, []uint64{4, 7}},
		{"to-marker", []eventlog.ReadOption{eventlog.Until(5)}, []uint64{1, 4}},
		{"to-commit", []eventlog.ReadOption{eventlog.Until(4)}, []uint64{1, 4}},
		{"only-markers", []eventlog.ReadOption{eventlog.After(4), eventlog.Until(6)}, nil},
		{"trailing", []eventlog.ReadOption{eventlog.After(7)}, nil},
		{"follow-to-marker", []eventlog.ReadOption{eventlog.Until(9), eventlog.Follow()}, []uint64{1, 4, 7}},
	} {
		if got, err := seqs(ctx, f, c.opts...); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if _, ok, err := f.Lookup(ctx, 9); ok || err != nil {
		t.Errorf("a marker looked up: %v, %v", ok, err)
	}
	if c, ok, err := f.Head(ctx, "a"); !ok || err != nil || c.Seq != 7 {
		t.Errorf("head %d, %v, %v", c.Seq, ok, err)
	}
	if o, err := f.Observe(ctx, 9); err != nil || len(o.Prints) != 1 {
		t.Errorf("observed %+v, %v", o, err)
	}
	purge(t, f, 6)
	_, err := seqs(ctx, f, eventlog.After(1))
	wantErr(t, err, eventlog.ErrTrimmed)
	if got, err := seqs(ctx, f, eventlog.After(1), eventlog.AllowTrimmed()); err != nil || !slices.Equal(got, []uint64{7}) {
		t.Errorf("trimmed: %v, %v", got, err)
	}
	purge(t, f, 8)
	if got, err := seqs(ctx, f, eventlog.AllowTrimmed()); err != nil || len(got) != 0 {
		t.Errorf("markers alone are left: %v, %v", got, err)
	}
}

// A follower that asks for progress is told of markers behind the last
// commit, with the fingerprint of what it is at.
func TestReaderProgress(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	at, err := f.AppendDraft(ctx, eventlog.Draft{Key: "a", Tags: []string{"red"}, Events: []any{deposited{1}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []uint64{0, at.Seq} {
		r, err := f.NewReader(ctx, eventlog.After(after), eventlog.Follow(), eventlog.Progress())
		if err != nil {
			t.Fatal(err)
		}
		for seq := after; seq < at.Seq+1; {
			batch, err := r.Next(ctx)
			if err != nil || batch == nil {
				t.Fatal(batch, err)
			}
			var ok bool
			if seq, _, ok = r.At(); !ok {
				t.Errorf("no fingerprint at %d", seq)
			}
		}
		seq, print, _ := r.At()
		o, err := f.Observe(ctx, seq)
		if err != nil || o.Prints[seq] != print || seq != at.Seq+1 {
			t.Errorf("at %d, %v, want %v, %v", seq, print, o.Prints[seq], err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Many at once share batches, and each gets its own outcome: those that
// conflict don't take others with them.
func TestTransactionsTogether(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	put(t, f, "taken", 1)
	const n = 200
	var wg sync.WaitGroup
	got := make([][]eventlog.Position, n)
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			ds := drafts(fmt.Sprint("x", i), fmt.Sprint("y", i))
			ds[1].Tags = []string{"all", fmt.Sprint("t", i)}
			if i%5 == 0 {
				ds = append(ds, expecting(drafts("taken")[0], eventlog.ExpectNew))
			}
			got[i], errs[i] = f.AppendTransaction(ctx, eventlog.Transaction{Drafts: ds})
		})
		put(t, f, "plain", 1) // between them
	}
	wg.Wait()
	for i := range n {
		if i%5 == 0 {
			if !errors.Is(errs[i], eventlog.ErrConflict) {
				t.Errorf("%d: %v", i, errs[i])
			}
			if _, ok, err := f.Head(ctx, fmt.Sprint("x", i)); ok || err != nil {
				t.Errorf("%d left something: %v", i, err)
			}
			continue
		}
		if errs[i] != nil {
			t.Fatalf("%d: %v", i, errs[i])
		}
		for j, key := range []string{fmt.Sprint("x", i), fmt.Sprint("y", i)} {
			c, ok, err := f.Lookup(ctx, got[i][j].Seq)
			if err != nil || !ok || c.Key != key {
				t.Errorf("%d: at %v is %q, %v, %v", i, got[i][j], c.Key, ok, err)
			}
		}
		if at, err := f.LastTagged(ctx, fmt.Sprint("t", i)); err != nil || at != got[i][1].Seq {
			t.Errorf("%d: tagged %d, %v, want %v", i, at, err, got[i][1])
		}
	}
}

// A client that dies in the middle of a batch leaves nothing, and its
// remains don't keep others from appending.
func TestBatchOfADeadClient(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	for i := range 3 {
		m := nats.NewMsg(f.Log().App() + ".accounts.a")
		m.Header.Set("Nats-Batch-Id", "dead")
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(i+1))
		m.Header.Set("Tm-Type", "deposited")
		if _, err := f.Log().Conn().RequestMsgWithContext(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	if n := messages(t, f); n != 0 {
		t.Errorf("%d messages", n)
	}
	at, err := f.AppendTransaction(ctx, eventlog.Transaction{Drafts: []eventlog.Draft{expecting(drafts("a")[0], eventlog.ExpectNew)}})
	if got := positions(t, at, err); !slices.Equal(got, []uint64{1}) {
		t.Errorf("got %v", got)
	}
}

// Tagged appends of one key keep the order in which they were handed over,
// among each other and with plain ones.
func TestTaggedKeepOrderWithinKey(t *testing.T) {
	t.Parallel()
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	var ps []*eventlog.Pending
	for i := range 20 {
		d := eventlog.Draft{Key: "k", Events: []any{deposited{int64(i)}}}
		if i%3 == 0 {
			d.Tags = []string{"red"}
		}
		p, err := f.AppendAsync(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	var before uint64
	for i, p := range ps {
		at, err := p.Wait(ctx)
		if err != nil || at.Seq <= before {
			t.Errorf("%d: %v behind %d, %v", i, at, before, err)
		}
		before = at.Seq
	}
}
