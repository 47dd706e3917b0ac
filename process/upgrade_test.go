package process_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

type (
	ordered struct{ Item string }
	letter  struct{ To, Text string }
)

// upgraded is the application that a program of the first release, whose IDs
// began with positions, has left in testdata/history/first-ids.zip:
//
//   - ada's mail was sent; bob's was given up; cy's failed once; dee has one
//     that was sent, and another in a hundred years;
//   - eve's mail was under way when the program ended: it may have been sent;
//   - fay came when nothing ran: her mail is pending, her parcel was requested,
//     and nobody recorded that;
//   - gus came after the last snapshot.
type upgraded struct {
	t               *testing.T
	log             *eventlog.Log
	orders, parcels *eventlog.Feed
	mails           *effect.Outbox[letter]
	ship            *process.Manager[int]
	rt              *projection.Runtime
	cancel          context.CancelFunc
	ended           chan error

	mu   sync.Mutex
	sent []string
}

func openUpgraded(t *testing.T, dir string, c projection.Config) *upgraded {
	t.Helper()
	ctx := logtest.Context(t)
	u := &upgraded{t: t, ended: make(chan error, 2)}
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	u.log, err = eventlog.Open(ctx, eventlog.Options{App: "shop", Dir: dir})
	check()
	u.orders, err = u.log.Feed(ctx, "orders", eventlog.Type[ordered]("placed"))
	check()
	u.parcels, err = u.log.Feed(ctx, "parcels", eventlog.Type[ordered]("placed"))
	check()
	u.mails, err = effect.New[letter](ctx, u.log, "mails", 1)
	check()
	effect.On(u.mails, u.orders, func(tx *effect.Tx[letter], e eventlog.Event, d ordered) error {
		tx.Want("", letter{To: e.Key, Text: d.Item})
		if e.Key == "dee" {
			tx.WantAt("reminder", e.Time.AddDate(100, 0, 0), letter{To: e.Key, Text: "tasty?"})
		}
		return nil
	})
	u.ship, err = process.New[int](ctx, u.log, "ship", 1, u.parcels)
	check()
	process.On(u.ship, u.orders, nil, func(do *process.Step[int], e eventlog.Event, d ordered) error {
		do.Set(do.State() + 1)
		do.Append(u.parcels, e.Key, d)
		return nil
	})
	u.rt, err = c.Start(ctx, u.log, u.mails, u.ship)
	check()
	t.Cleanup(u.close)
	return u
}

func (u *upgraded) run() {
	ctx, cancel := context.WithCancel(u.t.Context())
	u.cancel = cancel
	opts := effect.Options{Backoff: time.Millisecond}
	go func() {
		u.ended <- u.mails.Run(ctx, func(_ context.Context, e effect.Effect[letter]) error {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.sent = append(u.sent, e.Intent.To+" "+e.ID)
			return nil
		}, opts)
	}()
	go func() { u.ended <- u.ship.Run(ctx, opts) }()
}

func (u *upgraded) close() {
	u.t.Helper()
	if u.rt == nil {
		return
	}
	if u.cancel != nil {
		u.cancel()
		if err := errors.Join(<-u.ended, <-u.ended); err != nil {
			u.t.Error(err)
		}
	}
	if err := errors.Join(u.rt.Close(), u.log.Close()); err != nil {
		u.t.Error(err)
	}
	u.rt = nil
}

func (u *upgraded) order(keys ...string) {
	u.t.Helper()
	for _, k := range keys {
		at, err := u.orders.Append(logtest.Context(u.t), k, eventlog.ExpectNew, ordered{"tea"})
		if err == nil {
			err = u.rt.Wait(logtest.Context(u.t), at)
		}
		if err != nil {
			u.t.Fatal(err)
		}
	}
}

// settle waits until nothing is pending but dee's reminder.
func (u *upgraded) settle() {
	u.t.Helper()
	ctx := logtest.Context(u.t)
	w := u.mails.Outcomes()
	for _, f := range []*eventlog.Feed{w, u.ship.Outcomes()} {
		for u.mails.Pending() > 1 && f == w || u.ship.Pending() > 0 && f != w {
			st, err := f.State(ctx)
			if err == nil {
				err = u.rt.Wait(ctx, eventlog.Position{Feed: f.Name(), Seq: st.Last})
			}
			if err != nil {
				u.t.Fatal(err)
			}
		}
	}
}

// parcelsOf counts the parcels that were requested, by key.
func (u *upgraded) parcelsOf() map[string]int {
	u.t.Helper()
	n := make(map[string]int)
	for e, err := range u.parcels.Read(logtest.Context(u.t)) {
		if err != nil {
			u.t.Fatal(err)
		}
		n[e.Key]++
	}
	return n
}

