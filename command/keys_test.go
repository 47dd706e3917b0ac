package command

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestTurns(t *testing.T) {
	k := newKeys(headsPerShard)
	ctx := t.Context()
	first, err := k.take(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := k.take(ctx, "b"); err != nil {
		t.Fatal(err)
	} else {
		k.give(other)
	}
	ended, cancel := context.WithCancelCause(ctx)
	why := errors.New("why")
	cancel(why)
	if _, err := k.take(ended, "a"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	next := make(chan *turn)
	go func() {
		n, _ := k.take(ctx, "a")
		next <- n
	}()
	first.head, first.known = 7, true
	k.give(first)
	n := <-next
	if n == nil || n.head != 7 {
		t.Fatalf("got %+v", n)
	}
	k.give(n)
	if n.busy || n.waiting != nil {
		t.Errorf("the key is still held: %+v", n)
	}
	if n, err = k.take(ctx, "a"); err != nil || n.head != 7 || !n.known {
		t.Errorf("the head is forgotten: %+v, %v", n, err)
	}
	n.known = false
	k.give(n)
	if n, err = k.take(ctx, "a"); err != nil || n.known {
		t.Errorf("the head isn't forgotten: %+v, %v", n, err)
	}
}

// What is remembered is bounded; a key that a command is at work on for long
// stays that command's, however many others are used meanwhile.
func TestHeadsAreBounded(t *testing.T) {
	const most = 32
	k := newKeys(most)
	held, err := k.take(t.Context(), "held")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * keyShards * most {
		n, err := k.take(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		n.head, n.known = uint64(i), true
		k.give(n)
	}
	total := 0
	for i := range k.shards {
		s := &k.shards[i]
		if len(s.recent) > most || len(s.older) > most {
			t.Fatalf("a shard has %d and %d", len(s.recent), len(s.older))
		}
		total += len(s.recent) + len(s.older)
	}
	if total < keyShards*most {
		t.Errorf("only %d heads are known", total)
	}
	if k.shard("held").turn("held", most) != held {
		t.Error("the key that is held has another turn")
	}
}
