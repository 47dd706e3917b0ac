package projectiontest_test

import (
	"testing"

	"github.com/tidemark-es/tidemark/projectiontest"
)

// In a program this is TestBalances; t is its *testing.T.
func Example() {
	t := new(testing.T)

	accounts, _ := feeds(t)
	balances := newBalances(accounts)
	k := projectiontest.New(t, balances)
	k.Given(accounts, "ada", deposited{10})
	k.When(accounts, "ada", withdrawn{4}).
		Then(projectiontest.Row(balances, "ada", 6))
	k.When(accounts, "ada", withdrawn{100}).
		Fails(errPoor)
	// Output:
}

func BenchmarkCase(b *testing.B) {
	accounts, _ := feeds(b)
	balances := newBalances(accounts)
	k := projectiontest.New(b, balances)
	for b.Loop() {
		k.Reset().Given(accounts, "ada", deposited{10})
		k.When(accounts, "ada", withdrawn{4}).Then(projectiontest.Row(balances, "ada", 6))
	}
}
