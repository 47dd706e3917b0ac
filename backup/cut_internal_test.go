package backup

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
	"pgregory.net/rapid"
)

// stored is a message of a made-up stream.
type stored struct {
	seq   uint64
	at    time.Time
	batch string
	ends  bool // the batch
}

// archived is the server's backup of these messages.
func archived(t interface{ Fatal(...any) }, ms []stored, st State) []byte {
	var b bytes.Buffer
	out := s2.NewWriter(&b)
	w := archive.NewWriter(out)
	put := func(h archive.Header, body string) {
		h.PayloadSize = int64(len(body)) - h.HeaderSize
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	state, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	put(archive.Header{Name: archiveState, Timestamp: 1}, string(state))
	for _, m := range ms {
		header := "NATS/1.0\r\nNats-Msg-Id: a\r\n"
		if m.batch != "" {
			header += "Nats-Batch-Id: " + m.batch + "\r\n"
		}
		if m.ends {
			header += "Nats-Batch-Commit: 1\r\n"
		}
		header += "\r\n"
		put(archive.Header{Name: "app.feed.key", Sequence: m.seq, Timestamp: m.at.UnixNano(), HeaderSize: int64(len(header))}, header+fmt.Sprint("payload ", m.seq))
	}
	put(archive.Header{}, "")
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A cut keeps all up to the end that was read, and what is not younger than the
// limit after that; of a batch all or nothing; and each message as it was.
func TestCutProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ms []stored
		seq, nanos := uint64(0), int64(1e9)
		for n := range rapid.IntRange(0, 12).Draw(t, "commits") {
			size, batch := rapid.IntRange(1, 4).Draw(t, "size"), ""
			if size > 1 || rapid.Bool().Draw(t, "alone in a batch") {
				batch = fmt.Sprint("batch", n)
			}
			seq += uint64(rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "gone"))
			for i := range size {
				seq++
				nanos += int64(rapid.IntRange(0, 2).Draw(t, "time"))
				ms = append(ms, stored{seq, time.Unix(0, nanos).UTC(), batch, batch != "" && i == size-1})
			}
		}
		st := State{Messages: uint64(len(ms)), LastSeq: seq, FirstSeq: 1, Last: time.Unix(0, nanos).UTC()}
		l := limit{end: uint64(rapid.IntRange(0, int(seq)+1).Draw(t, "end")), until: time.Unix(0, 1e9+int64(rapid.IntRange(-1, 20).Draw(t, "until")))}
		want := 0
		for want < len(ms) && (ms[want].seq <= l.end || !ms[want].at.After(l.until)) {
			want++
		}
		for want > 0 && want < len(ms) && ms[want].batch != "" && ms[want].batch == ms[want-1].batch {
			want++
		}

		dir, err := os.MkdirTemp("", "cut")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "stream")
		if err := os.WriteFile(path, archived(t, ms, st), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := findCut(path, l)
		if err != nil || int(k.messages) != want || want > 0 && (k.last != ms[want-1].seq || !k.at.Equal(ms[want-1].at)) {
			t.Fatalf("kept %+v of %+v, want %d: %v", k, ms, want, err)
		}
		var out bytes.Buffer
		if err := writeCut(&out, path, k); err != nil {
			t.Fatal(err)
		}
		st.Messages, st.LastSeq, st.Last = k.messages, k.last, k.at
		if got, want := read(t, out.Bytes()), read(t, archived(t, ms[:want], st)); !slices.Equal(got, want) {
			t.Fatalf("written %q, want %q", got, want)
		}
	})
}

// read lists the entries of an archive as text.
func read(t *rapid.T, b []byte) (entries []string) {
	r := archive.NewReader(s2.NewReader(bytes.NewReader(b)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == archiveState {
			var s map[string]any
			if err := json.Unmarshal(body, &s); err != nil {
				t.Fatal(err)
			}
			h.PayloadSize, body = 0, fmt.Append(nil, s)
		}
		entries = append(entries, fmt.Sprintf("%+v %s", *h, body))
	}
}

// A backup that is cut off, or that isn't one of the form that is known, isn't
// cut as if it were.
func TestCutOfAnotherForm(t *testing.T) {
	ms := []stored{{1, time.Unix(1, 0), "", false}, {2, time.Unix(2, 0), "", false}}
	whole := archived(t, ms, State{Messages: 2, LastSeq: 2, FirstSeq: 1})
	for name, data := range map[string][]byte{"none": nil, "another": s2.EncodeSnappy(nil, []byte("a tar")), "cut off": whole[:len(whole)-8]} {
		path := filepath.Join(t.TempDir(), "stream")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := findCut(path, limit{end: 2, until: time.Unix(9, 0)}); err == nil {
			t.Errorf("%s: kept %+v", name, k)
		}
	}
}
