//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// Opened is the event of the manual's programs.
type Opened struct{ Owner string }

// edge is the manual's hub and edge, of which nothing is changed but addresses
// and directories.
type edge struct {
	hub, leaf *natstest.Server
}

func startEdge(t *testing.T) *edge {
	t.Helper()
	link := natstest.Loopback(must(natstest.FreePort())(t))
	start := func(name, heading, listen, leafnodes string) *natstest.Server {
		port := must(natstest.FreePort())(t)
		conf := example(t, heading)
		for _, change := range [][2]string{{listen, natstest.Loopback(port)}, {leafnodes, link}, {"/var/lib/nats", t.TempDir()}} {
			if strings.Count(conf, change[0]) != 1 {
				t.Fatalf("%q isn't in it once:\n%s", change[0], conf)
			}
			conf = strings.Replace(conf, change[0], change[1], 1)
		}
		return natstest.StartWhole(t, name, port, conf)
	}
	return &edge{
		hub:  start("hub", "### The hub's server", "0.0.0.0:4222", "0.0.0.0:7422"),
		leaf: start("edge", "### The edge's server", "127.0.0.1:4222", "hub.example.com:7422"),
	}
}

// streams are those that a server has in its own domain.
func (e *edge) streams(ctx context.Context, t *testing.T, s *natstest.Server) (names []string) {
	t.Helper()
	nc := must(nats.Connect(s.URL()))(t)
	defer nc.Close()
	list := must(jetstream.New(nc))(t).StreamNames(ctx)
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

// The manual's programs. TestEdgePrograms compares them with the page.

func atTheHub(ctx context.Context, hubURL string) (*eventlog.Log, *eventlog.Feed, error) {
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", URL: hubURL, Domain: "hub"})
	if err != nil {
		return nil, nil, err
	}
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[Opened]("opened"))
	return log, accounts, err
}

func atTheEdge(ctx context.Context, edgeURL string) (*eventlog.Log, *eventlog.Feed, eventlog.Position, error) {
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", URL: edgeURL, Domain: "hub"})
	if err != nil {
		return nil, nil, eventlog.Position{}, err
	}
	accounts, err := log.Feed(ctx, "accounts", eventlog.Type[Opened]("opened"))
	if err != nil {
		return log, nil, eventlog.Position{}, err
	}
	at, err := accounts.Append(ctx, "acct-42", eventlog.ExpectNew, Opened{Owner: "Ada"})
	return log, accounts, at, err
}

func mirrorAtTheEdge(ctx context.Context, edgeURL string) (*eventlog.Log, *eventlog.Feed, error) {
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank-edge", URL: edgeURL, Domain: "edge"})
	if err != nil {
		return nil, nil, err
	}
	_, err = log.JetStream().CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:   "hub_accounts",
		Mirror: &jetstream.StreamSource{Name: "bank_accounts", Domain: "hub"},
	})
	if err != nil {
		return log, nil, err
	}
	accounts, err := log.Adopt(ctx, "accounts", eventlog.Adoption{
		Stream:  "hub_accounts",
		Layouts: []eventlog.Layout{{Subject: "bank.accounts.{key>}", TypeHeader: "Tm-Type", Codec: eventlog.MsgPack}},
	}, eventlog.Type[Opened]("opened"))
	return log, accounts, err
}

// The lines of Go in the manual are those of the functions here, in their order.
func TestEdgePrograms(t *testing.T) {
	page := string(must(os.ReadFile(filepath.Join("..", "docs", "operations.md")))(t))
	_, page, begun := strings.Cut(page, "\n## Two domains, one application\n")
	page, _, ended := strings.Cut(page, "\n## ")
	source := string(must(os.ReadFile("edge_test.go"))(t))
	blocks := strings.Split(page, "\n```go\n")[1:]
	functions := []string{"atTheHub", "atTheEdge", "mirrorAtTheEdge"}
	if !begun || !ended || len(blocks) != len(functions) {
		t.Fatalf("the page has %d programs, want %d", len(blocks), len(functions))
	}
	for i, name := range functions {
		_, rest, found := strings.Cut(source, "\nfunc "+name+"(")
		rest, _, whole := strings.Cut(rest, "\n}\n")
		block, _, closed := strings.Cut(blocks[i], "\n```\n")
		if !found || !whole || !closed {
			t.Fatalf("%s: there is no such function, or its block has no end", name)
		}
		for line := range strings.Lines(block) {
			_, after, found := strings.Cut(rest, "\t"+strings.TrimSpace(line)+"\n")
			if !found {
				t.Errorf("%s doesn't have, after what comes before it: %s", name, line)
				continue
			}
			rest = after
		}
	}
}

