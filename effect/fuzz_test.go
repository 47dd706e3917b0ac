package effect

import (
	"testing"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
)

// FuzzOutcome decodes what the feed of outcomes may hold, the marks too.
func FuzzOutcome(f *testing.F) {
	feed, err := eventlog.Offline("mails-outcomes", outcomeTypes()...)
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range []any{
		Done{Attempts: 2}, Failed{Attempts: 1, Error: "x"}, GaveUp{Attempts: 9, Error: "y"}, Retried{By: "a"}, Dropped{By: "b"}, Passed{Version: 3},
		Marked{Version: 1, From: map[string]uint64{"orders": 3}, At: map[string]uint64{"orders": 9}},
	} {
		e, err := feed.EncodeEvent(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(e.Type, e.Data)
	}
	f.Add("marked", []byte{0x81, 0xa2, 'A', 't', 0xdf, 0xff, 0xff, 0xff, 0xff}) // a length of 2³²
	f.Fuzz(func(t *testing.T, typ string, data []byte) {
		fuzzmem.Check(t, len(data), 200, 1<<20, func() {
			v, err := feed.DecodeEvent(eventlog.Encoded{Type: typ, Codec: "msgpack", Data: data})
			if err == nil && v == nil {
				t.Fatal("neither a value nor an error")
			}
		})
	})
}

// FuzzRecord decodes a row of the outbox's table.
func FuzzRecord(f *testing.F) {
	type mail struct {
		To    string
		Lines []string
	}
	row, err := eventlog.MsgPack.Append(nil, &record[mail]{
		Intent: mail{"ada", []string{"x"}}, Stated: true, Key: "k", Feed: "orders", Seq: 7, Mark: &marked{Version: 1, At: map[string]uint64{"orders": 9}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row)
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzmem.Check(t, len(data), 200, 1<<20, func() {
			var r record[mail]
			_ = eventlog.MsgPack.Decode(data, &r)
		})
	})
}
