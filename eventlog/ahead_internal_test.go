package eventlog

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"
	"pgregory.net/rapid"
)

// aheadLine is decoded by reflection, and has a map, which a decoder that uses
// memory again would share.
type aheadLine struct {
	Entry, Account, Contra, Currency, Reference, Text string
	Cents, At                                         uint64
	Tags                                              map[string]int
}

// aheadNote is decoded by methods.
type aheadNote struct {
	Text string
	N    uint64
}

func (n *aheadNote) MarshalMsg(b []byte) ([]byte, error) {
	return msgp.AppendUint64(msgp.AppendString(b, n.Text), n.N), nil
}

func (n *aheadNote) UnmarshalMsg(b []byte) (_ []byte, err error) {
	if n.Text, b, err = msgp.ReadStringBytes(b); err != nil {
		return b, err
	}
	if n.Text == "bad" {
		return b, errors.New("a bad note")
	}
	if n.Text == "boom" {
		panic("a note goes off")
	}
	n.N, b, err = msgp.ReadUint64Bytes(b)
	return b, err
}

type aheadOther struct{ N int }

func aheadLineAt(i int) aheadLine {
	l := aheadLine{
		Entry: fmt.Sprintf("01J8ZK4Q6W%016d", i), Account: "acct-000001", Contra: "acct-000002", Currency: "EUR",
		Reference: fmt.Sprintf("INV-%010d", i), Text: "monthly invoice, paid by transfer from the business account",
		Cents: 1_000_000 + uint64(i), At: 1_700_000_000_000,
	}
	if i%3 == 0 {
		l.Tags = map[string]int{fmt.Sprint(i): i}
	}
	return l
}

func aheadFeed(t testing.TB, opts ...FeedOption) *Feed {
	t.Helper()
	opts = append([]FeedOption{Type[aheadLine]("line"), Type[aheadNote]("note"), Type[aheadOther]("other")}, opts...)
	reg, err := newRegistry("f", opts)
	if err != nil {
		t.Fatal(err)
	}
	return &Feed{name: "f", prefix: "f.", reg: reg}
}

// commitOf is a commit as a reader decodes it.
func commitOf(t testing.TB, f *Feed, seq uint64, events ...any) (c Commit) {
	t.Helper()
	payload, types, err := encodePayload("f", f.reg, events)
	if err != nil {
		t.Fatal(err)
	}
	h := fmt.Sprintf("NATS/1.0\r\n%s: %s\r\n", headerType, types)
	if len(events) > 1 {
		h += fmt.Sprintf("%s: %d\r\n", headerEvents, len(events))
	}
	m := message{seq: seq, nanos: int64(seq), subject: "f.k", header: headers(h + "\r\n"), data: payload}
	if err := f.decode(&c, m); err != nil {
		t.Fatal(err)
	}
	return c
}

// aheadOf gives a reader all types to decode ahead, whatever they cost.
func aheadOf(r *Reader) {
	r.ahead = newAhead(r.f, math.MaxInt)
	r.ahead.batches = 1
	for _, t := range r.f.reg.byName {
		r.ahead.on[t] = true
	}
}

// procs lets a test have so many processors at least.
func procs(t testing.TB, n int) {
	was := runtime.GOMAXPROCS(max(n, runtime.GOMAXPROCS(0)))
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
}

// What is decoded ahead is what is decoded by the handler: values, order and
// errors, each value the handler's own, however it asks for them.
func TestAheadEquivalence(t *testing.T) {
	procs(t, 3)
	f := aheadFeed(t, Unknown(KeepUnknown))
	r := &Reader{f: f, cfg: readConfig{ahead: math.MaxInt}}
	aheadOf(r)
	aheadOfLines(t, r)
	rapid.Check(t, func(rt *rapid.T) {
		batch := drawBatch(rt, t, f)
		r.endAhead()
		r.lookAhead(batch)
		if rapid.Bool().Draw(rt, "late") { // the workers are through
			r.ahead.wg.Wait()
		}
		leave := rapid.IntRange(0, len(batch)).Draw(rt, "leave")
		for i := range batch[:leave] {
			for j := range batch[i].Len() {
				compareAhead(rt, batch[i].Event(j), rapid.IntRange(0, 4).Draw(rt, "how"))
			}
		}
		r.endAhead()
		if n := aheadBusy.Load(); n != 0 {
			rt.Fatalf("%d workers outlive the batch", n)
		}
		for i := range batch {
			if batch[i].ahead != nil {
				rt.Fatal("a commit is still decoded ahead")
			}
		}
	})
}

