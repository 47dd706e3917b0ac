package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
)

// A backup of a running application is cut, so that nothing in it is ahead of
// what it followed from: no outcome of an effect, and no reaction, whose cause
// lies after the end of its own feed. Restored, the application would else have
// done what nobody has asked for.
//
// Streams are saved one after another, each as it is when that begins. Before
// the first one, all ends are read: everything up to there was stored before
// that was over, and so was what it followed from. So the cut has all that is
// not younger than the youngest message that was seen then, by the servers'
// clock, and each feed reaches at least to the end that was read. What is
// younger came while the backup was made, and is left out.
//
//   - A cause is stored, and acknowledged, before anything follows from it. So
//     it isn't the younger one, and is in the cut where that is.
//   - Batches of the server are whole or left out.
//   - On a cluster the streams' leaders have clocks of their own. The cut is as
//     exact as these agree.
//
// Rejected: the order in which streams are saved (effects first), since feeds
// may follow from each other both ways, and it stops at one that nobody knows
// of. The ends as they were read, since those are of several moments, too.

// limit is how far a feed is kept in any case, and what is, beyond that.
type limit struct {
	end   uint64    // its last sequence when the ends were read
	until time.Time // the youngest time that was seen then
}

// limitsOf are those of feeds whose ends were read.
func limitsOf(states map[string]State) map[string]limit {
	var until time.Time
	for _, st := range states {
		if st.Last.After(until) {
			until = st.Last
		}
	}
	limits := make(map[string]limit, len(states))
	for name, st := range states {
		limits[name] = limit{end: st.LastSeq, until: until}
	}
	return limits
}

// cut leaves out of a feed's backup what lies beyond its limit.
func (s *saving) cut(st *Stream, l limit) error {
	if st.State.LastSeq <= l.end || !st.State.Last.After(l.until) {
		return nil
	}
	path := filepath.Join(s.dir, filepath.FromSlash(st.File))
	kept, err := findCut(path, l)
	if errors.Is(err, archive.ErrInvalidArchive) {
		s.m.Notes = append(s.m.Notes, fmt.Sprintf("stream %s may be ahead of others: the server's backup has a form that can't be cut", st.Name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: cutting its backup: %w", st.Name, err)
	}
	w, err := create(s.dir, st.File)
	if err != nil {
		return err
	}
	if err := writeCut(w, path, kept); err != nil {
		w.drop()
		return fmt.Errorf("stream %s: cutting its backup: %w", st.Name, err)
	}
	if s.m.Files[st.File], err = w.finish(); err != nil {
		return err
	}
	st.State.Messages, st.State.LastSeq, st.State.Last = kept.messages, kept.last, kept.at
	return nil
}

// kept is the part of a stream that a cut keeps: its beginning.
type kept struct {
	messages, last uint64
	at             time.Time // of the last message
}

// findCut reads a stream's backup to find out what is kept of it: up to the
// limit, and no batch of which a part lies beyond it.
func findCut(path string, l limit) (k kept, err error) {
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer func() { _ = f.Close() }()
	r := archive.NewReader(s2.NewReader(f))
	state, err := stateOfArchive(r)
	if err != nil {
		return k, err
	}
	k.last = state.FirstSeq - min(1, state.FirstSeq) // nothing
	here, batch := k, ""                             // k is here, unless that is inside a batch
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return k, io.ErrUnexpectedEOF // the last entry says that it is whole
		case err != nil || h.Sequence == 0:
			return k, err
		}
		id, ended := "", false
		if h.Sequence >= l.end {
			if id, ended, err = batchOf(r, h); err != nil {
				return k, err
			}
		}
		if batch != "" && id != batch {
			k, batch = here, ""
		}
		at := time.Unix(0, h.Timestamp).UTC()
		if batch == "" && h.Sequence > l.end && at.After(l.until) {
			return k, nil
		}
		here = kept{messages: here.messages + 1, last: h.Sequence, at: at}
		if batch = id; id == "" || ended {
			k, batch = here, ""
		}
	}
}

// batchOf reads which of the server's batches a message is in, "" for none, and
// whether it is the last one of that.
func batchOf(r io.Reader, h *archive.Header) (id string, ended bool, err error) {
	header := make([]byte, h.HeaderSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return "", false, err
	}
	_, rest, ok := bytes.Cut(header, []byte("\r\nNats-Batch-Id: "))
	if !ok {
		return "", false, nil
	}
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(value), bytes.Contains(header, []byte("\r\nNats-Batch-Commit:")), nil
}

const archiveState = "state.json"

// stateOfArchive reads the first entry of an archive.
func stateOfArchive(r *archive.Reader) (s State, err error) {
	h, err := r.Next()
	if err != nil {
		return s, err
	}
	if h.Name != archiveState {
		return s, fmt.Errorf("%w: it begins with %q", archive.ErrInvalidArchive, h.Name)
	}
	return s, json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(&s)
}

// writeCut writes what is kept of a stream's backup.
func writeCut(to io.Writer, path string, k kept) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := archive.NewReader(s2.NewReader(f))
	out := s2.NewWriter(to)
	w := archive.NewWriter(out)
	if err := cutState(w, r, k); err != nil {
		return err
	}
	for n := uint64(0); n < k.messages; n++ {
		h, err := r.Next()
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.CopyN(w, r, h.HeaderSize+h.PayloadSize)
		}
		if err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&archive.Header{}); err != nil { // that it is whole
		return err
	}
	return errors.Join(w.Flush(), w.Close(), out.Close())
}

// cutState writes the first entry of an archive with what is kept. The number
// of bytes stays: it is what the server reserves.
func cutState(w *archive.Writer, r *archive.Reader, k kept) error {
	h, err := r.Next()
	if err != nil {
		return err
	}
	state := make(map[string]json.RawMessage)
	if err := json.NewDecoder(r).Decode(&state); err != nil {
		return err
	}
	for name, v := range map[string]any{"messages": k.messages, "last_seq": k.last, "last_ts": k.at} {
		if state[name], err = json.Marshal(v); err != nil {
			return err
		}
	}
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	h.HeaderSize, h.PayloadSize = 0, int64(len(data))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
