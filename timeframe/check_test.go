package timeframe

import (
	"strings"
	"testing"
)

// The state was derived from incarnation "i1" up to 100, with older anchors at
// 80 and 50. Messages print as their own sequence.
var derived = Lineage{Incarnation: "i1", Anchors: []Anchor{
	{100, fingerprintOf(100)}, {80, fingerprintOf(80)}, {50, fingerprintOf(50)},
}}

// log returns a log of "i1" with the messages at the given sequences as they
// were; a negative sequence stands for another message there.
func log(first, last uint64, messages ...int) Observed {
	o := Observed{Exists: true, Incarnation: "i1", First: first, Last: last, Prints: map[uint64]Fingerprint{}}
	for _, m := range messages {
		if m < 0 {
			o.Prints[uint64(-m)] = fingerprintOf(byte(-m), 0xff)
		} else {
			o.Prints[uint64(m)] = fingerprintOf(byte(m))
		}
	}
	return o
}

func (o Observed) of(incarnation string) Observed {
	o.Incarnation = incarnation
	return o
}

func TestCheck(t *testing.T) {
	none, bare := Lineage{}, Lineage{Incarnation: "i1"}
	const top = ^uint64(0)
	for name, c := range map[string]struct {
		l      Lineage
		seq    uint64
		o      Observed
		want   Verdict
		common uint64
		gap    bool
		reason string // a part of it
	}{
		"R3.13 stream missing":               {derived, 100, Observed{}, Diverged, 0, false, "doesn't exist"},
		"stream missing, nothing included":   {bare, 0, Observed{}, Diverged, 0, false, "doesn't exist"},
		"T3.14 created again, higher head":   {derived, 100, log(1, 500, -100, -80, -50).of("i2"), Diverged, 0, false, `"i2", and the state is from "i1"`},
		"created again, nothing included":    {bare, 0, log(1, 500).of("i2"), Diverged, 0, false, "created again"},
		"created again, even if prints fit":  {derived, 100, log(1, 500, 100, 80, 50).of("i2"), Diverged, 0, false, "created again"},
		"created again, and trimmed":         {derived, 100, log(400, 500).of("i2"), Diverged, 0, false, "created again"},
		"incarnation unknown in the log":     {derived, 100, log(1, 500, 100).of(""), Verified, 100, false, "message 100"},
		"incarnation unknown in the state":   {Lineage{Anchors: derived.Anchors}, 100, log(1, 500, 100), Verified, 100, false, "message 100"},
		"incarnation unknown, created again": {derived, 100, log(1, 500, -100, -80, -50).of(""), Diverged, 0, false, "used again"},
		"L1 tail lost":                       {derived, 100, log(1, 90, 80, 50), Diverged, 80, false, "ends at 90 and has lost its tail: the state includes 100"},
		"tail lost before 80":                {derived, 100, log(1, 60, 50), Diverged, 50, false, "ends at 60"},
		"tail lost, 80 is another":           {derived, 100, log(1, 90, -80, 50), Diverged, 50, false, "ends at 90"},
		"tail lost, no anchor fits":          {derived, 100, log(1, 90), Diverged, 0, false, "ends at 90"},
		"all lost":                           {derived, 100, log(1, 0), Diverged, 0, false, "ends at 0"},
		"all lost, never written":            {derived, 100, log(0, 0), Diverged, 0, false, "ends at 0"},
		"nothing included":                   {bare, 0, log(1, 500), Verified, 0, false, "nothing of the stream"},
		"nothing included, nothing there":    {bare, 0, log(0, 0), Verified, 0, false, "nothing of the stream"},
		"nothing included, no lineage":       {none, 0, log(1, 500), Verified, 0, false, "nothing of the stream"},
		"R3.16 gap before the first":         {bare, 0, log(2, 500), Verified, 0, true, "messages 1 to 1"},
		"same message":                       {derived, 100, log(1, 500, 100, 80, 50), Verified, 100, false, "message 100 is the one"},
		"same message, it is the last":       {derived, 100, log(1, 100, 100), Verified, 100, false, "message 100"},
		"same message, it is the first":      {derived, 100, log(100, 500, 100), Verified, 100, false, "message 100"},
		"an older anchor's state":            {derived, 80, log(1, 500, -100, 80), Verified, 80, false, "message 80"},
		"numbers used again":                 {derived, 100, log(1, 500, -100, 80, 50), Diverged, 80, false, "message 100 is another one"},
		"used again from 70 on":              {derived, 100, log(1, 500, -100, -80, 50), Diverged, 50, false, "used again"},
		"used again, 80 is gone":             {derived, 100, log(1, 500, -100, 50), Diverged, 50, false, "used again"},
		"used again from the start":          {derived, 100, log(1, 500, -100, -80, -50), Diverged, 0, false, "used again"},
		"anchor deleted inside":              {derived, 100, log(1, 500, 80, 50), Unverifiable, 80, false, "message 100 was deleted inside"},
		"anchor trimmed, next is there":      {derived, 100, log(101, 500), Unverifiable, 0, false, "message 100 was trimmed: the stream starts at 101"},
		"anchor trimmed, empty after it":     {derived, 100, log(101, 100), Unverifiable, 0, false, "starts at 101"},
		"T3.15 trimmed past the state":       {derived, 100, log(102, 500), Unverifiable, 0, true, "messages 101 to 101, which follow the state, are gone too"},
		"trimmed and empty far beyond":       {derived, 100, log(501, 500), Unverifiable, 0, true, "messages 101 to 500"},
		"deleted, an older one is another":   {derived, 100, log(1, 500, -80, 50), Diverged, 50, false, "message 80 is another one than the state includes, which goes up to 100"},
		"deleted, the oldest is another":     {derived, 100, log(1, 500, 80, -50), Diverged, 80, false, "message 50 is another one"},
		"no anchor at the sequence":          {derived, 90, log(1, 500, -100, 80, 50), Unverifiable, 80, false, "no anchor at 90"},
		"no anchor, an older one is another": {derived, 90, log(1, 500, 100, -80, 50), Diverged, 50, false, "message 80"},
		"no lineage at all":                  {none, 100, log(1, 500, 100), Unverifiable, 0, false, "no anchor at 100"},
		"no lineage, trimmed":                {none, 100, log(300, 500), Unverifiable, 0, true, "no anchor at 100; messages 101 to 299"},
		"greatest sequence":                  {Lineage{Anchors: []Anchor{{top, Fingerprint{}}}}, top, log(1, top), Unverifiable, 0, false, "deleted inside"},
	} {
		f := c.l.Check(c.seq, c.o)
		if f.Verdict != c.want || f.CommonSeq != c.common || f.Gap != c.gap || !strings.Contains(f.Reason, c.reason) {
			t.Errorf("%s: got %s, common %d, gap %t, %q", name, f.Verdict, f.CommonSeq, f.Gap, f.Reason)
		}
	}
}

// The whole of a print is compared (T3.7).
func TestCheckComparesWholePrints(t *testing.T) {
	for i := range len(Fingerprint{}) {
		o := log(1, 100, 100)
		p := o.Prints[100]
		p[i] ^= 1
		o.Prints[100] = p
		if f := derived.Check(100, o); f.Verdict != Diverged {
			t.Errorf("byte %d isn't compared: %s", i, f.Verdict)
		}
	}
}

func TestVerdictString(t *testing.T) {
	var zero Finding
	for v, want := range map[Verdict]string{
		zero.Verdict: "unverifiable", Verified: "verified", Diverged: "diverged", 9: "unknown",
	} {
		if v.String() != want {
			t.Errorf("got %s, want %s", v, want)
		}
	}
}
