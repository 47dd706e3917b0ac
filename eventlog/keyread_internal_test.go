package eventlog

import (
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/timeframe"
)

// oneKey is a feed with so many messages of one key, and that key's subject.
func oneKey(t *testing.T, n int) (f *Feed, subject string) {
	t.Helper()
	log, err := Open(t.Context(), Options{App: "keys", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	if f, err = log.Feed(t.Context(), "orders", Type[int]("int")); err != nil {
		t.Fatal(err)
	}
	if subject, err = f.Subject("a"); err != nil {
		t.Fatal(err)
	}
	for range n {
		onceMore(t, f)
	}
	return f, subject
}

func onceMore(t *testing.T, f *Feed) {
	t.Helper()
	if _, err := f.Append(t.Context(), "a", ExpectAny, 1); err != nil {
		t.Fatal(err)
	}
}

// standing is the feed's state, and the last message of the key.
func standing(t *testing.T, f *Feed, subject string) (State, message) {
	t.Helper()
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, ok, err := f.headOf(t.Context(), subject)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return st, head
}

// What is kept of a key is used only where the log still has its end, as it was,
// and, where it is a number alone, still has all that was counted.
func TestKnownHistoryOfTheLog(t *testing.T) {
	const n, first = 6, 3 // messages 3 to 6 are left
	f, subject := oneKey(t, n)
	prints := make([]timeframe.Fingerprint, n+1)
	for seq := uint64(1); seq <= n; seq++ {
		m, ok, err := f.get(t.Context(), getRequest{Seq: seq})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		prints[seq] = m.fingerprint()
	}
	trim(t, f, first)
	st, head := standing(t, f, subject)
	var another timeframe.Fingerprint
	another[0] = 1
	some := []message{{seq: first}}
	for name, c := range map[string]struct {
		seq   uint64
		print timeframe.Fingerprint
		first uint64
		msgs  []message
		used  bool
	}{
		"all of it":                        {6, prints[6], 3, some, true},
		"all, and what is trimmed":         {6, prints[6], 1, some, true},
		"another message is at its end":    {6, another, 3, some, false},
		"its end isn't the key's any more": {4, prints[4], 3, some, true},
		"another message is where it ends": {4, another, 3, some, false},
		"its end is trimmed":               {2, prints[2], 1, some, false},
		"it ends beyond the log":           {7, another, 3, some, false},
		"a number":                         {6, prints[6], 3, nil, true},
		"a number with what is trimmed":    {6, prints[6], 2, nil, false},
		"a number, and others came":        {4, prints[4], 3, nil, true},
		"a number, trimmed, others came":   {4, prints[4], 2, nil, false},
	} {
		f.keys.put(&keyHistory{subject: subject, head: mark{seq: c.seq, print: c.print}, first: c.first, n: 1, holes: f.holes(st), msgs: c.msgs})
		have, err := f.known(t.Context(), &head, st)
		if err != nil || (have != nil) != c.used {
			t.Errorf("%s: used: %t, %v", name, have != nil, err)
		}
		if left := f.keys.get(subject) != nil; left != c.used {
			t.Errorf("%s: kept: %t", name, left)
		}
	}
}

// Fewer messages than the leader has counted are an error, unless the log was
// trimmed meanwhile; and where it has lost the key's end, they are a loss.
func TestKeyReadShort(t *testing.T) {
	f, subject := oneKey(t, 6)
	st, head := standing(t, f, subject)
	short := func(head message) *keyReader {
		return &keyReader{f: f, subject: subject, st: st, head: head, want: 6, count: 5, exact: true, holes: f.holes(st)}
	}
	if err := short(head).confirm(t.Context()); !incomplete(err) {
		t.Errorf("of a log that is whole: %v", err)
	}
	beyond := head
	beyond.seq += 2
	if err := short(beyond).confirm(t.Context()); !errors.Is(err, ErrLostTail) {
		t.Errorf("of a log without its end: %v", err)
	}
	// Two are gone, and two came: the number is the same.
	trim(t, f, 3)
	onceMore(t, f)
	onceMore(t, f)
	if err := short(head).confirm(t.Context()); err != nil {
		t.Errorf("of a log that was trimmed: %v", err)
	}
}

func incomplete(err error) bool {
	_, ok := errors.AsType[*IncompleteError](err)
	return ok
}
