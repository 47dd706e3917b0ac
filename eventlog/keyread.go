package eventlog

import (
	"context"
	"fmt"
	"strings"
)

// IncompleteError is an ErrGap: reading a key didn't find all the messages that
// the leader says it has. Records of them are damaged: a server passes over those
// without a word when it is asked for the messages of one key. Nothing may be
// concluded from what was read, neither what the key's state is nor that
// something isn't in it.
type IncompleteError struct {
	Feed     string
	Key      string
	Expected int    // messages that the key has
	Found    int    // and that can be read
	From, To uint64 // where they were looked for, both inclusive
}

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("eventlog: key %s/%.200q: %v: it has %d messages in %d to %d, and %d can be read: check the server's storage, and restore a backup or register by Feed.AcceptGap what is lost",
		e.Feed, e.Key, ErrGap, e.Expected, e.From, e.To, e.Found)
}

func (e *IncompleteError) Unwrap() error { return ErrGap }

// incomplete is the error about a subject, which is a key's or a tag's.
func (f *Feed) incomplete(subject string, expected, found int, from, to uint64) error {
	key := strings.TrimPrefix(subject, f.prefix)
	if k, err := decodeKey(key); err == nil {
		key = k
	}
	return &IncompleteError{Feed: f.name, Key: key, Expected: expected, Found: found, From: from, To: to}
}

// headOf is a subject's last message as the leader has it. That there is none is
// the leader's word twice: it finds none where the record is damaged, too, and
// still counts it.
func (f *Feed) headOf(ctx context.Context, subject string) (m message, ok bool, err error) {
	if err := f.records.head(ctx); err != nil {
		return m, false, err
	}
	m, ok, err = f.get(ctx, getRequest{LastFor: subject})
	if err != nil || ok || f.adopted != nil {
		return m, ok, err
	}
	n, err := f.countOf(ctx, subject)
	if err != nil || n == 0 {
		return m, false, err
	}
	// One that was appended at this moment is found now.
	if m, ok, err = f.get(ctx, getRequest{LastFor: subject}); err != nil || ok {
		return m, ok, err
	}
	st, err := f.State(ctx)
	if err != nil {
		return m, false, err
	}
	return m, false, f.incomplete(subject, n, 0, st.First, st.Last)
}

// tallyTries bounds how often a key is counted while it is appended to.
const tallyTries = 16

// tally asks the leader how many messages a key has up to a head, which is the
// given one or a later one. The number belongs to the head because the head was
// the same before and after it was asked for. exact is false where the key moves
// too fast for that.
func (f *Feed) tally(ctx context.Context, head message) (_ message, n int, exact bool, err error) {
	over, err := f.turn(ctx)
	if err != nil {
		return head, 0, false, err
	}
	defer over()
	for range tallyTries {
		if n, err = f.countOf(ctx, head.subject); err != nil {
			return head, 0, false, err
		}
		now, ok, err := f.get(ctx, getRequest{LastFor: head.subject})
		if err != nil || !ok {
			return head, n, false, err
		}
		if now.seq == head.seq {
			return head, n, true, nil
		}
		head = now
	}
	return head, n, false, nil
}

