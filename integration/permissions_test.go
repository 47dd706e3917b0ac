//go:build integration

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// What docs/operations.md lists for a writer with projections and snapshots
// of application "a" with feed "accounts", which exists already.
var projecting = []string{
	"$JS.API.INFO",
	"$JS.API.STREAM.INFO.a_accounts", "$JS.API.STREAM.MSG.GET.a_accounts", "$JS.API.STREAM.MSG.GET.KV_a_feeds",
	"$JS.API.CONSUMER.CREATE.a_accounts.>", "$JS.API.CONSUMER.MSG.NEXT.a_accounts.*", "$JS.API.CONSUMER.DELETE.a_accounts.*",
	"a.accounts.>",
	"$JS.API.STREAM.INFO.KV_a_snapshots", "$JS.API.STREAM.CREATE.KV_a_snapshots", "$JS.API.STREAM.MSG.GET.KV_a_snapshots",
	"$JS.API.DIRECT.GET.KV_a_snapshots.>", "$JS.API.STREAM.PURGE.KV_a_snapshots",
	"$JS.API.CONSUMER.CREATE.KV_a_snapshots.>", "$JS.API.CONSUMER.DELETE.KV_a_snapshots.*", "$JS.FC.KV_a_snapshots.>",
	"$KV.a_snapshots.>",
	"$JS.API.STREAM.INFO.KV_a_leases", "$JS.API.STREAM.CREATE.KV_a_leases", "$JS.API.STREAM.MSG.GET.KV_a_leases", "$KV.a_leases.>",
	"$JS.API.STREAM.INFO.KV_a_dependants", "$JS.API.STREAM.CREATE.KV_a_dependants", "$JS.API.STREAM.MSG.GET.KV_a_dependants", "$KV.a_dependants.>",
	"$JS.API.STREAM.PURGE.a_accounts",
}

// The permissions that the manual lists are enough to append, to project, to
// save and to restore.
func TestProjectingPrivileges(t *testing.T) {
	ctx := limited(t, time.Minute)
	quoted := `"` + strings.Join(projecting, `", "`) + `"`
	s := natstest.Start(t, fmt.Sprintf(`authorization { users: [
		{ user: root, password: x },
		{ user: some, password: x, permissions: { publish: [ %s ], subscribe: [ "_INBOX.>" ] } } ] }`, quoted))
	open := func(user string) (*eventlog.Log, *eventlog.Feed) {
		log := must(eventlog.Open(ctx, eventlog.Options{App: "a", URL: s.URL(), User: user, Password: "x"}))(t)
		return log, must(log.Feed(ctx, "accounts", eventlog.Type[blob]("blob")))(t)
	}
	log, _ := open("root")
	log.Close()
	for round := range 2 {
		log, feed := open("some")
		count := projection.NewTable[string, int]("count", projection.Version(1))
		projection.On(count, feed, func(tx *projection.Tx[string, int], e eventlog.Event, _ blob) error {
			tx.Put(e.Key, tx.Value(e.Key)+1)
			return nil
		})
		rt := must(projection.Start(ctx, log, count))(t)
		for range 10 {
			pos := must(feed.Append(ctx, "k", eventlog.ExpectAny, blob{"x"}))(t)
			if err := rt.Wait(ctx, pos); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := rt.Compact(ctx, projection.CompactOptions{}); err != nil || (round == 0) != r.Feeds[0].Trimmed { // then its fallback holds the log
			t.Errorf("compact: %+v, %v", r, err)
		}
		if err := rt.Close(); err != nil {
			t.Fatal(err)
		}
		m := rt.Metrics()[0]
		if n, _ := count.Get("k"); n != 10*(round+1) || (round > 0 && m.Recovery.Source != projection.FromSnapshot) {
			t.Errorf("round %d: %d, %+v", round, n, m.Recovery)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