// Both sides append to the streams of the hub, and read them; the edge's domain
// has none. Where the link is cut, an append of the edge's is no success, and what
// was appended at the hub meanwhile is read when it is there again.
func TestEdge(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	e := startEdge(t)
	hubLog, hub, err := atTheHub(ctx, e.hub.URL())
	must(hub, err)(t)
	defer func() { _ = hubLog.Close() }()
	edgeLog, accounts, at := onTheLink(ctx, t, e)
	defer func() { _ = edgeLog.Close() }()
	if at.Seq != 1 {
		t.Errorf("appended at %v", at)
	}
	must(hub.Append(ctx, "acct-43", eventlog.ExpectNew, Opened{"Bob"}))(t)
	for side, f := range map[string]*eventlog.Feed{"hub": hub, "edge": accounts} {
		if got := owners(ctx, t, f, 2); got != "1 acct-42 Ada, 2 acct-43 Bob" {
			t.Errorf("%s reads %s", side, got)
		}
	}
	if names := e.streams(ctx, t, e.leaf); len(names) > 0 {
		t.Errorf("the edge's domain has %v", names)
	}
	eve := eventlog.Draft{Key: "acct-44", ID: "eve", Events: []any{Opened{"Eve"}}}
	e.hub.Stop()
	cut, cancel := context.WithTimeout(ctx, 5*time.Second)
	_, err = accounts.AppendDraft(cut, eve)
	cancel()
	if !errors.Is(err, eventlog.ErrAmbiguous) && !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("an append over a link that is cut: %v", err)
	}
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	if log, _, _, err := atTheEdge(soon, e.leaf.URL()); err == nil || log != nil {
		t.Errorf("the edge's program starts over a link that is cut: %v", err)
	}
	cancel()
	e.hub.Restart()
	await(ctx, t, "the link", func() bool {
		soon, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err = accounts.AppendDraft(soon, eve)
		return err == nil
	})
	if got := owners(ctx, t, hub, 3); got != "1 acct-42 Ada, 2 acct-43 Bob, 3 acct-44 Eve" {
		t.Errorf("the hub reads %s", got)
	}
}

// onTheLink runs the edge's program, when the servers are joined.
func onTheLink(ctx context.Context, t *testing.T, e *edge) (*eventlog.Log, *eventlog.Feed, eventlog.Position) {
	t.Helper()
	awaitLink(ctx, t, e)
	log, accounts, at, err := atTheEdge(ctx, e.leaf.URL())
	if err != nil {
		t.Fatal(err)
	}
	return log, accounts, at
}

// awaitLink waits until the hub's domain answers at the edge.
func awaitLink(ctx context.Context, t *testing.T, e *edge) {
	t.Helper()
	nc := must(nats.Connect(e.leaf.URL()))(t)
	defer nc.Close()
	js := must(jetstream.NewWithDomain(nc, "hub"))(t)
	await(ctx, t, "the link", func() bool {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.AccountInfo(soon)
		return err == nil
	})
}

// owners are the first events of a feed, which is followed until they are there.
func owners(ctx context.Context, t *testing.T, f *eventlog.Feed, n int) string {
	t.Helper()
	var all []string
	for ev, err := range f.Read(ctx, eventlog.Follow()) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := ev.Value()
		opened, ok := v.(Opened)
		if err != nil || !ok {
			t.Fatalf("%d is %T: %v", ev.Seq, v, err)
		}
		if all = append(all, fmt.Sprint(ev.Seq, " ", ev.Key, " ", opened.Owner)); len(all) == n {
			break
		}
	}
	return strings.Join(all, ", ")
}