// openKey reads one key's history after a sequence, up to end, which isn't
// beyond the key's head. st is the stream's state, and head the key's last
// message, as the leader has just told.
//
// A key's messages can't be counted as a feed's can, by their sequences, and a
// server that is asked for one key's messages leaves out what it can't read. So
// what is read is counted against the leader's number, from the log's first
// message to the key's head, however few are wanted: the number is of them all.
// What was confirmed once is kept, or, where that is too large, its number, and
// later reads count on from there. The last messages that are wanted are held
// back until the number is right: what ends without an error is complete.
func (f *Feed) openKey(ctx context.Context, after uint64, head message, end uint64, st State) (source, error) {
	if f.adopted != nil {
		// Its owner removes messages at any time: nobody can count them.
		return f.openStored(after, mark{}, end, head.subject, true), nil
	}
	missing, err := f.gaps.missing(ctx, st)
	if err != nil {
		return nil, err
	}
	if missing > 0 {
		return nil, fmt.Errorf("eventlog: a key of feed %q can't be read, any of them may be among what is missing: %w", f.name, &GapsError{Feed: f.name, Missing: missing})
	}
	k := &keyReader{f: f, subject: head.subject, after: after, end: end, st: st, holes: f.holes(st)}
	have, err := f.known(ctx, &head, st)
	if err != nil {
		return nil, err
	}
	if have != nil && (have.msgs != nil || after >= have.head.seq) {
		k.have(have)
		if end <= have.head.seq {
			return k, nil
		}
	}
	if k.head, k.want, k.exact, err = f.tally(ctx, head); err != nil {
		return nil, err
	}
	if k.count == 0 && k.exact {
		if msgs := f.keyFromBlocks(ctx, &k.head, k.want, st); msgs != nil {
			k.have(&keyHistory{subject: k.subject, head: markOf(&k.head), first: msgs[0].seq, n: len(msgs), holes: k.holes, msgs: msgs})
			f.keys.put(k.kept)
			return k, nil
		}
	}
	from := st.First - 1
	if k.kept != nil {
		from = k.kept.head.seq
	}
	k.rest = f.openStored(from, mark{}, k.head.seq, k.subject, true)
	return k, nil
}

// holes are how many messages a stream misses inside, and the revision of the
// register that explains them.
type holes struct{ n, revision uint64 }

func (f *Feed) holes(st State) holes {
	return holes{st.Last + 1 - st.First - st.Messages, f.gaps.now.Load().revision}
}

// known is what is kept of a key, if the log still has it: its end is in the log
// as it was, and the log still begins before it.
func (f *Feed) known(ctx context.Context, head *message, st State) (*keyHistory, error) {
	have := f.keys.get(head.subject)
	if have == nil {
		return nil, nil
	}
	if have.holes != f.holes(st) {
		f.keys.drop(head.subject)
		return nil, nil
	}
	if have.head.seq == head.seq && have.head == markOf(head) && (have.msgs != nil || have.first >= st.First) {
		return have, nil
	}
	if have.head.seq < head.seq && have.head.seq >= st.First && (have.msgs != nil || have.first >= st.First) &&
		f.recognise(ctx, have.head, st) == nil {
		return have, nil
	}
	f.keys.drop(head.subject)
	return nil, ctx.Err()
}

// keyReader is a source: what is known, and then the rest, which it counts.
type keyReader struct {
	f       *Feed
	subject string
	after   uint64 // the reader wants what comes after
	end     uint64 // and up to here
	st      State  // when reading began
	holes   holes

	kept   *keyHistory // what reading goes on from
	cached []message   // of it, not yet returned

	rest  source  // nil: all is known
	head  message // reading ends there, and is counted up to it
	want  int     // messages up to head
	exact bool    // want belongs to head

	count int       // messages up to read
	first uint64    // sequence of the first of them
	read  uint64    // of the last one
	got   []message // what is to be kept; nil where it is too much
	size  int
	large bool
	done  bool
}

// have begins with what is known, less what was trimmed meanwhile: that isn't
// counted, nor read, nor kept on.
func (k *keyReader) have(h *keyHistory) {
	k.kept, k.got, k.first, k.read = h, h.msgs, h.first, h.head.seq
	k.count, k.large = h.n, h.msgs == nil
	if k.large {
		return
	}
	for len(k.got) > 0 && k.got[0].seq < k.st.First {
		k.got = k.got[1:]
	}
	if k.count = len(k.got); k.count > 0 {
		k.first = k.got[0].seq
	}
	for i := range k.got {
		m := &k.got[i]
		k.size += m.size()
		if m.seq > k.after && m.seq <= k.end {
			k.cached = append(k.cached, *m)
		}
	}
}