// aheadOfLines shows that a reader decodes ahead at all: of a large batch, all
// but the first events are ready when the workers are through.
func aheadOfLines(t *testing.T, r *Reader) {
	t.Helper()
	batch := make([]Commit, 4*aheadLeast)
	for i := range batch {
		batch[i] = commitOf(t, r.f, uint64(i+1), aheadLineAt(i))
	}
	r.lookAhead(batch)
	r.ahead.wg.Wait()
	ready := 0
	for i := range r.ahead.cells {
		if r.ahead.cells[i].state.Load() == cellReady {
			ready++
		}
	}
	if ready != len(batch)-aheadLead {
		t.Errorf("%d of %d events were decoded ahead", ready, len(batch))
	}
	r.endAhead()
}

func drawBatch(rt *rapid.T, t testing.TB, f *Feed) []Commit {
	n := rapid.IntRange(1, 200).Draw(rt, "commits")
	kinds := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 12).Draw(rt, "kinds")
	batch := make([]Commit, n)
	for i := range batch {
		var events []any
		for j := range 1 + kinds[i%len(kinds)]%3 {
			switch kinds[(i+j)%len(kinds)] {
			case 0:
				events = append(events, aheadNote{Text: "bad"})
			case 1:
				events = append(events, aheadNote{Text: "boom"})
			case 2, 3:
				events = append(events, aheadNote{Text: "n", N: uint64(i)})
			case 4:
				events = append(events, aheadOther{i})
			default:
				events = append(events, aheadLineAt(i+j))
			}
		}
		batch[i] = commitOf(t, f, uint64(i+1), events...)
		if kinds[0] == 9 && i%7 == 0 {
			batch[i].parts[0].typ = "nobody-knows"
		}
	}
	return batch
}

// compareAhead asks for an event in one of the ways there are, and compares
// with what a commit says that isn't decoded ahead.
func compareAhead(rt *rapid.T, e Event, how int) {
	plain := *e.commit
	plain.ahead = nil
	want, wantErr := plain.Event(e.Index).Value()
	var got any
	var err error
	switch {
	case how == 0:
		return // left out
	case how == 1:
		got, err = e.Value()
	case e.Type == "line":
		got, err = Decode[aheadLine](e)
	case e.Type == "note":
		got, err = Decode[aheadNote](e)
	case e.Type == "other":
		got, err = Decode[aheadOther](e)
	default:
		got, err = Decode[Raw](e)
	}
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		rt.Fatalf("%s: error %v, not %v", e.Position(), err, wantErr)
	}
	if err != nil {
		return
	}
	if !reflect.DeepEqual(got, want) {
		rt.Fatalf("%s: %+v, not %+v", e.Position(), got, want)
	}
	if l, ok := got.(aheadLine); ok && l.Tags != nil {
		l.Tags["changed"] = 1 // it is the handler's own
		if again, err := Decode[aheadLine](e); err != nil || !reflect.DeepEqual(again, want) {
			rt.Fatalf("%s: the second time %+v, %v", e.Position(), again, err)
		}
	}
	if how == 4 { // another type than the registered one
		if _, err := Decode[aheadOther](e); e.Type == "note" && err == nil {
			rt.Fatalf("%s: a note is decoded as something else", e.Position())
		}
	}
}

