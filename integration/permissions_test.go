//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/backup"
	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/internal/permissions"
	"github.com/tidemark-es/tidemark/projection"
)

// permitted is what a user with a role does, after somebody who may do all has
// prepared it.
type permitted struct {
	roles   []string
	feeds   []string
	prepare func(*permitTest)
	do      func(*permitTest)
}

// bare are those that run with what is needed alone, and are refused what isn't.
var bare = []string{"read", "append", "import"}

// granted are the roles of a user.
func (p permitted) granted(name string) []string {
	if slices.Contains(bare, name) {
		return p.roles
	}
	granted := append([]string{"tidy", "keys", "notice", "bulk"}, p.roles...)
	for what, extra := range map[string]string{"<app>.<feed>.>": "mark", "$KV.<app>_dependants.>": "copy"} {
		if slices.Contains(permissions.Templates(p.roles...), what) {
			granted = append(granted, extra)
		}
	}
	return granted
}

// Every role of the page is run here.
var permittedRoles = map[string]permitted{
	"read":   {[]string{"read"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).read},
	"extras": {[]string{"read", "tidy", "keys", "notice"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).read},
	"bulk":   {[]string{"read", "bulk"}, []string{"accounts"}, (*permitTest).fillMuch, (*permitTest).readAll},
	"append": {[]string{"append"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).append},
	"mark":   {[]string{"mark"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).mark},
	"create": {[]string{"create"}, []string{"accounts"}, nil, func(h *permitTest) { h.feed() }},
	"all":    {[]string{"create", "mark", "save"}, []string{"accounts"}, nil, (*permitTest).project},
	"update": {[]string{"update"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).update},
	"import": {[]string{"append"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).importSlowly},

	"project": {[]string{"project"}, []string{"accounts"}, (*permitTest).project, (*permitTest).restored},
	"save":    {[]string{"save", "append"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).project},
	"trim":    {[]string{"trim", "append"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).trim},
	"correct": {[]string{"correct"}, []string{"accounts"}, (*permitTest).stray, (*permitTest).pass},
	"erase":   {[]string{"erase"}, []string{"accounts"}, (*permitTest).fill, (*permitTest).erase},
	"delete":  {[]string{"delete"}, []string{"accounts"}, (*permitTest).mark, (*permitTest).delete},
	"effects": {[]string{"effects"}, []string{"accounts", "letters-outcomes"}, (*permitTest).outbox, (*permitTest).carry},
	"adopt":   {[]string{"adopt"}, []string{"others"}, (*permitTest).others, (*permitTest).adopt},
	"backup":  {[]string{"backup"}, nil, (*permitTest).project, (*permitTest).save},
	"restore": {[]string{"restore"}, nil, (*permitTest).saveAndLose, (*permitTest).restore},
}

// The permissions that the manual lists are enough for what they are listed
// for, and none of them is never used: without a domain, on a server of the
// domain, and on one that is connected to that as a leaf.
func TestPermissions(t *testing.T) {
	tested := map[string]bool{}
	for name, p := range permittedRoles {
		for _, r := range p.granted(name) {
			tested[r] = true
		}
	}
	for _, r := range permissions.Roles {
		if !tested[r.Name] {
			t.Errorf("role %s has no test", r.Name)
		}
	}
	t.Run("without a domain", func(t *testing.T) {
		s := natstest.Start(t, users(""))
		permitAll(t, s.URL(), s.URL(), "")
	})
	t.Run("server of the domain", func(t *testing.T) {
		s := natstest.StartDomain(t, "hub", users(""))
		permitAll(t, s.URL(), s.URL(), "hub")
	})
	t.Run("leaf of another domain", func(t *testing.T) {
		port := must(natstest.FreePort())(t)
		hub := natstest.StartDomain(t, "hub", fmt.Sprintf("leafnodes { listen: \"127.0.0.1:%d\" }", port))
		leaf := natstest.StartDomain(t, "edge", fmt.Sprintf("leafnodes { remotes: [ { url: \"nats-leaf://127.0.0.1:%d\" } ] }", port), users("hub"))
		permitAll(t, hub.URL(), leaf.URL(), "hub")
	})
}

// users are the configuration of one user for each role, and root.
func users(domain string) string {
	var b strings.Builder
	b.WriteString("authorization { users: [ { user: root, password: x }")
	for name, p := range permittedRoles {
		list := permissions.Publish(permissions.Scope{App: "a-" + name, Feeds: p.feeds, Domain: domain}, p.granted(name)...)
		fmt.Fprintf(&b, "\n{ user: %s, password: x, permissions: { publish: [ \"%s\" ], subscribe: [ \"_INBOX.>\" ] } }", name, strings.Join(list, `", "`))
	}
	b.WriteString(" ] }")
	return b.String()
}

