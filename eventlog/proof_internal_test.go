package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testdata/proof.txt tells what becomes of a consumer's deliveries, line by
// line: what happens, and what has to be compared then.
//
//	begin 60          a consumer is made, and the leader ends at 60
//	got 61-64         deliveries, with an x after those that the leader doesn't have
//	> compares 61     which of them are compared, and what is handed out
func TestProofScenarios(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "proof.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var p proof
	said, scenario := "", ""
	for i, line := range strings.Split(string(text), "\n") {
		what, rest, _ := strings.Cut(line, " ")
		switch what {
		case "", "#":
			scenario = line
		case "begin":
			n, err := strconv.ParseUint(rest, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			p.begin(n)
		case "got":
			said = play(t, &p, rest)
		case ">":
			if said != rest {
				t.Errorf("line %d (%s): %s, want %s", i+1, scenario, said, rest)
			}
		default:
			t.Fatalf("line %d: %q", i+1, line)
		}
	}
}

// play delivers messages as provenTail does, and says what became of them.
func play(t *testing.T, p *proof, text string) string {
	var msgs []message
	foreign := make(map[uint64]bool)
	for word := range strings.FieldsSeq(text) {
		word, bad := strings.CutSuffix(word, "x")
		from, to, ok := strings.Cut(word, "-")
		if !ok {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		b, err := strconv.ParseUint(to, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for seq := a; seq <= b; seq++ {
			msgs, foreign[seq] = append(msgs, message{seq: seq}), bad
		}
	}
	n := p.need(msgs)
	same := 0
	for same < n && !foreign[msgs[same].seq] {
		p.equal(msgs[same].seq)
		same++
	}
	said := "compares nothing"
	if n > 0 {
		said = fmt.Sprintf("compares %d to %d", msgs[0].seq, msgs[n-1].seq)
	}
	switch {
	case same < n && same == 0:
		said += ", returns none"
	case same < n:
		said += fmt.Sprintf(", returns up to %d", msgs[same-1].seq)
	default:
		said += ", returns all"
	}
	if p.proved {
		said += ", proved"
	}
	return said
}

func at(seqs ...uint64) (places []place) {
	for i, seq := range seqs {
		places = append(places, place{seq: seq, nanos: int64(i)})
	}
	return places
}

// What a look compares of what was handed out.
func TestAuditPlans(t *testing.T) {
	led, other := term{leader: "a", since: 1}, term{leader: "a", since: 2}
	first := func(int) int { return 0 }
	long := make([]place, 5000)
	for i := range long {
		long[i] = place{seq: uint64(i + 1), nanos: int64(i)}
		if i > 3210 {
			long[i].nanos += 1e9 // an election
		}
	}
	for name, c := range map[string]struct {
		now     term
		since   []place
		want    int
		include []int
	}{
		"nothing came":                             {led, nil, 0, nil},
		"one message":                              {led, at(7), 1, []int{0}},
		"the last, and one inside":                 {led, at(7, 8, 9), 2, []int{0, 2}},
		"another leader: each of a few":            {other, at(7, 8, 9), 3, []int{0, 1, 2}},
		"another leader: spread, and before pause": {other, long, auditSpread, []int{0, 3210, 4999}},
	} {
		t.Run(name, func(t *testing.T) {
			var a audit
			a.confirmed(led, mark{})
			got := a.plan(c.now, c.since, first)
			if len(got) < c.want || len(got) > c.want+auditWaits+2 {
				t.Errorf("%d are compared, want %d", len(got), c.want)
			}
			has := make(map[int]bool)
			for i, k := range got {
				if has[k] = true; i > 0 && got[i-1] >= k {
					t.Error("not in order")
				}
			}
			for _, k := range c.include {
				if !has[k] {
					t.Errorf("%d isn't among %d", k, len(got))
				}
			}
		})
	}
}

// The marks that are kept thin out with age, stay in order, and are few.
func TestAuditKeepsOlderMarks(t *testing.T) {
	var a audit
	for seq := uint64(1); seq <= 10_000; seq++ {
		a.confirmed(term{}, mark{seq: seq})
		a.confirmed(term{}, mark{seq: seq}) // again, with nothing new
		if len(a.older) > auditOlder {
			t.Fatalf("%d are kept", len(a.older))
		}
		for i := 1; i < len(a.older); i++ {
			if a.older[i-1].seq >= a.older[i].seq || a.older[i].seq >= a.sure.seq {
				t.Fatalf("not in order: %v", a.older)
			}
		}
	}
	if a.sure.seq != 10_000 || a.older[0].seq != 1 || a.older[len(a.older)-1].seq != 9_999 {
		t.Errorf("sure %d, older %d to %d", a.sure.seq, a.older[0].seq, a.older[len(a.older)-1].seq)
	}
}

// A message proves only what was appended after the floor, and what was proved
// stays so until there is another leader.
func TestProofBeginsAboveTheFloor(t *testing.T) {
	var p proof
	for _, step := range []struct {
		floor, equal uint64
		want         bool
	}{
		{60, 59, false}, {60, 60, false}, {60, 61, true}, {60, 5, true}, {60, 60, true}, {70, 70, false}, {70, 71, true}, {0, 0, false}, {0, 1, true},
	} {
		if step.floor != p.floor {
			p.begin(step.floor)
		}
		if p.equal(step.equal); p.proved != step.want {
			t.Errorf("%+v: proved %v", step, p.proved)
		}
	}
}

// A first look knows no leadership that could have changed; each later one
// compares the term with that of the look before.
func TestAuditSeesAnotherLeadership(t *testing.T) {
	led, other := term{leader: "a", since: 1}, term{leader: "b", since: 1}
	var a audit
	if a.changed(led) || a.changed(term{}) {
		t.Error("a first look sees a change")
	}
	a.confirmed(led, mark{seq: 5})
	if a.changed(led) || !a.changed(other) || !a.changed(term{leader: "a", since: 2}) {
		t.Error("after a look under a leadership")
	}
	a.confirmed(other, mark{seq: 5}) // nothing new came, and yet the term is known
	if a.changed(other) || !a.changed(led) {
		t.Error("after a look under another one, of nothing new")
	}
}

// A look compares exactly the last message and the one that chance picks; under
// another leadership evenly spread ones, and those before the longest pauses.
func TestAuditComparesExactly(t *testing.T) {
	led, other := term{leader: "a", since: 1}, term{leader: "a", since: 2}
	since := make([]place, 4*auditSpread)
	for i := range since {
		since[i] = place{seq: uint64(i + 1), nanos: int64(i)}
	}
	var long []int // none is among those that are spread evenly
	for i := range auditWaits {
		long = append(long, 9+100*i)
		for j := 10 + 100*i; j < len(since); j++ {
			since[j].nanos += 1e9
		}
	}
	var spread []int
	for i := range auditSpread {
		spread = append(spread, 4*i)
	}
	for name, c := range map[string]struct {
		now   term
		since []place
		pick  int
		want  [][]int
	}{
		"few":               {led, since[:10], 3, [][]int{{3, 9}}},
		"chance, and last":  {led, since, 77, [][]int{{77, len(since) - 1}}},
		"the last, twice":   {led, since[:10], 9, [][]int{{9}}},
		"another leader":    {other, since, 77, [][]int{spread, long, {77, len(since) - 1}}},
		"another, of a few": {other, since[:3], 1, [][]int{{0, 1, 2}}},
	} {
		var a audit
		a.confirmed(led, mark{})
		want := map[int]bool{}
		for _, is := range c.want {
			for _, i := range is {
				want[i] = true
			}
		}
		got := a.plan(c.now, c.since, func(n int) int {
			if n != len(c.since) {
				t.Errorf("%s: chance picks of %d", name, n)
			}
			return c.pick
		})
		if !slices.Equal(got, sortedKeys(want)) {
			t.Errorf("%s: %v, want %v", name, got, sortedKeys(want))
		}
	}
}

// The first marks are kept as they come; with one too many, every other one of
// the older half goes, and no more.
func TestAuditThinsTheOlderHalf(t *testing.T) {
	var a audit
	var want []uint64
	older := func() (seqs []uint64) {
		for _, m := range a.older {
			seqs = append(seqs, m.seq)
		}
		return seqs
	}
	for seq := uint64(1); seq <= auditOlder+1; seq++ {
		a.confirmed(term{}, mark{seq: seq})
		if got := older(); !slices.Equal(got, want) {
			t.Fatalf("at %d: %v, want %v", seq, got, want)
		}
		want = append(want, seq)
	}
	a.confirmed(term{}, mark{seq: auditOlder + 2})
	for i := auditOlder/2 - 1; i > 0; i -= 2 {
		want = slices.Delete(want, i, i+1)
	}
	if got := older(); !slices.Equal(got, want) || len(got) != auditOlder+1-auditOlder/4 {
		t.Errorf("%v, want %v", got, want)
	}
}
