//go:build tidemark_mangle

package eventlog_test

import (
	"bytes"
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/logtest"
)

// What was lent is nonsense after the next step, by every way of reading, and
// what was decoded stays.
func TestLentIsMangled(t *testing.T) {
	ctx := logtest.Context(t)
	f := accounts(t, logtest.Fresh(t))
	for range 3 {
		if _, err := f.Append(ctx, "ada", eventlog.ExpectAny, opened{"Ada"}, deposited{7}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(how string, e eventlog.Event, data []byte, v opened) {
		t.Helper()
		if len(bytes.Trim(data, "\xdb")) > 0 {
			t.Errorf("%s: kept data %x", how, data)
		}
		if got, err := eventlog.Decode[opened](e); err == nil {
			t.Errorf("%s: a kept event is decoded: %v", how, got)
		}
		if e.Header("Tm-Type") != "" || v.Owner != "Ada" {
			t.Errorf("%s: header %q, value %v", how, e.Header("Tm-Type"), v)
		}
	}
	var kept eventlog.Event
	var data []byte
	var v opened
	keep := func(e eventlog.Event) {
		var err error
		if kept, data = e, e.Data(); len(data) == 0 {
			t.Fatal("no data")
		}
		if v, err = eventlog.Decode[opened](e); err != nil {
			t.Fatal(err)
		}
	}
	for e, err := range f.Read(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq == 1 && e.Index == 0 {
			keep(e)
		} else if e.Seq == 2 {
			check("Read", kept, data, v)
		}
	}
	for e, err := range eventlog.Merge(ctx, eventlog.MergeOptions{}, f) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq == 1 && e.Index == 0 {
			keep(e)
		} else if e.Seq == 2 {
			check("Merge", kept, data, v)
		}
	}
	r, err := f.NewReader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	batch, err := r.Next(ctx)
	if err != nil || len(batch) == 0 {
		t.Fatal(batch, err)
	}
	keep(batch[0].Event(0))
	if _, err := r.Next(ctx); err != nil {
		t.Fatal(err)
	}
	check("Reader", kept, data, v)
	if batch[0].Key == "ada" || batch[0].ID == "" {
		t.Errorf("the commit %+v is still there", batch[0])
	}
}
