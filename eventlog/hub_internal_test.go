package eventlog

import (
	"math"
	"testing"
)

// A follower of a key that begins at the log's end isn't told what it has by a
// hub that hasn't come so far yet.
func TestHubLagsBehindAKey(t *testing.T) {
	r := &hubRun{h: new(hub), keyed: make(map[string]map[*member]struct{})}
	m := &member{subject: "k", end: math.MaxUint64, pos: 2, wake: make(chan struct{}, 1)}
	r.add(m)
	for seq := uint64(1); seq <= 3; seq++ {
		msg := message{seq: seq, subject: "k"}
		r.put(msg)
		r.tell([]message{msg})
		got, _, err := r.take(m)
		if err != nil || len(got) != max(0, int(seq)-2) {
			t.Errorf("at %d: %d messages, %v", seq, len(got), err)
		}
	}
}
