package fastcodec_test

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/fastcodec"
)

// The generated methods need no mention: a type that has them is encoded and
// decoded by them.
func Example() {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: "bank", Memory: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	payments, err := log.Feed(ctx, "payments", eventlog.Type[fastcodec.Paid]("paid"))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = payments.Append(ctx, "acct-42", eventlog.ExpectNew, fastcodec.Paid{Account: "acct-42", Cents: 1000})
	if err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range payments.Read(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		p, err := eventlog.Decode[fastcodec.Paid](e)
		fmt.Println(p.Account, p.Cents, err)
	}
	// Output:
	// acct-42 1000 <nil>
}