func permitAll(t *testing.T, root, url, domain string) {
	used := &usage{unused: map[string]bool{}, used: map[string]bool{}}
	t.Run("roles", func(t *testing.T) {
		for name, p := range permittedRoles {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := &permitTest{T: t, ctx: limited(t, time.Minute), app: "a-" + name, domain: domain, dir: t.TempDir()}
				h.url, h.user = root, "root"
				h.open()
				if p.prepare != nil {
					p.prepare(h)
				}
				h.end()
				seen := h.watch(root)
				h.url, h.user = url, name
				h.open()
				p.do(h)
				h.end()
				for _, pattern := range permissions.Templates(p.granted(name)...) {
					for _, s := range permissions.Of(permissions.Scope{App: h.app, Feeds: p.feeds}, pattern) {
						used.note(pattern, seen(s))
					}
				}
			})
		}
	})
	for pattern := range used.unused {
		if !used.used[pattern] && !slices.Contains(seldom, pattern) {
			t.Errorf("%s: no role that lists it published anything to it", pattern)
		}
	}
}

// seldom is what comes with much data, or after hours, alone.
var seldom = []string{"$JS.FC.KV_<app>_snapshots.>", "$JS.SNAPSHOT.ACK.>", "$JS.API.STREAM.PURGE.KV_<app>_snapshots"}

// usage is which of the patterns something was published to.
type usage struct {
	mu     sync.Mutex
	used   map[string]bool
	unused map[string]bool
}

func (u *usage) note(pattern string, used bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if used {
		u.used[pattern] = true
	} else {
		u.unused[pattern] = true
	}
}

type permitTest struct {
	*testing.T
	ctx                         context.Context
	app, url, user, domain, dir string
	log                         *eventlog.Log
	out                         *logtest.Lines
}

func (h *permitTest) open() {
	h.Helper()
	h.out = new(logtest.Lines)
	h.log = must(eventlog.Open(h.ctx, eventlog.Options{
		App: h.app, URL: h.url, User: h.user, Password: "x", Domain: h.domain, Logger: zerolog.New(h.out),
	}))(h)
}

// end closes the log; nothing that it did may have been refused.
func (h *permitTest) end() {
	h.Helper()
	if err := h.log.Close(); err != nil {
		h.Error(err)
	}
	for line := range strings.Lines(h.out.String()) {
		// Who may not save isn't registered as a dependant either; whether that is
		// tried before the runtime is closed is chance.
		unregistered := h.user == "project" && strings.Contains(line, "KV_"+h.app+"_dependants")
		if strings.Contains(strings.ToLower(line), "permission") && !unregistered && !slices.Contains(bare, h.user) {
			h.Errorf("%s: %s", h.user, line)
		}
	}
}

// watch notes what is published in the account, and says whether anything was
// to what a pattern matches.
func (h *permitTest) watch(url string) (seen func(pattern string) bool) {
	h.Helper()
	nc := must(nats.Connect(url, nats.UserInfo("root", "x")))(h)
	h.Cleanup(nc.Close)
	var mu sync.Mutex
	subjects := map[string]bool{}
	must(nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		subjects[m.Subject] = true
	}))(h)
	if err := nc.Flush(); err != nil {
		h.Fatal(err)
	}
	return func(pattern string) bool {
		if err := nc.Flush(); err != nil {
			h.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for s := range subjects {
			s = strings.Replace(s, "$JS.hub.API.$KV", "$KV", 1)
			s = strings.Replace(s, "$JS.hub.API", "$JS.API", 1)
			if matchesSubject(pattern, s) {
				return true
			}
		}
		return false
	}
}

