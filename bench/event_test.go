package main

import (
	"bytes"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
)

// Both types of event stand for the same bytes, of the promised size.
func TestEventTwins(t *testing.T) {
	for _, i := range []int{0, 1, 9_999, 999_999} {
		fast := eventOf(i, 10_000)
		plain := postedPlain(fast)
		a, err := eventlog.MsgPack.Append(nil, &fast)
		if err != nil {
			t.Fatal(err)
		}
		b, err := eventlog.MsgPack.Append(nil, &plain)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("event %d: fast methods %x, reflection %x", i, a, b)
		}
		if len(a) < 195 || len(a) > 205 {
			t.Errorf("event %d has %d bytes, want about 200", i, len(a))
		}
		var f posted
		var p postedPlain
		if err := eventlog.MsgPack.Decode(a, &f); err != nil || f != fast {
			t.Errorf("fast methods: %+v, %v", f, err)
		}
		if err := eventlog.MsgPack.Decode(a, &p); err != nil || p != plain {
			t.Errorf("reflection: %+v, %v", p, err)
		}
	}
}

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{3, 1, 2}), (spread{2, 1, 3}); got != want {
		t.Errorf("three: %v, want %v", got, want)
	}
	if got, want := spreadOf([]float64{4, 1}), (spread{2.5, 1, 4}); got != want {
		t.Errorf("two: %v, want %v", got, want)
	}
	xs := make([]float64, 100)
	for i := range xs {
		xs[i] = float64(100 - i)
	}
	if p50, p99 := quantile(xs, 0.5), quantile(xs, 0.99); p50 != 51 || p99 != 100 {
		t.Errorf("p50 %v, p99 %v", p50, p99)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0.0123: "0.0123", 12.34: "12.3", 999: "999", 1000: "1,000", 1234567.8: "1,234,568"} {
		if got := number(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}
