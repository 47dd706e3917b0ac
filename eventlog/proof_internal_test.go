package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
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