// A mirror at the edge has the hub's commits at the hub's positions. The edge's
// program is started anew while the hub is down, goes on from its snapshot, and
// catches up when the hub is there again.
func TestEdgeWithAMirror(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	e := startEdge(t)
	hubLog, hub, err := atTheHub(ctx, e.hub.URL())
	must(hub, err)(t)
	defer func() { _ = hubLog.Close() }()
	for _, name := range []string{"Ada", "Bob"} {
		must(hub.Append(ctx, "of-"+name, eventlog.ExpectNew, Opened{name}))(t)
	}
	awaitLink(ctx, t, e)
	run := func() (*eventlog.Log, *eventlog.Feed, *projection.Table[string, string], *projection.Runtime) {
		log, accounts, err := mirrorAtTheEdge(ctx, e.leaf.URL())
		must(accounts, err)(t)
		table := projection.NewTable[string, string]("owners", projection.Version(1))
		projection.On(table, accounts, func(tx *projection.Tx[string, string], ev eventlog.Event, o Opened) error {
			tx.Put(ev.Key, fmt.Sprint(ev.Seq, " ", o.Owner))
			return nil
		})
		return log, accounts, table, must(projection.Start(ctx, log, table))(t)
	}
	has := func(table *projection.Table[string, string], key, want string) {
		t.Helper()
		await(ctx, t, key+" in the table", func() bool { _, ok := table.Get(key); return ok })
		if got, _ := table.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	log, accounts, table, rt := run()
	has(table, "of-Ada", "1 Ada")
	has(table, "of-Bob", "2 Bob")
	if _, err := accounts.Append(ctx, "of-Eve", eventlog.ExpectAny, Opened{"Eve"}); !errors.Is(err, eventlog.ErrReadOnly) {
		t.Errorf("an append to the mirror: %v", err)
	}
	must(0, rt.Close())(t)
	must(0, log.Close())(t)

	e.hub.Stop()
	log, accounts, table, rt = run()
	defer func() { _, _ = rt.Close(), log.Close() }()
	has(table, "of-Bob", "2 Bob")
	if st := must(rt.Status(ctx))(t); len(st) != 1 || st[0].Recovery.Source != projection.FromSnapshot {
		t.Errorf("no snapshot was used: %+v", st)
	}
	if got := owners(ctx, t, accounts, 2); got != "1 of-Ada Ada, 2 of-Bob Bob" {
		t.Errorf("without the hub the edge reads %s", got)
	}
	e.hub.Restart()
	must(hub.Append(ctx, "of-Cyd", eventlog.ExpectNew, Opened{"Cyd"}))(t)
	has(table, "of-Cyd", "3 Cyd")
}

// What the manual says that an adopted mirror doesn't know: each is an error at
// the commit, or reads as the page has it.
func TestEdgeMirrorsLimits(t *testing.T) {
	for name, c := range map[string]struct {
		draft eventlog.Draft
		key   string // "" for an ErrCorrupt
	}{
		"several events":           {eventlog.Draft{Key: "k", Events: []any{Opened{"Ada"}, Opened{"Bob"}}}, ""},
		"a tag":                    {eventlog.Draft{Key: "k", Events: []any{Opened{"Ada"}}, Tags: []string{"red"}}, ""},
		"a key that isn't a token": {eventlog.Draft{Key: "a b", Events: []any{Opened{"Ada"}}}, "a%20b"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := limited(t, time.Minute)
			e := startEdge(t)
			hubLog, hub, err := atTheHub(ctx, e.hub.URL())
			must(hub, err)(t)
			defer func() { _ = hubLog.Close() }()
			must(hub.AppendDraft(ctx, c.draft))(t)
			awaitLink(ctx, t, e)
			log, accounts, err := mirrorAtTheEdge(ctx, e.leaf.URL())
			must(accounts, err)(t)
			defer func() { _ = log.Close() }()
			for ev, err := range accounts.Read(ctx, eventlog.Follow()) {
				if err == nil {
					_, err = ev.Value()
				}
				if c.key == "" && err == nil {
					continue // the commit before the marker
				}
				if c.key == "" && !errors.Is(err, eventlog.ErrCorrupt) || c.key != "" && (err != nil || ev.Key != c.key) {
					t.Errorf("key %q, %v", ev.Key, err)
				}
				break
			}
		})
	}
}

// The feed's streams in both domains are what the manual warns of: a commit is in
// both of them, and the feed takes no more appends after that was noticed.
func TestFeedInTwoDomains(t *testing.T) {
	ctx := limited(t, 2*time.Minute)
	e := startEdge(t)
	awaitLink(ctx, t, e)
	hubLog, hub, err := atTheHub(ctx, e.hub.URL())
	must(hub, err)(t)
	defer func() { _ = hubLog.Close() }()
	log := must(eventlog.Open(ctx, eventlog.Options{App: "bank", URL: e.leaf.URL(), Domain: "edge"}))(t)
	defer func() { _ = log.Close() }()
	accounts := must(log.Feed(ctx, "accounts", eventlog.Type[Opened]("opened")))(t)
	n := 0
	await(ctx, t, "an acknowledgement by the other domain's stream", func() bool {
		for _, f := range []*eventlog.Feed{accounts, hub} {
			n++
			if _, err = f.Append(ctx, fmt.Sprint("k", n), eventlog.ExpectAny, Opened{"Ada"}); err != nil {
				if !errors.Is(err, eventlog.ErrForeign) && !errors.Is(err, eventlog.ErrAmbiguous) {
					t.Fatal(err)
				}
				_, err = f.Append(ctx, "later", eventlog.ExpectAny, Opened{"Eve"})
				return true
			}
		}
		return false
	})
	var foreign *eventlog.DomainError
	if !errors.As(err, &foreign) || foreign.Domain == foreign.Found {
		t.Errorf("an append to a feed that is in both domains: %v", err)
	}
	if a, b := must(accounts.State(ctx))(t), must(hub.State(ctx))(t); a.Last == 0 || b.Last == 0 {
		t.Errorf("a commit is stored %d and %d times", a.Last, b.Last)
	}
}