// Only types that are asked for, and take long, are decoded ahead; and no more
// of them when nobody asks any longer.
func TestAheadLearns(t *testing.T) {
	procs(t, 2)
	f := aheadFeed(t)
	r := &Reader{f: f, cfg: readConfig{ahead: math.MaxInt}}
	batch := make([]Commit, 3*aheadLeast)
	for i := range batch {
		batch[i] = commitOf(t, f, uint64(i+1), aheadNote{Text: "n"}, aheadLineAt(i), aheadOther{i})
	}
	line, note := f.reg.byName["line"], f.reg.byName["note"]
	round := func(took time.Duration) {
		r.lookAhead(batch)
		for range aheadAsked {
			if took > 0 && r.ahead.learning {
				r.ahead.note("line", line.goType, took)
				r.ahead.note("note", note.goType, aheadPays/2)
				r.ahead.note("other", line.goType, took) // decoded as something else
			}
		}
		r.ahead.wg.Wait()
		r.endAhead()
	}
	round(aheadPays)
	if on := r.ahead.on; len(on) != 1 || !on[line] {
		t.Fatalf("decoded ahead: %v", on)
	}
	for range aheadEvery - 1 {
		round(aheadPays / 2)
	}
	if !r.ahead.on[line] {
		t.Fatal("it looked again too soon")
	}
	round(0) // all are ready, and nobody takes them
	if r.ahead.any() {
		t.Error("what nobody asks for is decoded ahead")
	}
}

// An event that isn't worth it leaves a reader as it is, and so does
// DecodeAhead(0), and a batch of few events.
func TestAheadLeftOut(t *testing.T) {
	procs(t, 2)
	f := aheadFeed(t)
	batch := make([]Commit, aheadLeast)
	for i := range batch {
		batch[i] = commitOf(t, f, uint64(i+1), aheadOther{i})
	}
	cfg := readConfig{ahead: 5}
	DecodeAhead(-1)(&cfg)
	for _, r := range []*Reader{{f: f, cfg: cfg}, {f: f, cfg: readConfig{ahead: 1}}} {
		part := batch
		if r.cfg.ahead > 0 {
			part = batch[1:]
		}
		if r.lookAhead(part); r.ahead != nil {
			t.Errorf("with %d workers %d events are decoded ahead", r.cfg.ahead, len(part))
		}
		r.endAhead()
	}
	r := &Reader{f: f, cfg: readConfig{ahead: 1}}
	aheadOf(r)
	large := []Commit{batch[0], batch[1]}
	large[1].parts = make([]part, aheadEvents)
	r.lookAhead(large)
	if large[1].ahead != nil || len(r.ahead.batch) != 1 {
		t.Errorf("%d events of a batch are decoded ahead", large[1].first+large[1].Len())
	}
	r.endAhead()
}

// BenchmarkAhead reads batches of a reader from memory; run it with -cpu 1,2.
func BenchmarkAhead(b *testing.B) {
	for _, kind := range []string{"reflect", "methods"} {
		for _, workers := range []int{0, math.MaxInt} {
			name := "impl=inline"
			if workers > 0 {
				name = "impl=ahead"
			}
			b.Run("decode="+kind+"/"+name, func(b *testing.B) { benchAhead(b, kind, workers) })
		}
	}
}

func benchAhead(b *testing.B, kind string, workers int) {
	f := aheadFeed(b)
	r := &Reader{f: f, cfg: readConfig{ahead: workers}}
	if workers > 0 && runtime.GOMAXPROCS(0) > 1 {
		aheadOf(r)
	}
	batch := make([]Commit, readBatch)
	for i := range batch {
		batch[i] = commitOf(b, f, uint64(i+1), aheadNote{"monthly invoice, paid by transfer from the business account", 1})
		if kind == "reflect" {
			batch[i] = commitOf(b, f, uint64(i+1), aheadLineAt(1))
		}
	}
	sum := uint64(0)
	for b.Loop() {
		r.lookAhead(batch)
		for i := range batch {
			if kind == "reflect" {
				v, err := Decode[aheadLine](batch[i].Event(0))
				if err != nil {
					b.Fatal(err)
				}
				sum += v.Cents
			} else {
				v, err := Decode[aheadNote](batch[i].Event(0))
				if err != nil {
					b.Fatal(err)
				}
				sum += v.N
			}
		}
		r.endAhead()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/readBatch, "ns/event")
	if sum == 0 {
		b.Fatal("nothing was decoded")
	}
}
