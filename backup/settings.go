package backup

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// What a restored stream may be is not for the backup to say: a source, a
// mirror, a transform or a republish would carry messages in or out, a limit of
// age or another retention lose some, and no server takes a seal back. So a
// stream's settings are those that Tidemark creates such a stream with, but for
// the few that change nothing of that, which are taken as they were saved. All
// others have to be equal, field by field, whatever fields there are.

// The registers of an application: buckets, by what follows its name.
var registers = []string{"dependants", "feeds", "leases"}

const metaPrefix = "tidemark-"

// settingsOf reads saved settings. Only fields that this release knows pass.
func settingsOf(s Stream) (c jetstream.StreamConfig, err error) {
	d := json.NewDecoder(bytes.NewReader(s.Config))
	d.DisallowUnknownFields()
	if err = d.Decode(&c); err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return c, err
}

// ownSettings are those that a stream of the application is restored with.
func ownSettings(app string, s Stream, have jetstream.StreamConfig) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Name, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1,
		Metadata: make(map[string]string),
		// Without consequences for what is stored and where it goes:
		Description: have.Description, MaxMsgSize: have.MaxMsgSize, MaxConsumers: have.MaxConsumers, Duplicates: have.Duplicates,
		Compression: have.Compression, FirstSeq: have.FirstSeq, DenyDelete: have.DenyDelete, AllowDirect: have.AllowDirect,
		MirrorDirect: have.MirrorDirect, ConsumerLimits: have.ConsumerLimits, AllowAtomicPublish: have.AllowAtomicPublish,
		AllowBatchPublish: have.AllowBatchPublish,
		// The log decides (restoring.stream):
		Storage: have.Storage, Replicas: have.Replicas,
	}
	if have.Discard == jetstream.DiscardNew { // a quota: what is beyond it is refused
		c.MaxMsgs, c.MaxBytes = have.MaxMsgs, have.MaxBytes
	}
	for k, v := range have.Metadata { // of the server's, and of operators
		if !s.Feed || !strings.HasPrefix(k, metaPrefix) { // a register keeps a copy of itself there
			c.Metadata[k] = v
		}
	}
	if !s.Feed {
		bucket := strings.TrimPrefix(s.Name, "KV_")
		c.Subjects = []string{"$KV." + bucket + ".>"}
		c.AllowRollup, c.MaxMsgsPerSubject = true, min(max(1, have.MaxMsgsPerSubject), jetstream.KeyValueMaxHistory)
		return c
	}
	feed := strings.TrimPrefix(s.Name, app+"_")
	c.Subjects = []string{app + "." + feed + ".>"}
	maps.Copy(c.Metadata, map[string]string{
		metaPrefix + "format": "1", metaPrefix + "app": app, metaPrefix + "feed": feed,
		metaPrefix + "incarnation": have.Metadata[metaPrefix+"incarnation"],
	})
	if v := have.Metadata[metaPrefix+"storage"]; v == "memory" {
		c.Metadata[metaPrefix+"storage"] = v
	}
	return c
}

// deviations says which settings aren't the application's own.
func deviations(have, own jetstream.StreamConfig) (why []string) {
	for _, c := range []*jetstream.StreamConfig{&have, &own} { // one form of "no limit" and of "none"
		c.MaxMsgs, c.MaxBytes, c.MaxMsgsPerSubject = unlimited(c.MaxMsgs), unlimited(c.MaxBytes), unlimited(c.MaxMsgsPerSubject)
		if c.MaxMsgs < 0 && c.MaxBytes < 0 && c.MaxMsgsPerSubject < 0 {
			c.Discard = jetstream.DiscardNew // nothing is ever discarded
		}
		if len(c.Metadata) == 0 {
			c.Metadata = nil
		}
		if len(c.Sources) == 0 {
			c.Sources = nil
		}
	}
	h, o := reflect.ValueOf(have), reflect.ValueOf(own)
	for i := range h.NumField() {
		if reflect.DeepEqual(h.Field(i).Interface(), o.Field(i).Interface()) {
			continue
		}
		name, _, _ := strings.Cut(h.Type().Field(i).Tag.Get("json"), ",")
		name = cmp.Or(name, h.Type().Field(i).Name)
		why = append(why, fmt.Sprintf("its setting %s is %s, not %s", name, shown(h.Field(i)), shown(o.Field(i))))
	}
	return why
}

func unlimited(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

func shown(v reflect.Value) string {
	if v.IsZero() {
		return "unset"
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return "invalid"
	}
	return fmt.Sprintf("%.200q", text)
}
