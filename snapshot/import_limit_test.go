package snapshot

import (
	"errors"
	"testing"

	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

// A few kilobytes of a peer's that stand for more memory than they make
// plausible aren't decompressed; who trusts the peer says how much it may be.
func TestImportRefusesAnImplausibleState(t *testing.T) {
	nc := connect(t)
	p := publish(opened(t, nc))
	p.save(t, 100, put("zeros", string(make([]byte, 80<<20))))
	if sent := p.base.Members[0].Bytes(); sent > 64<<10 {
		t.Fatalf("the chunks have %d bytes", sent)
	}
	s := opened(t, nc)
	take := func(most uint64) error {
		_, err := s.Import(t.Context(), "u", p.s.Peer(), ImportOptions{Check: upTo(1000), Limits: Limits{MaxBytes: most}})
		return err
	}
	for _, most := range []uint64{0, 70 << 20} {
		fuzzmem.Check(t, 0, 0, 48<<20, func() {
			if err := take(most); !errors.Is(err, ErrNoMatch) {
				t.Errorf("at most %d: %v", most, err)
			}
		})
	}
	if found, err := s.Candidates(t.Context(), "u"); err != nil || len(found) > 0 {
		t.Fatalf("after refusals: %v, %v", found, err)
	}
	if err := take(100 << 20); err != nil {
		t.Fatal(err)
	}
	wantNewest(t, s, 100, p.state)
}
