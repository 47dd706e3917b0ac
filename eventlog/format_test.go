package eventlog_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// raw stores a payload of a known size, so that what is around it shows.
type raw struct{ B []byte }

// The overhead that docs/format-commit.md states, as the server counts it.
func TestFormatOverhead(t *testing.T) {
	ctx := logtest.Context(t)
	log := logtest.Embedded(t)
	page, err := os.ReadFile("../docs/format-commit.md")
	if err != nil {
		t.Fatal(err)
	}
	const commits = 100
	for i, perCommit := range []int{1, 2, 10, 100} {
		f, err := log.Feed(ctx, fmt.Sprint("feed", i), eventlog.Type[raw]("deposited"))
		if err != nil {
			t.Fatal(err)
		}
		var events []any
		for range perCommit {
			events = append(events, raw{make([]byte, 200)})
		}
		one, err := eventlog.MsgPack.Append(nil, events[0])
		if err != nil {
			t.Fatal(err)
		}
		for range commits {
			if _, err := f.Append(ctx, "acct-0042", eventlog.ExpectAny, events...); err != nil {
				t.Fatal(err)
			}
		}
		st, err := f.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		over := int(st.Bytes) - commits*perCommit*len(one)
		// The application's name, random in length, isn't part of it.
		over -= commits * len(log.App())
		row := fmt.Sprintf("| %d | %.1f |", perCommit, float64(over)/float64(commits*perCommit))
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/format-commit.md has no row %q", row)
		}
	}
}

// The fingerprint of a message is the same however it is read: by a consumer,
// and by the leader's answer to a request.
func TestFingerprintByEverySource(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	for i, d := range []eventlog.Draft{
		{Key: "k", Events: []any{opened{"Ada"}}},
		{Key: "😀 *", Events: []any{opened{"Ada"}, deposited{1}}, ID: "me/1", Causation: "c\xff"},
		{Key: "k", Expect: eventlog.ExpectSeq(1), Events: []any{deposited{7}}, Header: map[string]string{"b": "", "a": "x  y", "Z": "<&>"}},
	} {
		if at, err := f.AppendDraft(ctx, d); err != nil || at.Seq != uint64(i+1) {
			t.Fatal(at, err)
		}
	}
	observed, err := f.Observe(ctx, 1, 2, 3, 4)
	if err != nil || len(observed.Prints) != 3 || !observed.Exists || observed.Incarnation != f.Incarnation() {
		t.Fatalf("observed %+v, %v", observed, err)
	}
	for c, err := range f.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		byGet, ok, err := f.Lookup(ctx, c.Seq)
		if err != nil || !ok || byGet.Fingerprint() != c.Fingerprint() || !byGet.Time.Equal(c.Time) || observed.Prints[c.Seq] != c.Fingerprint() {
			t.Errorf("commit %d: %v and %v, observed %v; %v", c.Seq, c.Fingerprint(), byGet.Fingerprint(), observed.Prints[c.Seq], err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(c.Fingerprint().String()) {
			t.Errorf("fingerprint %s", c.Fingerprint())
		}
	}
}
