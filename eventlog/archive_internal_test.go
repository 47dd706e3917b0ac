package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/klauspost/compress/s2"
	natsarchive "github.com/nats-io/nats-server/v2/server/archive"
	"github.com/tidemark-es/tidemark/internal/fuzzmem"
	"pgregory.net/rapid"
)

// archived writes messages as the server does.
func archived(t interface{ Fatal(...any) }, msgs []message, end bool, block int) []byte {
	var out bytes.Buffer
	enc := s2.NewWriter(&out, s2.WriterBlockSize(block), s2.WriterConcurrency(1))
	w := natsarchive.NewWriter(enc)
	put := func(h natsarchive.Header, body []byte) {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	state := []byte(`{"messages":1}`)
	put(natsarchive.Header{Name: archiveState, Timestamp: 1, PayloadSize: int64(len(state))}, state)
	for i := range msgs {
		m := &msgs[i]
		put(natsarchive.Header{
			Name: m.subject, Timestamp: m.nanos, Sequence: m.seq, HeaderSize: int64(len(m.header)), PayloadSize: int64(len(m.data)),
		}, append(bytes.Clone(m.header), m.data...))
	}
	if end {
		put(natsarchive.Header{}, nil)
	}
	if err := errors.Join(w.Close(), enc.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unarchive reads an archive that comes in pieces.
func unarchive(b []byte, piece int) (got []message, whole bool, err error) {
	g := &pager{newPage: func() *page { return &page{} }}
	for len(b) > 0 && err == nil {
		n := min(piece, len(b))
		err = g.write(b[:n], func(p *page) error {
			for i := range p.slots {
				m := p.slots[i].message(p.buf)
				got = append(got, m.clone())
			}
			p.release()
			return nil
		})
		b = b[n:]
	}
	return got, g.arch.ended, err
}

// What the server's own writer writes is read as it was, in whatever blocks
// and pieces it comes; and what is cut off is not taken for the end.
func TestArchive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var msgs []message
		seq := uint64(0)
		for range rapid.IntRange(0, 40).Draw(t, "messages") {
			seq += rapid.Uint64Range(1, 3).Draw(t, "step")
			size := rapid.SampledFrom([]int{0, 1, 100, 5000, 70_000}).Draw(t, "size")
			m := message{
				seq: seq, nanos: rapid.Int64().Draw(t, "nanos"), subject: rapid.StringMatching(`[a-z.]{1,200}`).Draw(t, "subject"),
				data: noisy(size),
			}
			if rapid.Bool().Draw(t, "headers") {
				m.header = headers(headerLine + "A: b\r\n\r\n")
			}
			msgs = append(msgs, m)
		}
		end := rapid.IntRange(0, 4).Draw(t, "end") > 0
		b := archived(t, msgs, end, rapid.SampledFrom([]int{4 << 10, 16 << 10, 1 << 20}).Draw(t, "block"))
		got, whole, err := unarchive(b, rapid.SampledFrom([]int{1, 7, 1000, 128 << 10, 1 << 30}).Draw(t, "piece"))
		if err != nil || whole != end || len(got) != len(msgs) {
			t.Fatalf("%d of %d messages, whole %v, want %v: %v", len(got), len(msgs), whole, end, err)
		}
		for i := range got {
			if got[i].fingerprint() != msgs[i].fingerprint() {
				t.Fatalf("message %d: %+v, want %+v", i, got[i], msgs[i])
			}
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		part, whole, err := unarchive(b[:cut], 1000)
		if whole && end && err == nil && cut < len(b)-archiveEnd-frameHeader-frameChecksum-32 {
			t.Fatalf("the first %d of %d bytes are whole", cut, len(b))
		}
		if len(part) > len(msgs) || (err != nil && !errors.Is(err, errArchive)) {
			t.Fatalf("%d messages, %v", len(part), err)
		}
	})
}

// The bytes may come from anybody: the parser is fed directly, so that the
// checksum isn't in the way.
func FuzzArchive(f *testing.F) {
	msgs := []message{
		{seq: 1, nanos: 5, subject: "a.b", header: headers(headerLine + "A: b\r\n\r\n"), data: []byte("x")},
		{seq: 4, nanos: -5, subject: "a.c", data: []byte("yy")},
	}
	for _, end := range []bool{true, false} {
		plain, err := unpacked(archived(f, msgs, end, 1<<20))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, all, err1 := parseIn(b, len(b))
		again, all2, err2 := parseIn(b, 3)
		if whole.ended != again.ended || len(all) != len(all2) || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%q: %d or %d messages, %v or %v", b, len(all), len(all2), err1, err2)
		}
		for i := range all {
			if all[i] != all2[i] {
				t.Fatalf("%q: message %d depends on the pieces", b, i)
			}
		}
		for _, err := range []error{err1, err2} {
			if err != nil && !errors.Is(err, errArchive) {
				t.Fatal(err)
			}
		}
	})
}

// FuzzFrames feeds whole streams.
func FuzzFrames(f *testing.F) {
	f.Add(archived(f, []message{{seq: 1, subject: "a", data: []byte("x")}}, true, 1<<20), 5)
	f.Add([]byte("\xff\x06\x00\x00S2sTwO"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		var err error
		fuzzmem.Check(t, len(b), 1000, 64<<20, func() { _, _, err = unarchive(b, max(1, piece)) })
		if err != nil && !errors.Is(err, errArchive) {
			t.Fatal(err)
		}
	})
}

// parseIn parses b as it grows by steps.
func parseIn(b []byte, step int) (a archive, all []string, err error) {
	used, need := 0, 0
	for have := 0; have < len(b) && err == nil; {
		have = min(len(b), have+step)
		if have-used < need {
			continue
		}
		var slots []slot
		slots, used, need, err = a.parse(b[:have], used, nil)
		for i := range slots {
			m := slots[i].message(b)
			all = append(all, fmt.Sprintf("%d %d %q %q %q", m.seq, m.nanos, m.subject, m.header, m.data))
		}
	}
	return a, all, err
}

// unpacked is the content of frames.
func unpacked(b []byte) (out []byte, err error) {
	for len(b) > 0 {
		size, kind, data, err := frame(b)
		if err != nil || size == 0 {
			return nil, fmt.Errorf("%d bytes left: %w", len(b), err)
		}
		b = b[size:]
		if data == nil {
			continue
		}
		n, err := frameLen(kind, data)
		if err != nil {
			return nil, err
		}
		at := len(out)
		out = append(out, make([]byte, n)...)
		if err := unpack(out[at:], kind, data); err != nil {
			return nil, err
		}
	}
	return out, nil
}
