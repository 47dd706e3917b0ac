package timeframe

import (
	"fmt"
	"testing"
)

func BenchmarkTimeframe(b *testing.B) {
	for _, feeds := range []int{1, 4, 32} {
		var at Timeframe
		for i := range feeds {
			at, _ = at.With(fmt.Sprintf("feed-%02d", i), 1_000_000)
		}
		last := fmt.Sprintf("feed-%02d", feeds-1)
		b.Run(fmt.Sprintf("op=advance/feeds=%d", feeds), func(b *testing.B) {
			b.ReportAllocs()
			for now, seq := at, uint64(1_000_000); b.Loop(); {
				seq++
				now, _ = now.Advance(last, seq)
			}
		})
		b.Run(fmt.Sprintf("op=covers/feeds=%d", feeds), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				at.Covers(at)
			}
		})
		data, _ := at.MarshalBinary()
		b.Run(fmt.Sprintf("op=decode/feeds=%d", feeds), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var got Timeframe
				_ = got.UnmarshalBinary(data)
			}
		})
	}
}
