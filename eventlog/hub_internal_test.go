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

// A follower that has read a message, which is trimmed then with all before it,
// is recognised by the hub that begins there.
func TestHubBeginsBehindWhatIsTrimmed(t *testing.T) {
	f := suiteFeed(t, Options{App: "suite", Memory: true})
	grow(t, f, 5, 10)
	m, ok, err := f.get(t.Context(), getRequest{Seq: 5})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	trim(t, f, 6)
	who := &member{end: math.MaxUint64, wake: make(chan struct{}, 1), pos: 5, known: markOf(&m)}
	r, err := f.hub.join(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	defer r.leave(who)
	if _, _, err := r.take(who); err != nil || who.known.seq != 0 {
		t.Errorf("not recognised: %v", err)
	}
}
