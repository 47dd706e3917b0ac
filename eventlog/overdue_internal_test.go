package eventlog

import (
	"slices"
	"testing"
	"time"
)

func TestLull(t *testing.T) {
	var l lull
	now := time.Unix(0, 0)
	var looks []int
	for s := range 100 {
		if l.due(7, now.Add(time.Duration(s)*time.Second)) {
			looks = append(looks, s)
		}
	}
	if want := []int{0, 1, 3, 7, 15, 31, 61, 91}; !slices.Equal(looks, want) {
		t.Errorf("looks at %v, want %v", looks, want)
	}
	if !l.due(8, now) || l.due(8, now) {
		t.Error("a message doesn't begin it anew")
	}
}

// What the leader has and the consumer holds back is taken from the leader,
// and reading goes on after it.
func TestTailTakesWhatIsHeldBack(t *testing.T) {
	ctx := t.Context()
	log, err := Open(ctx, Options{App: "a", Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f, err := log.Feed(ctx, "accounts", Type[goldenOpened]("opened"))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := f.Append(ctx, "k", ExpectAny, goldenOpened{"Ada"}); err != nil {
			t.Fatal(err)
		}
	}
	tl, err := f.openTail(ctx, 5, mark{}, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer tl.close()
	tl.mu.Lock()
	tl.got, tl.last = 3, message{} // as if 4 and 5 had not come
	tl.mu.Unlock()
	var got []uint64
	for len(got) < 2 {
		msgs, err := tl.next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range msgs {
			got = append(got, msgs[i].seq)
		}
	}
	if got[0] != 4 || got[1] != 5 {
		t.Errorf("got %v", got)
	}
}
