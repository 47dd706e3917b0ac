package eventlog_test

import (
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/internal/racetest"
)

// Eight writers on two handles, on a stream without replicas: every history
// is linearizable.
func TestRace(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	if o.URL == "" {
		o.Listen = "127.0.0.1:-1"
	}
	log := logtest.Open(t, o)
	other := o
	if log.ClientURL() != "" {
		other = eventlog.Options{App: o.App, URL: log.ClientURL()}
	}
	var feeds []*eventlog.Feed
	for _, l := range []*eventlog.Log{log, logtest.Open(t, other)} {
		f, err := racetest.Open(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		feeds = append(feeds, f)
	}
	calls := 60
	if testing.Short() {
		calls = 15
	}
	begun := time.Now()
	tally := racetest.Run(ctx, t, feeds, 8, calls, func() bool { return true })
	t.Logf("%+v in %v", tally, time.Since(begun))
	if tally.Stored < calls || tally.Conflicts < calls || tally.Ambiguous+tally.Unavailable > 0 {
		t.Errorf("not much of a race: %+v", tally)
	}
}
