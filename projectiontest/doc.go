// Package projectiontest tests projections, deciders, effects and process
// managers without a server, in microseconds, by the code that runs them.
//
//	accounts := projectiontest.Feed(t, "accounts", eventlog.Type[Deposited]("deposited"))
//	balances := newBalances(accounts)
//	k := projectiontest.New(t, balances)
//	k.Given(accounts, "ada", Deposited{10})
//	k.When(accounts, "ada", Deposited{5}).
//		Then(projectiontest.Row(balances, "ada", 15))
//
// What it holds a handler's duties against:
//
//   - Interleavings: a table that reads several feeds comes to the same state
//     however their commits are interleaved; else the smallest example.
//   - Deterministic: the same commits give the same rows and changes, at
//     another time, on other maps.
//   - Recorded: where the rows that a history leads to have changed, the
//     version has been raised.
//
// docs/testing.md.
package projectiontest
