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

// A key that wasn't used for a generation has the same turn: two would be two
// commands at work on it at a time.
func TestTurnsOutliveGenerations(t *testing.T) {
	s := &keyShard{recent: make(map[string]*turn)}
	a := s.turn("a", 1)
	s.turn("b", 1)
	if s.turn("a", 1) != a {
		t.Error("a key that is in the older generation has another turn")
	}
	a.busy = true
	for _, other := range []string{"b", "c", "d", "e"} {
		s.turn(other, 1)
	}
	if s.turn("a", 1) != a {
		t.Error("a key at work has another turn")
	}
}

// ending is a context that has ended, and does something when that is looked at.
type ending struct {
	context.Context
	before func()
}

func (e ending) Done() <-chan struct{} {
	e.before()
	c := make(chan struct{})
	close(c)
	return c
}

// A turn that is handed over to somebody who gives up at that moment isn't lost.
func TestTurnAtTheEnd(t *testing.T) {
	k := newKeys(headsPerShard)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		first, err := k.take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if second, err := k.take(ending{ended, func() { k.give(first) }}, "a"); err == nil {
			k.give(second)
		}
		if first.busy || len(first.waiting) > 0 {
			t.Fatalf("nobody holds the key, and it is held: %+v", first)
		}
		if s := k.shard("a"); len(s.recent)+len(s.older) > 0 {
			t.Fatal("a key of which nothing is known is remembered")
		}
	}
}
