package eventlog_test

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

type (
	setting struct{ Value string }
	removed struct{}
)

// A KV bucket is read to its end: what was deleted and purged has no payload.
func TestAdoptBucket(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	bucket := log.App() + "_settings"
	kv, err := log.JetStream().CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, History: 5, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.JetStream().DeleteKeyValue(t.Context(), bucket) })
	put := func(key, value string) {
		t.Helper()
		if _, err := kv.Put(ctx, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("color", `{"Value":"red"}`)
	if err := kv.Delete(ctx, "color"); err != nil {
		t.Fatal(err)
	}
	put("size.x", ``)
	if err := kv.Purge(ctx, "color"); err != nil {
		t.Fatal(err)
	}
	put("size.x", `{"Value":"big"}`)
	f, err := log.Adopt(ctx, "settings", eventlog.Adoption{Stream: "KV_" + bucket, Layouts: []eventlog.Layout{{
		Subject: "$KV." + bucket + ".{key>}", TypeHeader: "KV-Operation", Type: "PUT",
	}}}, eventlog.Type[setting]("PUT"), eventlog.Type[removed]("DEL"), eventlog.Alias[removed]("PURGE"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"settings@2 color settings@2 DEL {}",
		"settings@3 size.x settings@3 PUT {Value:}",
		"settings@4 color settings@4 DEL {}",
		"settings@5 size.x settings@5 PUT {Value:big}",
	}
	got := read(t, f)
	if i := slices.IndexFunc(got, func(s string) bool { return s == want[0] }); i >= 0 {
		got = got[i:] // a purge takes what was before it
	} else {
		want = want[1:]
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The server's own markers have no type of their owner's: they are passed over,
// or told under the type that the layout gives them.
func TestAdoptMarkers(t *testing.T) {
	ctx := logtest.Context(t)
	s := newForeign(t, logtest.Fresh(t), func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true })
	s.publish("eu.42.paid", `{"Cents":70}`)
	s.publish("eu.42.paid", ``, jetstream.MarkerReasonHeader, "MaxAge")
	s.publish("eu.43.paid", `{"Cents":71}`)
	passing := s.adopt(s.layout())
	if got := read(t, passing); len(got) != 2 || passing.Metrics().Foreign == 0 {
		t.Errorf("%q, %d passed over", got, passing.Metrics().Foreign)
	}
	told := s.layout()
	told.Layouts[0].MarkerType = "expired"
	f, err := s.log.Adopt(ctx, "expiring", told, append(orderTypes(), eventlog.Type[removed]("expired"))...)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, f); len(got) != 3 || got[1] != "expiring@2 eu.42 expiring@2 expired {}" {
		t.Errorf("%q", got)
	}
}

// A feed of another application isn't read as a stranger's stream: its
// envelopes would be taken for events.
func TestAdoptAFeed(t *testing.T) {
	log := logtest.Fresh(t)
	f := accounts(t, log)
	_, err := log.Adopt(t.Context(), "others", eventlog.Adoption{Stream: f.Stream(), Layouts: []eventlog.Layout{{Subject: ">", Type: "x", KeyOf: func(eventlog.Message) (string, error) { return "k", nil }}}}, eventlog.Type[removed]("x"))
	wantErr(t, err, eventlog.ErrInvalid, log.App())
}
