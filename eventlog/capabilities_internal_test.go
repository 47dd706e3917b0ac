package eventlog

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// What can be done follows from what the leader returns, and from its version;
// what isn't known isn't done.
func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		leader, connected string // versions; "" for one that doesn't say
		atomic, ingest    bool   // as returned
		want              string
	}{
		{"2.15.2", "2.15.2", true, true, "direct atomic ingest archive"},
		{"2.15.2", "2.10.1", false, false, "direct archive"},
		{"2.14.0-RC.1", "2.15.2", true, true, "direct atomic ingest"},
		{"2.12.15", "2.12.15", true, true, "direct atomic"}, // it can't know the other one
		{"2.11.9", "2.15.2", true, true, "direct"},
		{"", "2.15.2", true, true, ""},  // a leader that doesn't say it is older
		{"", "2.10.27", true, true, ""}, // and so is this one
		{"dev", "dev", true, true, ""},
		{"3.0.0", "3.0.0", true, true, "direct atomic ingest archive"},
	} {
		config := jetstream.StreamConfig{AllowAtomicPublish: c.atomic, AllowBatchPublish: c.ingest, Metadata: map[string]string{}}
		if c.leader != "" {
			config.Metadata[versionKey] = c.leader
		}
		caps := capabilitiesOf(config, c.connected)
		got := ""
		for _, has := range []struct {
			name string
			so   bool
		}{{"direct", caps.release.atLeast(releaseDirect)}, {"atomic", caps.atomic}, {"ingest", caps.ingest}, {"archive", caps.release.atLeast(releaseArchive)}} {
			if has.so {
				if got != "" {
					got += " "
				}
				got += has.name
			}
		}
		if got != c.want {
			t.Errorf("leader %q, connected to %q: %q, want %q", c.leader, c.connected, got, c.want)
		}
	}
}

// A version that can't be read is that of the oldest server, not of one that is
// too old, nor of a newer one.
func TestReleaseOf(t *testing.T) {
	for version, want := range map[string]release{
		"2.12.15": {2, 12}, "v2.14.0-RC.1": {2, 14}, "2.15": {2, 15}, "3.0.0": {3, 0}, "2.9.25": {2, 9},
		"": releaseOldest, "dev": releaseOldest, "2": releaseOldest, "2.x.1": releaseOldest, "x.15.2": releaseOldest, "2.12-beta": releaseOldest,
	} {
		if got := releaseOf(version); got != want {
			t.Errorf("%q: %s, want %s", version, got, want)
		}
	}
	for leader, want := range map[string]string{"2.15.2": "2.15.2", "": "2.10"} { // connected to a newer one
		c := jetstream.StreamConfig{Metadata: map[string]string{versionKey: leader}}
		if got := capabilitiesOf(c, "2.15.2").version; got != want {
			t.Errorf("leader %q: its version is told as %q, want %q", leader, got, want)
		}
	}
	if got := capabilitiesOf(jetstream.StreamConfig{}, "2.10.27").version; got != "2.10.27" {
		t.Errorf("a leader and a server of 2.10: %q", got)
	}
}
