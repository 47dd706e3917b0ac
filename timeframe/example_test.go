package timeframe_test

import (
	"fmt"

	"github.com/tidemark-es/tidemark/timeframe"
)

// A reader waits until its view includes what a writer has seen.
func Example() {
	view, _ := timeframe.Parse("accounts=10,orders=9")
	seen, _ := timeframe.Parse("accounts=10,orders=10,refunds=10")
	fmt.Println(view.Covers(seen), view.Missing(seen))

	view, _ = view.Advance("orders", 10)
	view, _ = view.Advance("refunds", 10)
	fmt.Println(view.Covers(seen), view.Compare(seen))
	// Output:
	// false orders=10,refunds=10
	// true equal
}

func ExampleOf() {
	at, err := timeframe.Of(timeframe.Entry{Feed: "orders", Seq: 3}, timeframe.Entry{Feed: "accounts", Seq: 12})
	fmt.Println(at, err)
	_, err = timeframe.Of(timeframe.Entry{Feed: "Orders", Seq: 3})
	fmt.Println(err)
	// Output:
	// accounts=12,orders=3 <nil>
	// invalid name "Orders" (6 bytes): 1 to 64 of the characters a-z, 0-9 and '-' are allowed
}

func ExampleMerge() {
	a, _ := timeframe.Parse("a=1,b=1")
	b, _ := timeframe.Parse("a=2,c=1")
	fmt.Println(timeframe.Merge(a, b), timeframe.Meet(a, b), a.Compare(b))
	// Output: a=2,b=1,c=1 a=1 concurrent
}

func ExampleTimeframe_Get() {
	at, _ := timeframe.Parse("known=0")
	fmt.Println(at.Get("known"))
	fmt.Println(at.Get("absent"))
	// Output:
	// 0 true
	// 0 false
}

func ExampleTimeframe_Advance() {
	at, _ := timeframe.Parse("orders=3")
	_, err := at.Advance("orders", 3)
	fmt.Println(err)
	// Output: feed "orders" stands at 3 and can't advance to 3
}

// A state that includes 100 messages is checked against a log that lost its
// tail and wrote on: message 100 is another one now, message 80 still the same.
func ExampleLineage_Check() {
	var l timeframe.Lineage
	l = l.Push(timeframe.Anchor{Seq: 80, Print: timeframe.Fingerprint{8}})
	l = l.Push(timeframe.Anchor{Seq: 100, Print: timeframe.Fingerprint{10}})

	finding := l.Check(100, timeframe.Observed{
		Exists: true, First: 1, Last: 500,
		Prints: map[uint64]timeframe.Fingerprint{80: {8}, 100: {99}},
	})
	fmt.Println(finding.Verdict, finding.CommonSeq)
	fmt.Println(finding.Reason)
	// Output:
	// diverged 80
	// message 100 is another one than the state includes: sequence numbers were used again
}
