package eventlog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Drift is one setting of a feed's stream that isn't what the feed would be
// created with. docs/operations.md lists all of them.
type Drift struct {
	Setting     string // as the server names it: "max_msgs"
	Have, Want  string
	Consequence string
	// Refused: appended events would be lost, or what is stored isn't what was
	// appended. A feed isn't opened on such a stream (ErrUnsafe, ErrForeign),
	// and one that is open reports it by Check.
	Refused bool
	// Repairable: the option Repair sets it right.
	Repairable bool

	foreign bool // the stream isn't this feed's at all
}

func (d Drift) String() string {
	return fmt.Sprintf("%s is %s, not %s: %s", d.Setting, d.Have, d.Want, d.Consequence)
}

// how a drift is treated.
type verdict int

const (
	reported verdict = iota
	repairable
	unsafe
	foreign
)

// drifts collects what differs.
type drifts []Drift

func (ds *drifts) add(differs bool, v verdict, setting string, have, want any, consequence string) {
	if differs {
		*ds = append(*ds, Drift{
			Setting: setting, Have: fmt.Sprint(have), Want: fmt.Sprint(want), Consequence: consequence,
			Refused: v >= unsafe, Repairable: v == repairable, foreign: v == foreign,
		})
	}
}

// driftOf compares an existing stream's settings with those that the feed
// would be created with. What isn't named makes no difference to the feed:
// description, placement, compression, mirror_direct, more replicas than asked
// for, and what the server adds to the metadata.
func driftOf(have, want jetstream.StreamConfig) []Drift {
	var ds drifts
	ds.identity(have, want)
	ds.losing(have, want)
	ds.refusing(have, want)
	ds.removing(have)
	ds.serving(have, want)
	return ds
}

// identity is what makes a stream this feed's.
func (ds *drifts) identity(have, want jetstream.StreamConfig) {
	meta := func(key, consequence string) bool {
		h, w := have.Metadata[key], want.Metadata[key]
		ds.add(h != w, foreign, "metadata "+key, strconv.Quote(h), strconv.Quote(w), consequence)
		return h == w
	}
	if have.Metadata[metaFormat] == "" {
		ds.add(true, foreign, "metadata "+metaFormat, `""`, strconv.Quote(formatVersion), "it was not made by Tidemark")
	} else if meta(metaFormat, "this program knows format "+formatVersion+" alone") &&
		meta(metaApp, "it belongs to another application") && meta(metaFeed, "it belongs to another feed") {
		ds.add(have.Metadata[metaIncarnation] == "", foreign, "metadata "+metaIncarnation, `""`, "a random ID", "a stream that is deleted and created again couldn't be told from this one")
	}
	subjects := strings.Join(have.Subjects, " ")
	ds.add(subjects != want.Subjects[0], foreign, "subjects", strconv.Quote(subjects), strconv.Quote(want.Subjects[0]), "appends would go elsewhere, or others' messages come here")
	const other = "its messages are not what was appended"
	ds.add(have.Mirror != nil, foreign, "mirror", "set", "none", other)
	ds.add(len(have.Sources) > 0, foreign, "sources", len(have.Sources), "none", other)
	ds.add(have.SubjectTransform != nil, foreign, "subject_transform", "set", "none", other)
}

// losing are settings by which acknowledged events vanish.
func (ds *drifts) losing(have, want jetstream.StreamConfig) {
	ds.add(have.Retention != want.Retention, unsafe, "retention", have.Retention, want.Retention, "events would go when they are read")
	ds.add(have.MaxAge > 0, unsafe, "max_age", have.MaxAge, "none", "events would be dropped by their age")
	// Discarding new ones makes a limit of the whole stream a quota: appends
	// are refused, and no event is lost. The limit of a subject drops old
	// events all the same, unless discard_new_per_subject is set too.
	old := have.Discard != jetstream.DiscardNew
	limit := func(setting string, n int64, drops bool) {
		if drops {
			ds.add(n > 0, unsafe, setting, n, "none", "old events would be dropped for new ones")
		} else {
			ds.add(n > 0, reported, setting, n, "none", "appends are refused (ErrFull) when it is reached")
		}
	}
	limit("max_msgs", have.MaxMsgs, old)
	if old || have.MaxBytes != want.MaxBytes { // else it was asked for
		limit("max_bytes", have.MaxBytes, old)
	}
	limit("max_msgs_per_subject", have.MaxMsgsPerSubject, old || !have.DiscardNewPerSubject)
	ds.add(old, repairableUnless(have.AllowMsgSchedules), "discard", have.Discard, want.Discard, "a limit that is set later would drop events instead of refusing appends")
	ds.add(have.NoAck, unsafe, "no_ack", true, false, "it acknowledges nothing")
	ds.add(have.PersistMode == jetstream.AsyncPersistMode, unsafe, "persist_mode", have.PersistMode, jetstream.DefaultPersistMode, "acknowledged events are lost when the server is killed")
	ds.add(have.Storage == jetstream.MemoryStorage && want.Storage == jetstream.FileStorage && have.Metadata[metaStorage] != "memory", unsafe, "storage", have.Storage, want.Storage, "all events are lost when the servers restart")
	ds.add(have.Replicas < want.Replicas, reported, "num_replicas", have.Replicas, want.Replicas, "fewer servers keep the events than Options.Replicas says")
}

