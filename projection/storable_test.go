package projection_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
	"github.com/tidemark-es/tidemark/projection"
)

// Fields that nothing but a codec looks at.
var (
	_ = hiddenRow{}.cents
)

type (
	hiddenRow  struct{ cents int64 }
	countedRow struct{ N atomic.Int64 }
	dayKey     struct{ At time.Time }
	doubleKey  struct {
		A string `msgpack:"x"`
		B string `msgpack:"x"`
	}
	linkedRow struct {
		Name string
		Next *linkedRow
	}
)

// No kind of projection starts with rows or keys that a snapshot would lose
// something of, whether or not it saves, and the error names the fields of all.
func TestStartRefusesWhatIsLost(t *testing.T) {
	b := openBank(t, logtest.Options(t))
	balances := b.balances()
	byAmount := func(a, b int64) bool { return a < b }
	for _, cfg := range []projection.Config{{}, {NoSnapshots: true}} {
		_, err := cfg.Start(t.Context(), b.log, balances,
			projection.NewTable[string, hiddenRow]("rows"),
			projection.NewTable[string, *hiddenRow]("pointers"),
			projection.NewTable[dayKey, int]("days"),
			projection.NewTable[doubleKey, int]("doubles"),
			projection.NewTable[string, hiddenRow]("json", projection.Codec(eventlog.JSON)),
			projection.NewValue[countedRow]("value"),
			projection.NewPartitioned[hiddenRow]("partitioned", 2),
			projection.Map("mapped", balances, func(string, int64) hiddenRow { return hiddenRow{} }),
			projection.TopNBy("top", balances, 3, func(string, int64) (doubleKey, bool) { return doubleKey{}, true }, byAmount),
		)
		if !errors.Is(err, projection.ErrInvalid) {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"rows": values: projection_test.hiddenRow.cents is not exported`, `"pointers": values: *projection_test.hiddenRow.cents`,
			`"days": keys: projection_test.dayKey`, `"doubles": keys: projection_test.doubleKey.A`, `"json": values:`, `"value": values: projection_test.countedRow.N`,
			`"partitioned": values:`, `"mapped": values:`, `"top": keys:`,
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %v", want, err)
			}
		}
	}
	// What is never stored may be of any type.
	unsaved := projection.Map("unsaved", b.balances(), func(string, int64) func() { return nil }, projection.Unsaved())
	if _, err := projection.Start(t.Context(), b.log, unsaved); strings.Contains(err.Error(), "can't be stored") {
		t.Error(err)
	}
}

// A row that contains itself doesn't end the process: it can't be saved, which
// is said, and nothing is trimmed for it.
func TestCyclicRow(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	rows := projection.NewTable[string, linkedRow]("linked")
	projection.On(rows, b.accounts, func(tx *projection.Tx[string, linkedRow], e eventlog.Event, d deposited) error {
		r := &linkedRow{Name: e.Key}
		r.Next = r
		tx.Put(e.Key, *r)
		return nil
	})
	rt := b.start(t, projection.Config{}, rows)
	if err := rt.Wait(ctx, b.append(t, "a", deposited{1})); err != nil {
		t.Fatal(err)
	}
	rep, err := rt.Compact(ctx, projection.CompactOptions{})
	if _, ok := errors.AsType[*eventlog.ValueError](err); !ok || rep.Feeds[0].Trimmed {
		t.Errorf("compacted: %v, %+v", err, rep)
	}
	if err := rt.Close(); err == nil || !strings.Contains(err.Error(), "projection_test.linkedRow") {
		t.Errorf("the save at the end: %v", err)
	}
}

// Rows of a snapshot go the way of events: a number that doesn't fit into what a
// migration reads them as isn't wrapped, and the snapshot isn't used.
func TestRowsThatDontFit(t *testing.T) {
	ctx := logtest.Context(t)
	b := openBank(t, logtest.Options(t))
	rt := b.start(t, projection.Config{}, b.balances())
	if err := rt.Wait(ctx, b.append(t, "a", deposited{5_000_000_000})); err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	narrow := projection.NewTable[string, int64]("balances", projection.Version(1),
		projection.Migrate(0, func(_ string, old int32) (int64, bool) { return int64(old), true }))
	projection.On(narrow, b.accounts, func(tx *projection.Tx[string, int64], e eventlog.Event, d deposited) error {
		tx.Put(e.Key, tx.Value(e.Key)+d.Cents)
		return nil
	})
	rt = b.start(t, projection.Config{}, narrow)
	equal(t, "after the replay", narrow, map[string]int64{"a": 5_000_000_000})
	if why := strings.Join(rt.Metrics()[0].Recovery.Skipped, "; "); !strings.Contains(why, "doesn't fit into int32") {
		t.Errorf("skipped: %q", why)
	}
}
