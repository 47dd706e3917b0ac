package snapshot

import (
	"fmt"
	"testing"
	"time"
)

func benchSave(b *testing.B, n int) {
	s := opened(b, connect(b))
	var m *Manifest
	m = saved(b, s, "u", m, cut(1, member("a", many(100_000, "account-", "balance of somebody")...)))
	var seq uint64 = 1
	var took time.Duration
	before := s.Stats()
	for b.Loop() {
		seq++
		changes := make([]Change, n)
		for i := range changes {
			key := uint64(i)*100_000/uint64(n) + seq%(100_000/uint64(n)) // spread evenly
			changes[i] = put(fmt.Sprintf("account-%08d", key), fmt.Sprintf("balance of somebody-%d", seq*key))
		}
		c := cut(seq, member("a", changes...))
		started := time.Now()
		m = saved(b, s, "u", m, c)
		took += time.Since(started)
	}
	after := s.Stats()
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/save")
	b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/float64(b.N), "B-written/save")
	b.ReportMetric(float64((after.SaveTime-before.SaveTime).Microseconds())/float64(b.N), "µs/save-uncompacted")
	b.ReportMetric(float64(after.Compactions-before.Compactions)/float64(b.N), "compactions/save")
}

func BenchmarkSave(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("changes=%d", n), func(b *testing.B) { benchSave(b, n) })
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, segments := range []int{1, 8} {
		for _, size := range []int{10, 100} {
			b.Run(fmt.Sprintf("keys=100000/segments=%d/value=%d", segments, size), func(b *testing.B) {
				s := opened(b, connect(b))
				value := string(fmt.Appendf(nil, "%0*d", size, 7))
				m := saved(b, s, "u", nil, cut(1, member("a", many(100_000, "account-", value)...)))
				for i := range segments - 1 {
					changes := many(1000, fmt.Sprintf("account-000%d", i), value)
					m = saved(b, s, "u", m, cut(uint64(i+2), member("a", changes...)))
				}
				if a, _ := m.Member("a"); len(a.Segments) != segments {
					b.Fatalf("%d segments", len(a.Segments))
				}
				benchLoad(b, s, m)
			})
		}
	}
}

func benchLoad(b *testing.B, s *Store, m *Manifest) {
	var keys, bytes int
	b.ReportAllocs()
	for b.Loop() {
		for c, err := range s.Load(b.Context(), m, "a") {
			if err != nil {
				b.Fatal(err)
			}
			keys++
			bytes += len(c.Key) + len(c.Value)
		}
	}
	b.ReportMetric(float64(keys)/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(float64(bytes)/1e6/b.Elapsed().Seconds(), "MB/s")
}

// BenchmarkDecode is Load without the server: what one core does.
func BenchmarkDecode(b *testing.B) {
	for _, segments := range []int{1, 8} {
		b.Run(fmt.Sprintf("keys=100000/segments=%d", segments), func(b *testing.B) {
			metas := make([]Segment, segments)
			chunks := make([][][]byte, segments)
			metas[0], chunks[0] = packed(b, many(100_000, "account-", "0000000007"), 512<<10)
			for i := 1; i < segments; i++ {
				metas[i], chunks[i] = packed(b, many(1000, fmt.Sprintf("account-000%d", i), "0000000008"), 512<<10)
			}
			keys := 0
			b.ReportAllocs()
			for b.Loop() {
				cursors := make([]*cursor, segments)
				for i := range cursors {
					cursors[i] = reading(metas[i], chunks[i], i)
				}
				for _, err := range merge(cursors, false) {
					if err != nil {
						b.Fatal(err)
					}
					keys++
				}
			}
			b.ReportMetric(float64(keys)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

// BenchmarkSegment is what writing an entry costs without the store.
func BenchmarkSegment(b *testing.B) {
	const n = 10_000
	changes := many(n, "account-", "balance of somebody")
	for b.Loop() {
		w, err := writeSegment(func(yield func(Change, error) bool) {
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
		}, 512<<10, func([]byte) error { return nil })
		if err != nil || w.entries != n {
			b.Fatal(w.entries, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/entry")
}