// refusing are settings by which the server refuses what the feed does.
func (ds *drifts) refusing(have, want jetstream.StreamConfig) {
	ds.add(have.AllowMsgCounter, unsafe, "allow_msg_counter", true, false, "it takes nothing but counters")
	ds.add(have.Sealed, reported, "sealed", true, false, "all appends are refused")
	ds.add(have.MaxMsgSize > 0, repairable, "max_msg_size", have.MaxMsgSize, "none", "larger commits are refused (ErrTooLarge)")
	ds.add(have.MaxConsumers > 0, reported, "max_consumers", have.MaxConsumers, "none", "more readers at a time are refused")
	inactive := have.ConsumerLimits.InactiveThreshold
	ds.add(inactive > 0 && inactive < tailInactive, reported, "consumer_limits inactive_threshold", inactive, "none", "readers are refused: they ask for "+tailInactive.String())
	ds.add(have.DenyPurge, reported, "deny_purge", true, false, "the log can't be trimmed")
}

// removing are settings that let somebody else take events away.
func (ds *drifts) removing(have jetstream.StreamConfig) {
	ds.add(!have.DenyDelete && !have.Sealed, repairable, "deny_delete", false, true, "single events can be deleted, which readers report as ErrGap")
	ds.add(have.AllowRollup, repairableUnless(needsRollup(have)), "allow_rollup_hdrs", true, false, "a message with the header Nats-Rollup removes all before it")
	ds.add(have.AllowMsgTTL, reported, "allow_msg_ttl", true, false, "a message with the header Nats-TTL expires, which readers report as ErrGap")
	ds.add(have.SubjectDeleteMarkerTTL > 0, reported, "subject_delete_marker_ttl", have.SubjectDeleteMarkerTTL, "none", "the server adds messages of its own, which can't be decoded (ErrCorrupt)")
	ds.add(have.AllowMsgSchedules, reported, "allow_msg_schedules", true, false, "the server adds scheduled messages of its own, which can't be decoded (ErrCorrupt)")
}

// serving are settings that change what the feed costs.
func (ds *drifts) serving(have, want jetstream.StreamConfig) {
	ds.add(have.FirstSeq > 1, reported, "first_seq", have.FirstSeq, "none", "the log begins there, and readers from its start see it as trimmed (ErrTrimmed)")
	ds.add(have.RePublish != nil, reported, "republish", "set", "none", "every commit is published once more, to who listens there")
	ds.add(!have.AllowDirect, repairable, "allow_direct", false, want.AllowDirect, "messages are read from the leader alone, by the nats command line too")
	ds.add(have.Duplicates < want.Duplicates, repairable, "duplicate_window", have.Duplicates, want.Duplicates, "an append without an answer is looked for and sent again for "+(have.Duplicates*2/3).Round(time.Millisecond).String()+" at most")
	ds.add(have.Duplicates > want.Duplicates, reported, "duplicate_window", have.Duplicates, want.Duplicates, "the server keeps about 200 bytes an append in memory for so long")
}

// repaired is the configuration with what Repair sets right.
func repaired(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	if !have.AllowMsgSchedules { // which the server has with discard old and rollups alone
		have.Discard = want.Discard
	}
	if !needsRollup(have) {
		have.AllowRollup = want.AllowRollup
	}
	have.MaxMsgSize = want.MaxMsgSize
	have.AllowDirect = want.AllowDirect
	if !have.Sealed {
		have.DenyDelete = want.DenyDelete
	}
	have.Duplicates = max(have.Duplicates, want.Duplicates)
	return have
}

func needsRollup(c jetstream.StreamConfig) bool {
	return c.AllowMsgSchedules || c.SubjectDeleteMarkerTTL > 0
}

// repairableUnless says how a setting is treated that another one may need.
func repairableUnless(needed bool) verdict {
	if needed {
		return reported
	}
	return repairable
}

func anyRepairable(ds []Drift) bool {
	for _, d := range ds {
		if d.Repairable {
			return true
		}
	}
	return false
}

// refusal is nil where the drift lets the feed go on.
func refusalOf(f *Feed, ds []Drift) error {
	e := &StreamError{Feed: f.name, Stream: f.stream}
	for _, d := range ds {
		if d.Refused {
			e.Drift = append(e.Drift, d)
		}
	}
	if len(e.Drift) == 0 {
		return nil
	}
	return e
}