func matchesSubject(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i := range p {
		if p[i] == ">" {
			return len(s) > i
		}
		if i >= len(s) || p[i] != "*" && p[i] != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

func (h *permitTest) feed(opts ...eventlog.FeedOption) *eventlog.Feed {
	h.Helper()
	return must(h.log.Feed(h.ctx, "accounts", append(opts, eventlog.Type[blob]("blob"))...))(h)
}

func (h *permitTest) fill() {
	f := h.feed()
	for i := range 10 {
		must(f.Append(h.ctx, fmt.Sprint("k", i%2), eventlog.ExpectAny, blob{"x"}))(h)
	}
}

// muchOf is far enough for the server's backup to be read.
const muchOf = 25_000

func (h *permitTest) fillMuch() {
	must(h.feed().Import(h.ctx, func(yield func(eventlog.Draft, error) bool) {
		for i := range muchOf {
			if !yield(eventlog.Draft{Key: fmt.Sprint("k", i), Events: []any{blob{"x"}}}, nil) {
				return
			}
		}
	}, eventlog.ImportOptions{}))(h)
}

// read reads everything, what comes, and a key.
func (h *permitTest) read() {
	f := h.feed()
	st := must(f.State(h.ctx))(h)
	n := uint64(0)
	for _, err := range f.Commits(h.ctx, eventlog.Follow()) {
		if err != nil {
			h.Fatal(err)
		}
		if n++; n == st.Messages {
			break
		}
	}
	if st.Messages == 0 {
		return
	}
	n = 0
	for _, err := range f.Commits(h.ctx, eventlog.OfKey("k1")) {
		if err != nil {
			h.Fatal(err)
		}
		n++
	}
	c, ok, err := f.Head(h.ctx, "k1")
	if err != nil || !ok || n != 5 || c.Key != "k1" {
		h.Errorf("%d of the key; head %v, %v, %v", n, c, ok, err)
	}
}

func (h *permitTest) readAll() {
	f := h.feed()
	n := 0
	for _, err := range f.Commits(h.ctx) {
		if err != nil {
			h.Fatal(err)
		}
		n++
	}
	if n != muchOf {
		h.Errorf("%d commits", n)
	}
}

func (h *permitTest) append() {
	f := h.feed()
	must(f.Append(h.ctx, "k", eventlog.ExpectNew, blob{"x"}))(h)
	d := eventlog.Draft{Key: "k1", ID: "an-id", Events: []any{blob{"x"}}}
	first := must(f.AppendDraft(h.ctx, d))(h)
	if again := must(f.AppendDraft(h.ctx, d))(h); again != first {
		h.Errorf("%v, %v", first, again)
	}
}

// mark waits until another one finds how far the feed went.
func (h *permitTest) mark() {
	h.append()
	js := h.root()
	await(h.ctx, h, "the mark", func() bool {
		kv, err := js.KeyValue(h.ctx, h.app+"_marks")
		if err != nil {
			return false
		}
		e, err := kv.Get(h.ctx, "accounts")
		return err == nil && len(e.Value()) > 0
	})
}

func (h *permitTest) root() jetstream.JetStream {
	h.Helper()
	nc := must(nats.Connect(h.url, nats.UserInfo("root", "x")))(h)
	h.Cleanup(nc.Close)
	if h.domain != "" {
		return must(jetstream.NewWithDomain(nc, h.domain))(h)
	}
	return must(jetstream.New(nc))(h)
}

func (h *permitTest) update() {
	f := h.feed(eventlog.Repair())
	must(f.AppendTransaction(h.ctx, eventlog.Transaction{Drafts: []eventlog.Draft{
		{Key: "t1", Events: []any{blob{"x"}}, Tags: []string{"red"}}, {Key: "t2", Events: []any{blob{"x"}}},
	}}))(h)
	h.imports(f)
}

func (h *permitTest) importSlowly() { h.imports(h.feed()) }

func (h *permitTest) imports(f *eventlog.Feed) {
	r, err := f.Import(h.ctx, func(yield func(eventlog.Draft, error) bool) {
		for i := range 100 {
			if !yield(eventlog.Draft{Key: "i", ID: fmt.Sprint("i", i), Events: []any{blob{"x"}}}, nil) {
				return
			}
		}
	}, eventlog.ImportOptions{})
	if err != nil || r.Appended != 100 {
		h.Errorf("import: %+v, %v", r, err)
	}
}

// table starts what is projected; appended are so many more of key k.
func (h *permitTest) start() (*projection.Runtime, *projection.Table[string, int], *eventlog.Feed) {
	h.Helper()
	f := h.feed()
	count := projection.NewTable[string, int]("count", projection.Version(1))
	projection.On(count, f, func(tx *projection.Tx[string, int], e eventlog.Event, _ blob) error {
		tx.Put(e.Key, tx.Value(e.Key)+1)
		return nil
	})
	return must(projection.Start(h.ctx, h.log, count))(h), count, f
}

// project derives, saves, and derives once more from the snapshot.
func (h *permitTest) project() {
	for round := range 6 {
		rt, count, f := h.start()
		for range 10 {
			if err := rt.Wait(h.ctx, must(f.Append(h.ctx, "k", eventlog.ExpectAny, blob{"x"}))(h)); err != nil {
				h.Fatal(err)
			}
		}
		if err := rt.Close(); err != nil {
			h.Fatal(err)
		}
		m := rt.Metrics()[0]
		if n, _ := count.Get("k"); n != 10*(round+1) || (round > 0 && m.Recovery.Source != projection.FromSnapshot) || m.Snapshots.Saves == 0 {
			h.Errorf("round %d: %d, %+v", round, n, m)
		}
	}
}

func (h *permitTest) restored() {
	rt, count, _ := h.start()
	if n, _ := count.Get("k"); n != 60 || rt.Metrics()[0].Recovery.Source != projection.FromSnapshot {
		h.Errorf("%d, %+v", n, rt.Metrics()[0].Recovery)
	}
	if err := rt.Close(); err != nil {
		h.Fatal(err)
	}
}

func (h *permitTest) trim() {
	rt, _, f := h.start()
	if err := rt.Wait(h.ctx, must(f.Append(h.ctx, "k", eventlog.ExpectAny, blob{"x"}))(h)); err != nil {
		h.Fatal(err)
	}
	if r, err := rt.Compact(h.ctx, projection.CompactOptions{}); err != nil || !r.Feeds[0].Trimmed {
		h.Errorf("compact: %+v, %v", r, err)
	}
	if err := rt.Close(); err != nil {
		h.Fatal(err)
	}
}

// stray puts something into the feed that is no commit.
func (h *permitTest) stray() {
	h.fill()
	must(h.log.JetStream().Publish(h.ctx, h.app+".accounts.stray", []byte("?")))(h)
}

func (h *permitTest) pass() {
	f := h.feed()
	st := must(f.State(h.ctx))(h)
	if err := f.Pass(h.ctx, eventlog.Note{Reason: "stray"}, st.Last); err != nil {
		h.Error(err)
	}
}

func (h *permitTest) erase() {
	f := h.feed()
	if _, err := f.Erase(h.ctx, eventlog.Note{Reason: "asked for"}, "k0", 5); err != nil {
		h.Error(err)
	}
}

func (h *permitTest) delete() {
	if err := h.log.DeleteStream(h.ctx, h.app+"_accounts"); err != nil {
		h.Error(err)
	}
}

func (h *permitTest) letters() *effect.Outbox[letter] {
	h.Helper()
	f := h.feed()
	letters := must(effect.New[letter](h.ctx, h.log, "letters", 1))(h)
	effect.On(letters, f, func(tx *effect.Tx[letter], e eventlog.Event, _ blob) error {
		tx.Want("", letter{To: e.Key})
		return nil
	})
	return letters
}

func (h *permitTest) outbox() {
	h.letters()
	h.fill()
}

func (h *permitTest) carry() {
	letters := h.letters()
	rt := must(projection.Start(h.ctx, h.log, letters))(h)
	ctx, cancel := context.WithCancel(h.ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- letters.Run(ctx, func(context.Context, effect.Effect[letter]) error { return nil }, effect.Options{})
	}()
	await(h.ctx, h, "outcomes", func() bool { return letters.Pending() == 0 })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		h.Error(err)
	}
	if err := rt.Close(); err != nil {
		h.Error(err)
	}
}

func (h *permitTest) others() {
	must(h.log.JetStream().CreateStream(h.ctx, jetstream.StreamConfig{Name: "others", Subjects: []string{"others.>"}, AllowDirect: true}))(h)
	for i := range 5 {
		must(h.log.JetStream().Publish(h.ctx, fmt.Sprint("others.", i), []byte(`{}`)))(h)
	}
}

func (h *permitTest) adopt() {
	f := must(h.log.Adopt(h.ctx, "theirs", eventlog.Adoption{Stream: "others", Layouts: []eventlog.Layout{{Subject: "others.{id}", Type: "blob"}}}, eventlog.Type[blob]("blob")))(h)
	n := 0
	for _, err := range f.Commits(h.ctx) {
		if err != nil {
			h.Fatal(err)
		}
		n++
	}
	for _, err := range f.Commits(h.ctx, eventlog.OfKey("3")) {
		if err != nil {
			h.Fatal(err)
		}
		n++
	}
	if n != 6 {
		h.Errorf("%d commits", n)
	}
}

func (h *permitTest) save() {
	m := must(backup.Save(h.ctx, h.log, h.dir+"/saved"))(h)
	if len(m.Notes) > 0 {
		h.Errorf("%v", m.Notes)
	}
}

func (h *permitTest) saveAndLose() {
	h.project()
	h.save()
	for name := range h.log.JetStream().StreamNames(h.ctx).Name() {
		if strings.HasPrefix(name, h.app+"_") || strings.HasPrefix(name, "KV_"+h.app+"_") {
			if err := h.log.JetStream().DeleteStream(h.ctx, name); err != nil {
				h.Error(err)
			}
		}
	}
}

func (h *permitTest) restore() { must(backup.Restore(h.ctx, h.log, h.dir+"/saved"))(h) }
