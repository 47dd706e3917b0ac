package projectiontest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
	"github.com/tidemark-es/tidemark/projectiontest"
)

type (
	deposited struct{ Cents int64 }
	withdrawn struct{ Cents int64 }
	audited   struct{ Note string }
)

var errPoor = errors.New("not enough")

func feeds(t testing.TB) (accounts, audits *eventlog.Feed) {
	return projectiontest.Feed(t, "accounts", eventlog.Type[deposited]("deposited"), eventlog.Type[withdrawn]("withdrawn")),
		projectiontest.Feed(t, "audits", eventlog.Type[audited]("audited"))
}

func newBalances(accounts *eventlog.Feed, opts ...projection.TableOption) *projection.Table[string, int64] {
	type tx = *projection.Tx[string, int64]
	t := projection.NewTable[string, int64]("balances", opts...)
	projection.On(t, accounts, func(t tx, e eventlog.Event, d deposited) error {
		t.Put(e.Key, t.Value(e.Key)+d.Cents)
		return nil
	})
	projection.On(t, accounts, func(t tx, e eventlog.Event, d withdrawn) error {
		left := t.Value(e.Key) - d.Cents
		switch {
		case left < 0:
			return errPoor
		case left == 0:
			t.Delete(e.Key)
		default:
			t.Put(e.Key, left)
		}
		return nil
	})
	return t
}

// recorder is a test that only notes what it is told.
type recorder struct {
	testing.TB
	said  []string
	atEnd func()
}

func (r *recorder) Helper()                   {}
func (r *recorder) Cleanup(f func())          { r.atEnd = f }
func (r *recorder) Error(a ...any)            { r.said = append(r.said, fmt.Sprint(a...)) }
func (r *recorder) Errorf(f string, a ...any) { r.said = append(r.said, fmt.Sprintf(f, a...)) }
func (r *recorder) expect(t *testing.T, w string) {
	t.Helper()
	if len(r.said) != 1 || !strings.Contains(r.said[0], w) {
		t.Errorf("it said %q, want %q", r.said, w)
	}
	r.said = nil
}

func TestKit(t *testing.T) {
	accounts, _ := feeds(t)
	balances := newBalances(accounts)
	rich := projection.Filter("rich", balances, func(_ string, v int64) bool { return v >= 100 })
	k := projectiontest.New(t, balances, rich)
	k.Given(accounts, "ada", deposited{90}).Then(projectiontest.NoRow(rich, "ada"))
	k.When(accounts, "ada", deposited{10}).Then(
		projectiontest.Row(balances, "ada", 100),
		projectiontest.Changes(balances, projectiontest.Moved[string, int64]("ada", 90, 100)),
		projectiontest.Changes(rich, projectiontest.Put[string, int64]("ada", 100)))
	// T2.4: what is done and undone within a commit is no change.
	k.When(accounts, "bob", deposited{5}, withdrawn{5}).Then(projectiontest.Changes(balances))
	k.When(accounts, "ada", withdrawn{100}).Then(
		projectiontest.Rows(balances, map[string]int64{}),
		projectiontest.Changes(rich, projectiontest.Gone[string, int64]("ada", 100)))
	k.When(accounts, "ada", deposited{1}, withdrawn{2}).Fails(errPoor, projectiontest.NoRow(balances, "ada"))
	k.Reset().Given(accounts, "ada", deposited{1}).Then(projectiontest.Rows(balances, map[string]int64{"ada": 1}))
}

func TestKitTellsWhatIsWrong(t *testing.T) {
	accounts, _ := feeds(t)
	balances := newBalances(accounts)
	r := &recorder{TB: t}
	k := projectiontest.New(r, balances)
	k.Given(accounts, "ada", deposited{1})
	k.Then(projectiontest.Row(balances, "ada", 2))
	r.expect(t, `table "balances" has 1 under ada, want 2`)
	k.Then(projectiontest.Row(balances, "bob", 2))
	r.expect(t, `has no bob`)
	k.Then(projectiontest.NoRow(balances, "ada"))
	r.expect(t, `has 1 under ada, want nothing`)
	k.Then(projectiontest.Rows(balances, map[string]int64{"ada": 1, "bob": 1}))
	r.expect(t, `want map[ada:1 bob:1]`)
	k.Then(projectiontest.Changes(balances))
	r.expect(t, `ask behind When`)
	k.When(accounts, "ada", deposited{1}).Then(projectiontest.Changes(balances))
	r.expect(t, `changed by [{Key:ada Old:1 New:2 Had:true Has:true}], want []`)
	k.When(accounts, "ada", deposited{1}).Fails(nil)
	r.expect(t, "it didn't fail")
	k.When(accounts, "ada", withdrawn{9}).Then()
	r.expect(t, "not enough")
	k.Reset()
	k.When(accounts, "ada", withdrawn{9}).Fails(projection.ErrClosed)
	r.expect(t, `want "runtime closed"`)
}