func unzip(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What was stored under IDs of the first form goes on under them: what is done
// isn't done again, what is pending is done with the ID that it may have been
// done with, and what is given up can be retried. Later events have IDs of the
// present form, also where they take the places of lost ones.
func TestUpgradeFromPositions(t *testing.T) {
	for name, c := range map[string]projection.Config{
		"with snapshots": {Snapshots: projection.Policy{Events: 1, MinInterval: 1}},
		"from the log":   {NoSnapshots: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unzip(t, "testdata/history/first-ids.zip")
			orders := filepath.Join(dir, "jetstream", "$G", "streams", "shop_orders")
			before := filepath.Join(t.TempDir(), "orders")
			if err := os.CopyFS(before, os.DirFS(orders)); err != nil {
				t.Fatal(err)
			}
			u := openUpgraded(t, dir, c)
			if c.NoSnapshots == (u.rt.Metrics()[0].Recovery.Source == projection.FromSnapshot) {
				t.Errorf("recovered by %+v", u.rt.Metrics()[0].Recovery)
			}
			u.order("hal") // before anything runs
			u.run()
			u.settle()
			u.order("ida")
			u.settle()
			if p := u.mails.Parked(); len(p) != 1 || p[0].ID != "orders@2.0" {
				t.Fatalf("given up: %+v", p)
			}
			if err := u.mails.Retry(logtest.Context(t), "orders@2.0", "ops"); err != nil {
				t.Fatal(err)
			}
			u.settle()
			u.close()
			// hal came before the forms were fixed, ida after that.
			want := []string{"bob orders@2.0", "cy orders@3.0", "eve orders@5.0", "fay orders@6.0", "gus orders@7.0", "hal orders@8.0", "ida mails:"}
			slices.Sort(u.sent)
			if len(u.sent) != len(want) || !slices.Equal(u.sent[:6], want[:6]) || !strings.HasPrefix(u.sent[6], want[6]) {
				t.Fatalf("sent %q, want %q", u.sent, want)
			}

			again := openUpgraded(t, dir, c) // and nothing is done again
			again.run()
			again.order("joe")
			again.settle()
			again.close()
			if len(again.sent) != 1 || !strings.HasPrefix(again.sent[0], "joe mails:") {
				t.Errorf("sent after another start: %q", again.sent)
			}

			// The orders come back without their end: as they were at the upgrade.
			if err := errors.Join(os.RemoveAll(orders), os.CopyFS(orders, os.DirFS(before)), os.RemoveAll(filepath.Join(dir, "marks"))); err != nil {
				t.Fatal(err)
			}
			last := openUpgraded(t, dir, c)
			last.order("kay", "lee", "mo", "ned")
			last.run()
			last.settle()
			found, err := last.mails.Orphans(logtest.Context(t))
			if err != nil {
				t.Fatal(err)
			}
			reactions, err := last.ship.Orphans(logtest.Context(t))
			if err != nil {
				t.Fatal(err)
			}
			parcels := last.parcelsOf()
			last.close()
			if got := toldTo(last.sent); !slices.Equal(got, []string{"kay", "lee", "mo", "ned"}) {
				t.Errorf("sent after the loss: %q", last.sent)
			}
			all := map[string]int{}
			for k := range strings.FieldsSeq("ada bob cy dee eve fay gus hal ida joe kay lee mo ned") {
				all[k] = 1
			}
			if !maps.Equal(parcels, all) {
				t.Errorf("parcels %v", parcels)
			}
			if len(found) != 3 || len(reactions) != 3 { // hal's, ida's and joe's
				t.Errorf("without a cause: %+v, %+v", found, reactions)
			}
		})
	}
}

// Where all that says which events keep IDs of the first form was trimmed, the
// snapshot says it.
func TestUpgradeWithTrimmedOutcomes(t *testing.T) {
	ctx := logtest.Context(t)
	dir := unzip(t, "testdata/history/first-ids.zip")
	c := projection.Config{Snapshots: projection.Policy{Events: 1, MinInterval: 1}}
	u := openUpgraded(t, dir, c)
	u.run()
	u.settle()
	// Outcomes come after the marks, until no snapshot that is kept needs these.
	marked := true
	for n := 0; marked; n++ {
		if n == 10 {
			t.Fatal("the marks are still there")
		}
		u.order(fmt.Sprint("hal", n))
		u.settle()
		if _, err := u.rt.Compact(ctx, projection.CompactOptions{}); err != nil {
			t.Fatal(err)
		}
		marked = false
		for _, f := range []*eventlog.Feed{u.mails.Outcomes(), u.ship.Outcomes()} {
			_, ok, err := f.Head(ctx, "marks")
			if err != nil {
				t.Fatal(err)
			}
			marked = marked || ok
		}
	}
	// It ends without another mark.
	if err := u.log.Close(); err != nil {
		t.Fatal(err)
	}
	u.cancel()
	<-u.ended
	<-u.ended
	_ = u.rt.Close()
	u.rt = nil

	again := openUpgraded(t, dir, c)
	again.order("ida")
	due, err := again.mails.Due(time.Now().AddDate(200, 0, 0), effect.Options{})
	if err != nil || len(due) != 2 || due[0].ID != "orders@4.0/reminder" || !strings.HasPrefix(due[1].ID, "mails:") {
		t.Fatalf("due: %+v, %v", due, err)
	}
	again.run()
	again.settle()
	if n := again.parcelsOf()["ida"]; n != 1 {
		t.Errorf("%d parcels", n)
	}
	again.close()
	if got := toldTo(again.sent); !slices.Equal(got, []string{"ida"}) {
		t.Errorf("sent %q", again.sent)
	}
}

func toldTo(sent []string) (to []string) {
	for _, s := range sent {
		k, _, _ := strings.Cut(s, " ")
		to = append(to, k)
	}
	slices.Sort(to)
	return to
}