func (k *keyReader) next(ctx context.Context) ([]message, error) {
	if msgs := k.cached; len(msgs) > 0 {
		k.cached = nil
		return cloneMessages(msgs), nil
	}
	var held []message // those at the end, until all are counted
	for k.rest != nil && !k.done {
		msgs, err := k.rest.next(ctx)
		if err != nil {
			return nil, err
		}
		if len(msgs) == 0 {
			if coming, err := k.coming(ctx); err != nil || coming {
				if err != nil {
					return nil, err
				}
				continue
			}
			k.read = k.head.seq
		} else {
			k.note(msgs)
		}
		wanted := k.wanted(msgs)
		if k.read < min(k.end, k.head.seq) {
			if len(wanted) > 0 {
				return wanted, nil
			}
			continue
		}
		held = append(held, cloneMessages(wanted)...)
		if k.read >= k.head.seq {
			k.done = true
			if err := k.confirm(ctx); err != nil {
				return nil, err
			}
		}
	}
	return held, nil
}

// coming says whether the leader has a further message of the key up to the
// head, which the source has yet to deliver.
func (k *keyReader) coming(ctx context.Context) (bool, error) {
	if k.read >= k.head.seq {
		return false, nil
	}
	m, ok, err := k.f.get(ctx, getRequest{Seq: max(k.read, k.st.First-1) + 1, NextFor: k.subject})
	return ok && m.seq <= k.head.seq, err
}

// wanted are those of the messages that the reader asked for.
func (k *keyReader) wanted(msgs []message) []message {
	for len(msgs) > 0 && msgs[0].seq <= k.after {
		msgs = msgs[1:]
	}
	for n := len(msgs); n > 0 && msgs[n-1].seq > k.end; n-- {
		msgs = msgs[:n-1]
	}
	return msgs
}

// note counts messages, and collects them where they aren't too large to keep.
func (k *keyReader) note(msgs []message) {
	if k.first == 0 {
		k.first = msgs[0].seq
	}
	for i := range msgs {
		if msgs[i].seq > k.head.seq {
			msgs = msgs[:i]
			break
		}
		k.size += msgs[i].size()
	}
	k.count += len(msgs)
	k.read = max(k.read, k.head.seq)
	if len(msgs) > 0 {
		k.read = msgs[len(msgs)-1].seq
	}
	if k.large = k.large || k.size > keyCacheEntry; k.large {
		k.got = nil
		return
	}
	k.got = append(k.got[:len(k.got):len(k.got)], cloneMessages(msgs)...)
}

// confirm compares the number, and keeps what is complete.
func (k *keyReader) confirm(ctx context.Context) error {
	if k.count == k.want && k.exact {
		k.f.keys.put(&keyHistory{subject: k.subject, head: markOf(&k.head), first: k.first, n: k.count, holes: k.holes, msgs: k.got})
		return nil
	}
	k.f.keys.drop(k.subject)
	if k.count >= k.want {
		return nil // appended while it was counted
	}
	// Fewer, for good reason where the log was trimmed or erased meanwhile, or
	// where what can't be read is registered as lost.
	st, err := k.f.State(ctx)
	if err != nil {
		return err
	}
	n, err := k.f.countOf(ctx, k.subject)
	if err != nil {
		return err
	}
	if st.Last < k.head.seq {
		return k.f.lossOr(ctx, &RangeError{Feed: k.f.name, Want: k.head.seq, First: st.First, Last: st.Last, class: ErrLostTail})
	}
	missing, err := k.f.gaps.missing(ctx, st)
	if err != nil {
		return err
	}
	if missing > 0 { // the server has found just now that it can't read them
		return k.f.incomplete(k.subject, k.want, k.count, k.st.First, k.head.seq)
	}
	if st.First > k.st.First || n < k.want {
		return nil
	}
	if err := k.f.gaps.refreshOld(ctx); err != nil {
		return err
	}
	if uint64(k.want-k.count) <= k.f.gaps.counted(st) {
		return nil
	}
	return k.f.incomplete(k.subject, k.want, k.count, k.st.First, k.head.seq)
}

func (k *keyReader) close() {
	if k.rest != nil {
		k.rest.close()
		k.rest = nil
	}
}