// A failure that a case doesn't ask about is told, at the next step or at the
// end.
func TestFailureThatNobodyAskedAbout(t *testing.T) {
	accounts, _ := feeds(t)
	r := &recorder{TB: t}
	k := projectiontest.New(r, newBalances(accounts))
	for _, next := range []func(){
		func() { k.Reset() },
		func() { k.When(accounts, "ada", deposited{1}).Fails(nil) },
		func() { r.atEnd() },
	} {
		k.Reset()
		r.said = nil
		k.When(accounts, "ada", withdrawn{9})
		next()
		if len(r.said) == 0 || !strings.Contains(r.said[0], "neither Then nor Fails") || !strings.Contains(r.said[0], errPoor.Error()) {
			t.Errorf("it said %q", r.said)
		}
	}
}

// What is printed alike is told apart.
func TestMessagesTellTypesApart(t *testing.T) {
	accounts, _ := feeds(t)
	odd := projection.NewTable[string, []int]("odd")
	projection.On(odd, accounts, func(tx *projection.Tx[string, []int], e eventlog.Event, d deposited) error {
		tx.Put(e.Key, []int{})
		return nil
	})
	r := &recorder{TB: t}
	k := projectiontest.New(r, odd).Given(accounts, "ada", deposited{5})
	k.Then(projectiontest.Row(odd, "ada", nil))
	r.expect(t, `has []int{} under ada, want []int(nil)`)
	decide := func(int, int) ([]any, error) { return []any{deposited{5}, withdrawn{1}}, nil }
	projectiontest.Decide(r, decide, 0, 0).Then(withdrawn{5}, withdrawn{1})
	r.expect(t, `the events are [projectiontest_test.deposited{Cents:5} projectiontest_test.withdrawn{Cents:1}], want [projectiontest_test.withdrawn{Cents:5} `)
	projectiontest.Decide(r, decide, 0, 0).Then(&deposited{5}, withdrawn{1})
	r.expect(t, `want [*projectiontest_test.deposited&{Cents:5} `)
}

func TestTimeIsTheEvents(t *testing.T) {
	accounts, _ := feeds(t)
	seen := projection.NewValue[[]int64]("seen")
	projection.OnValue(seen, accounts, func(s []int64, e eventlog.Event, _ deposited) ([]int64, error) {
		return append(append([]int64(nil), s...), e.Time.Unix()), nil
	})
	k := projectiontest.New(t, seen)
	k.Given(accounts, "ada", deposited{1}).At(time.Unix(7, 0)).Given(accounts, "ada", deposited{1}).Given(accounts, "ada", deposited{1})
	k.Then(projectiontest.State(seen, []int64{projectiontest.Epoch.Unix(), 7, 8}))
}

func TestDecide(t *testing.T) {
	withdraw := func(balance int64, cents int64) ([]any, error) {
		switch {
		case cents > balance:
			return nil, errPoor
		case cents == 0:
			return nil, nil
		case cents < 0:
			return []any{withdrawn{cents}}, errPoor
		case cents == 13:
			panic("unlucky")
		}
		return []any{withdrawn{cents}}, nil
	}
	projectiontest.Decide(t, withdraw, 100, 60).Then(withdrawn{60})
	projectiontest.Decide(t, withdraw, 100, 0).Then()
	projectiontest.Decide(t, withdraw, 100, 160).Rejects(errPoor)
	r := &recorder{TB: t}
	projectiontest.Decide(r, withdraw, 100, 60).Then(withdrawn{61})
	r.expect(t, "the events are")
	projectiontest.Decide(r, withdraw, 100, 160).Then()
	r.expect(t, "was rejected: not enough")
	projectiontest.Decide(r, withdraw, 100, 60).Rejects(nil)
	r.expect(t, "was accepted")
	projectiontest.Decide(r, withdraw, 100, -1).Rejects(errPoor)
	r.expect(t, "beside")
	projectiontest.Decide(r, withdraw, 100, 13)
	r.expect(t, "panicked at 13: unlucky")
}
