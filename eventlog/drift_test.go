package eventlog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// settings creates a stream as a feed would, but for the change.
func settings(t testing.TB, log *eventlog.Log, name string, change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	t.Helper()
	c := jetstream.StreamConfig{
		Name: log.App() + "_" + name, Subjects: []string{log.App() + "." + name + ".>"}, Discard: jetstream.DiscardNew,
		Duplicates: 30 * time.Second, AllowDirect: true, AllowAtomicPublish: true, AllowBatchPublish: true, DenyDelete: true,
		Metadata: map[string]string{"tidemark-app": log.App(), "tidemark-feed": name, "tidemark-format": "1", "tidemark-incarnation": "x"},
	}
	change(&c)
	if _, err := log.JetStream().CreateStream(t.Context(), c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

type driftCase struct {
	setting string
	refused bool
	change  func(c *jetstream.StreamConfig)
	repair  bool
}

var driftCases = []driftCase{
	{"retention", true, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, false},
	{"max_age", true, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, false},
	{"max_msgs", true, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 10, jetstream.DiscardOld }, false},
	{"max_bytes", true, func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1000, jetstream.DiscardOld }, false},
	{"max_msgs_per_subject", true, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10 }, false},
	{"no_ack", true, func(c *jetstream.StreamConfig) {
		c.NoAck, c.AllowAtomicPublish, c.AllowBatchPublish = true, false, false
	}, false},
	{"persist_mode", true, func(c *jetstream.StreamConfig) {
		c.PersistMode, c.AllowAtomicPublish, c.AllowBatchPublish = jetstream.AsyncPersistMode, false, false
	}, false},
	{"storage", true, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, false},
	{"allow_msg_counter", true, func(c *jetstream.StreamConfig) { c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld }, false},
	{"max_msgs", false, func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }, false},
	{"max_bytes", false, func(c *jetstream.StreamConfig) { c.MaxBytes = 1000 }, false},
	{"max_msgs_per_subject", false, func(c *jetstream.StreamConfig) {
		c.MaxMsgsPerSubject, c.MaxMsgs, c.DiscardNewPerSubject = 10, 100, true
	}, false},
	{"discard", false, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, true},
	{"sealed", false, nil, false},
	{"max_msg_size", false, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, true},
	{"max_consumers", false, func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 }, false},
	{"consumer_limits", false, func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second }, false},
	{"allow_direct", false, func(c *jetstream.StreamConfig) { c.AllowDirect = false }, true},
	{"deny_delete", false, func(c *jetstream.StreamConfig) { c.DenyDelete = false }, true},
	{"deny_purge", false, func(c *jetstream.StreamConfig) { c.DenyPurge = true }, false},
	{"allow_rollup_hdrs", false, func(c *jetstream.StreamConfig) { c.AllowRollup = true }, true},
	{"allow_msg_ttl", false, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, false},
	{"subject_delete_marker_ttl", false, func(c *jetstream.StreamConfig) {
		c.SubjectDeleteMarkerTTL, c.AllowMsgTTL, c.AllowRollup = time.Minute, true, true
	}, false},
	{"allow_msg_schedules", false, func(c *jetstream.StreamConfig) {
		c.AllowMsgSchedules, c.AllowRollup, c.Discard = true, true, jetstream.DiscardOld
	}, false},
	{"first_seq", false, func(c *jetstream.StreamConfig) { c.FirstSeq = 7 }, false},
	{"republish", false, func(c *jetstream.StreamConfig) {
		c.RePublish = &jetstream.RePublish{Source: ">", Destination: "copy.>"}
	}, false},
	{"duplicate_window", false, func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, true},
	{"duplicate_window", false, func(c *jetstream.StreamConfig) { c.Duplicates = time.Hour }, false},
	{"", false, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish, c.AllowBatchPublish = false, false }, false},
	{"", false, func(c *jetstream.StreamConfig) {
		c.Description, c.Compression, c.AllowBatchPublish, c.Metadata["mine"] = "mine", jetstream.S2Compression, true, "x"
	}, false},
}

// Each setting that differs is refused, reported or repaired; the stream is
// left as it is unless the option says otherwise.
func TestDrift(t *testing.T) {
	ctx := logtest.Context(t)
	o := logtest.Options(t)
	log := logtest.Open(t, o)
	for i, c := range driftCases {
		t.Run(fmt.Sprint(c.setting, "/", i), func(t *testing.T) {
			name := fmt.Sprintf("f%d", i)
			if c.change == nil { // sealed: only an update can do that
				settings(t, log, name, func(*jetstream.StreamConfig) {})
				cfg := streamConfig(t, log, name)
				cfg.Sealed = true
				if _, err := log.JetStream().UpdateStream(ctx, cfg); err != nil {
					t.Fatal(err)
				}
			} else {
				settings(t, log, name, c.change)
			}
			before := streamConfig(t, log, name)
			f, err := log.Feed(ctx, name, eventlog.Type[opened]("opened"))
			if c.refused {
				wantErr(t, err, eventlog.ErrUnsafe, c.setting+" is")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ds := f.Drift()
			at := slices.IndexFunc(ds, func(d eventlog.Drift) bool { return strings.HasPrefix(d.Setting, c.setting) })
			switch {
			case c.setting == "" && len(ds) > 0:
				t.Errorf("drift %v", ds)
			case c.setting != "" && (at < 0 || ds[at].Refused || ds[at].Repairable != c.repair):
				t.Errorf("drift %v", ds)
			}
			if after := streamConfig(t, log, name); !bytes.Equal(asJSON(t, after), asJSON(t, before)) {
				t.Errorf("the stream was changed: %+v", after)
			}
			if err := f.Check(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func streamConfig(t testing.TB, log *eventlog.Log, feed string) jetstream.StreamConfig {
	t.Helper()
	s, err := log.JetStream().Stream(t.Context(), log.App()+"_"+feed)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

// Repair sets right what can be repaired, and refuses what it can't.
func TestRepair(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Fresh(t)
	for i, c := range driftCases {
		if c.change == nil {
			continue
		}
		name := fmt.Sprintf("f%d", i)
		settings(t, log, name, c.change)
		f, err := log.Feed(ctx, name, eventlog.Repair())
		if c.refused {
			wantErr(t, err, eventlog.ErrUnsafe)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.setting, err)
			continue
		}
		for _, d := range f.Drift() {
			if d.Repairable {
				t.Errorf("%s: left: %v", c.setting, d)
			}
		}
	}
}

// What an operator does to a live stream shows in Drift, Check and Healthy,
// and is logged once.
func TestDriftWhileOpen(t *testing.T) {
	ctx := logtest.Context(t)
	var out bytes.Buffer
	o := logtest.Options(t)
	o.Logger = zerolog.New(zerolog.SyncWriter(&out)).Level(zerolog.WarnLevel)
	log := logtest.Open(t, o)
	f := accounts(t, log)
	if ds := f.Drift(); len(ds) > 0 {
		t.Errorf("a new stream: %v", ds)
	}
	reconfigure(t, f, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 100, jetstream.DiscardOld })
	wantErr(t, log.Healthy(ctx), eventlog.ErrUnsafe, "max_msgs is 100, not none")
	err := f.Check(ctx)
	wantErr(t, err, eventlog.ErrUnsafe, "old events would be dropped")
	reconfigure(t, f, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = -1, jetstream.DiscardNew })
	if err := f.Check(ctx); err != nil || len(f.Drift()) > 0 {
		t.Errorf("set right: %v", err)
	}
	if n := strings.Count(out.String(), `"setting":"max_msgs"`); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &out)
	}
}
