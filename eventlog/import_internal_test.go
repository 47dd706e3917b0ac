package eventlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"pgregory.net/rapid"
)

// faultyLink loses publishes, answers, and connections.
type faultyLink struct {
	link
	rnd                      *rand.Rand
	loseOne, deafOne, cutOne int // one in so many; 0: never
	broken                   uint64
	late                     []func() // publishes that come when their batch is long over
}

func (l *faultyLink) one(in int) bool { return in > 0 && l.rnd.IntN(in) == 0 }

func (l *faultyLink) publish(m *outgoing, token uint64) error {
	switch {
	case l.one(l.loseOne):
		return nil // lost
	case l.one(l.loseOne):
		// Late, as through a slow route: behind all that follows for a while.
		copied := outgoing{subject: m.subject, header: slices.Clone(m.header), data: slices.Clone(m.data), flow: slices.Clone(m.flow)}
		l.late = append(l.late, func() { _ = l.link.publish(&copied, token) })
		return nil
	case l.one(l.cutOne):
		l.broken++
		return nats.ErrConnectionReconnecting
	}
	if len(l.late) > 0 && l.rnd.IntN(200) == 0 {
		l.late[0]()
		l.late = l.late[1:]
	}
	return l.link.publish(m, token)
}

func (l *faultyLink) losses() uint64 { return l.broken }

// faulty imports through such a link.
func faulty(t *rapid.T, f *Feed, l *faultyLink, n, keys int, opts ImportOptions) ImportResult {
	opts, err := opts.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	im, err := f.newImporter(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { im.link.close() }()
	im.link.close()
	inner, err := f.openLink(func(token uint64, data []byte, none bool) {
		if b := im.current.Load(); b != nil && b.token == token && !(l.deafOne > 0 && rand.IntN(l.deafOne) == 0) {
			b.onAnswer(data, none)
		}
	}, wireEnough)
	if err != nil {
		t.Fatal(err)
	}
	l.link = inner
	im.link = l
	in := newInlet()
	go func() {
		for i := range n {
			d := Draft{Key: fmt.Sprint("k", i*i%keys), Events: []any{goldenOpened{fmt.Sprint(i)}}}
			if i%50 < 45 {
				d.ID = fmt.Sprint("in/", i)
			}
			if !in.put(d, nil) {
				return
			}
		}
		in.close()
	}()
	defer in.stop()
	if err := im.run(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return im.res
}

// Whatever of publishes, answers and connections gets lost or comes late:
// each draft is in the feed once, and each key's in the order of the input;
// unpacked, all are.
func TestImportFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("ten feeds, each with losses that are waited for; TestImport and TestImportResumed run")
	}
	log, err := Open(t.Context(), Options{App: "faults", Memory: true, RequestTimeout: 80 * time.Millisecond, ResolveTimeout: time.Minute, DuplicateWindow: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	run, troubles := 0, uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		if run++; run > 10 {
			return
		}
		f, err := log.Feed(t.Context(), fmt.Sprint("f", run), Type[goldenOpened]("opened"))
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(1, 4000).Draw(t, "n")
		opts := ImportOptions{
			Pack:   rapid.SampledFrom([]int{1, 1, 3, 20}).Draw(t, "pack"),
			ahead:  rapid.SampledFrom([]int{20, 500}).Draw(t, "ahead"),
			Window: rapid.SampledFrom([]int{1, 7, 300, 4096}).Draw(t, "window"),
		}
		odds := rapid.SampledFrom([]int{0, 60, 300, 2000})
		l := &faultyLink{rnd: rand.New(rand.NewPCG(uint64(run), 1)), loseOne: odds.Draw(t, "publish"), deafOne: odds.Draw(t, "answer"), cutOne: odds.Draw(t, "cut")}
		if run == 1 { // trouble for certain, whatever the others draw
			n, l.loseOne, l.deafOne = 1000, 60, 60
		}
		res := faulty(t, f, l, n, 13, opts)
		for _, late := range l.late {
			late()
		}
		if res.Read != uint64(n) || res.Appended+res.Skipped != uint64(n) || res.Events != res.Appended {
			t.Errorf("%+v of %d", res, n)
		}
		next, all, total := map[string]int{}, -1, 0
		for e, err := range f.Read(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			v, err := Decode[goldenOpened](e)
			if err != nil {
				t.Fatal(err)
			}
			i := 0
			fmt.Sscan(v.Owner, &i)
			if last, ok := next[e.Key]; ok && i <= last {
				t.Fatalf("%s: %d of %s behind %d", e.Position(), i, e.Key, last)
			}
			if opts.Pack == 1 && i != all+1 {
				t.Fatalf("%s: %d behind %d", e.Position(), i, all)
			}
			if id := fmt.Sprint("in/", i); i%50 < 45 && e.ID() != id {
				t.Fatalf("%s has ID %s, want %s", e.Position(), e.ID(), id)
			}
			next[e.Key], all = i, i
			total++
		}
		if total != n {
			t.Fatalf("%d events, want %d; %+v", total, n, res)
		}
		troubles += f.Metrics().Retries
	})
	if troubles == 0 {
		t.Error("no trouble came: this tests nothing")
	}
}

func TestPackedIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.StringN(1, 20, 256), 1, 50).Draw(t, "ids")
		var ds []importDraft
		events := 0
		for i, id := range ids {
			n := 1 + i%3
			ds = append(ds, importDraft{Draft: Draft{ID: id, Events: make([]any, n)}})
			events += n
		}
		i, at := 0, 0
		err := eachPacked(packedIDs(ds), events, func(id []byte, first, n int) bool {
			if string(id) != ids[i] || first != at || n != 1+i%3 {
				t.Errorf("%d: %q %d %d", i, id, first, n)
			}
			i++
			at += n
			return true
		})
		if err != nil || i != len(ids) {
			t.Errorf("%v, %d", err, i)
		}
		if err := eachPacked(packedIDs(ds), events+1, func([]byte, int, int) bool { return true }); !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
	})
}

func FuzzPackedIDs(f *testing.F) {
	f.Add("1,0,4:in/11,3,1:2", 2)
	f.Add("2,0,1:a1,1,0:", 3)
	f.Add("1,0,99999:a", 1)
	f.Add("1,-1,+1:a", 1)
	f.Fuzz(func(t *testing.T, s string, events int) {
		total, at := 0, 0
		var err error
		fuzzmem.Check(t, len(s), 100, 8<<20, func() {
			total, at = 0, 0
			err = eachPacked(s, events, func(id []byte, first, n int) bool {
				if first != at || n < 1 || len(id) == 0 {
					t.Fatalf("%q %d %d", id, first, n)
				}
				total += len(id)
				at += n
				return true
			})
		})
		if err == nil && at != events {
			t.Errorf("%d events of %d", at, events)
		}
	})
}

func FuzzBatchAnswer(f *testing.F) {
	for _, s := range []string{
		`{"type":"ack","seq":500,"msgs":250}`, `{"type":"gap","last_seq":3,"seq":5}`, `{"type":"err","seq":3,"error":{"code":400,"err_code":10054}}`,
		`{"stream":"s","error":{"code":400,"err_code":10208}}`, `{"stream":"s","seq":7,"batch":"x","count":7}`, ``, `{`, `{"type":"ack","msgs":-1}`,
	} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, none bool) {
		s := batchState{acked: 7, flow: 1}
		fuzzmem.Check(t, len(data), 100, 8<<20, func() { s.apply(data, none) })
		if s.acked < 7 || s.flow < 1 || (s.ended && s.broke) {
			t.Errorf("%+v", s)
		}
		if s == (batchState{acked: 7, flow: 1}) && !strings.Contains(string(data), "ack") {
			t.Errorf("%q changes nothing", data)
		}
	})
}

// Golden bytes of docs/format-commit.md.
func TestPackedFormat(t *testing.T) {
	page, err := os.ReadFile("../docs/format-commit.md")
	if err != nil {
		t.Fatal(err)
	}
	one, two := []any{1}, []any{1, 2}
	s := packedIDs([]importDraft{{Draft: Draft{ID: "import/41", Events: one}}, {Draft: Draft{ID: "import/42", Events: two}}, {Draft: Draft{ID: "x", Events: one}}})
	if want := "1,0,9:import/412,8,1:21,0,1:x"; s != want || !strings.Contains(string(page), "    Tm-Ids: "+want+"\n    Nats-Msg-Id: "+packedID(s)+"\n") {
		t.Errorf("%s %s", s, packedID(s))
	}
}
