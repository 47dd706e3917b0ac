//go:build integration

package integration

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/natstest"
	"github.com/tidemark-es/tidemark/projection"
)

// An account that demands limits of its streams gets them, of feeds and of
// every bucket, by two options; without either the error names both.
func TestAccountDemandsMaxBytes(t *testing.T) {
	ctx := limited(t, time.Minute)
	server := natstest.Start(t, `accounts {
		A { jetstream: { max_file: 1GB, max_bytes_required: true }, users: [ { user: a, password: p } ] }
		SYS { users: [ { user: sys, password: p } ] }
	}
	system_account: SYS`)
	o := eventlog.Options{App: "limits", URL: server.URL(), User: "a", Password: "p"}
	for _, c := range [][2]int64{{0, 0}, {64 << 20, 0}, {0, 32 << 20}} {
		o.FeedMaxBytes, o.BucketMaxBytes = c[0], c[1]
		log := must(eventlog.Open(ctx, o))(t)
		_, err := openBook(ctx, log)
		if !errors.Is(err, eventlog.ErrMaxBytesRequired) || !errors.Is(err, eventlog.ErrRefused) ||
			!strings.Contains(err.Error(), "Options.FeedMaxBytes and Options.BucketMaxBytes") {
			t.Errorf("%v: %v", c, err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
	o.FeedMaxBytes, o.BucketMaxBytes = 64<<20, 32<<20
	use(ctx, t, o)
	log, book := openLog(ctx, t, o)
	if d := book.Drift(); len(d) > 0 {
		t.Errorf("drift: %v", d)
	}
	table := tallyTable(book)
	rt := must(projection.Start(ctx, log, table))(t)
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	n := 0
	for info := range log.JetStream().ListStreams(ctx).Info() {
		want := o.BucketMaxBytes
		if info.Config.Name == book.Stream() {
			want = o.FeedMaxBytes
		}
		if n++; info.Config.MaxBytes != want {
			t.Errorf("%s: %d", info.Config.Name, info.Config.MaxBytes)
		}
	}
	if n < 4 {
		t.Errorf("%d streams", n)
	}
}
