package fastcodec_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/fastcodec"
	"pgregory.net/rapid"
)

// plain is Paid without its methods.
type plain fastcodec.Paid

// What the methods write, reflection reads, and the other way round; and they
// write the same bytes where numbers and maps are small, and times later than
// the start of 1970 (issue 4: "same bytes both ways").
func TestSameBothWays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		small := rapid.Bool().Draw(rt, "small")
		v := drawPaid(rt, small)
		fast, err := eventlog.MsgPack.Append(nil, &v)
		if err != nil {
			rt.Fatal(err)
		}
		slow, err := eventlog.MsgPack.Append(nil, (*plain)(&v))
		if err != nil {
			rt.Fatal(err)
		}
		if small && !bytes.Equal(fast, slow) {
			rt.Fatalf("by methods    %x\nby reflection %x", fast, slow)
		}
		for what, b := range map[string][]byte{"methods": fast, "reflection": slow} {
			var byMethods fastcodec.Paid
			var byReflection plain
			if err := eventlog.MsgPack.Decode(b, &byMethods); err != nil {
				rt.Fatalf("the methods can't read what %s wrote: %v", what, err)
			}
			if err := eventlog.MsgPack.Decode(b, &byReflection); err != nil {
				rt.Fatalf("reflection can't read what %s wrote: %v", what, err)
			}
			want := normal(v)
			if got := normal(byMethods); !reflect.DeepEqual(got, want) {
				rt.Fatalf("the methods read what %s wrote as %+v, not %+v", what, got, want)
			}
			if got := normal(fastcodec.Paid(byReflection)); !reflect.DeepEqual(got, want) {
				rt.Fatalf("reflection reads what %s wrote as %+v, not %+v", what, got, want)
			}
		}
	})
}

// normal is a payment without the differences that Go makes and the log
// doesn't: zones of times, and slices and maps that are empty or nil.
func normal(p fastcodec.Paid) fastcodec.Paid {
	p.At = p.At.UTC()
	if len(p.Proof) == 0 {
		p.Proof = nil
	}
	if len(p.Papers.Lines) == 0 {
		p.Papers.Lines = nil
	}
	if len(p.Papers.Labels) == 0 {
		p.Papers.Labels = nil
	}
	return p
}

func drawPaid(rt *rapid.T, small bool) fastcodec.Paid {
	most, labels, earliest := int64(math.MaxInt64), 5, int64(0)
	if small {
		most, labels, earliest = 127, 1, 1
	}
	cents := rapid.Int64Range(math.MinInt64, most)
	p := fastcodec.Paid{
		Account: rapid.String().Draw(rt, "account"),
		Cents:   cents.Draw(rt, "cents"),
		Rate:    rapid.Float64().Draw(rt, "rate"),
		Proof:   rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(rt, "proof"),
		At:      time.Unix(rapid.Int64Range(earliest, 1<<36).Draw(rt, "s"), rapid.Int64Range(0, 999_999_999).Draw(rt, "ns")),
		Papers: fastcodec.Papers{
			Lines: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fastcodec.Line {
				return fastcodec.Line{
					Article: rapid.String().Draw(rt, "article"), Count: rapid.Uint32().Draw(rt, "count"), Cents: cents.Draw(rt, "cents"),
					Tax: rapid.Float32().Draw(rt, "tax"), Free: rapid.Bool().Draw(rt, "free"),
				}
			}), 0, 20).Draw(rt, "lines"),
			Labels: rapid.MapOfN(rapid.String(), rapid.String(), 0, labels).Draw(rt, "labels"),
		},
	}
	if rapid.Bool().Draw(rt, "nils") {
		p.Proof, p.Papers = nil, fastcodec.Papers{}
	}
	if rapid.Bool().Draw(rt, "noted") {
		p.Note = new(rapid.String().Draw(rt, "note"))
	}
	return p
}
