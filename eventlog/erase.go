package eventlog

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidemark-es/tidemark/internal/gaps"
	"github.com/tidemark-es/tidemark/timeframe"
)

// An erasure takes three steps, each of which may be the last one before a
// crash:
//
//	1 register the positions as erased, under way, with fingerprints
//	2 purge the subject up to the sequence
//	3 register that it is done
//
// Readers go past a registered position from step 1 on, if nothing is there,
// and read what is. So no moment has a hole that nobody knows of; after a crash
// Check tells that an erasure is under way, and the same call completes it.
//
// Single messages can't be deleted: feeds are created with deny_delete, which
// the server doesn't let anybody take back. So what can go is the oldest of a
// subject. And the feed's last message stays, by which the log is recognised.

// Erase removes a key's commits up to a sequence (0: all that are there now)
// from the log, for good, and registers that first. Readers go past them;
// snapshots that stand at one of them stay good. It returns how many messages
// are gone.
//
// What it doesn't reach: states that were derived from them, and their
// snapshots; commits that a FailurePolicy has set aside; backups; and the bytes
// in the server's files, until it rewrites the block that they are in
// (docs/operations.md). As by Trim, ExpectNew holds for the key afterwards, and
// an ID of what is gone is appended again.
//
// Repeating it is harmless, and completes an erasure that was interrupted.
//
// Errors: ErrInvalid (no Reason; the feed's last message would go: append
// another one first); ErrInvalidKey; ErrReadOnly; ErrGap (the key's messages
// can't all be read, or messages are missing that aren't registered: AcceptGap
// first); ErrRefused where the stream denies it or the register is
// full; ErrMissing, ErrRecreated, ErrDenied, ErrUnavailable, ErrCorrupt.
func (f *Feed) Erase(ctx context.Context, why Note, key string, upTo uint64) (erased uint64, err error) {
	e, err := f.entry("erase", gaps.Erased, why)
	if err != nil {
		return 0, err
	}
	if f.adopted != nil {
		return 0, &ReadOnlyError{Feed: f.name, Stream: f.stream}
	}
	subject, err := f.Subject(key)
	if err != nil {
		return 0, err
	}
	defer f.ids.drop(key)
	return f.erase(ctx, e, subject, upTo)
}

// EraseAt is Erase for the message at a sequence, also one that can't be
// decoded. It has to be the oldest of its key that is there, since the server
// removes no other: Erase removes those before it, too.
func (f *Feed) EraseAt(ctx context.Context, why Note, seq uint64) error {
	e, err := f.entry("erase", gaps.Erased, why)
	if err != nil {
		return err
	}
	if f.adopted != nil {
		return &ReadOnlyError{Feed: f.name, Stream: f.stream}
	}
	if seq == 0 {
		return fmt.Errorf("eventlog: erase %s@0: %w: sequences begin at 1", f.name, ErrInvalid)
	}
	m, ok, err := f.get(ctx, getRequest{Seq: seq})
	if err != nil {
		return err
	}
	if !ok {
		return f.settleErased(ctx, seq)
	}
	if f.isMarker(&m) {
		return fmt.Errorf("eventlog: erase %s@%d: %w: it is the marker of a tag, which later conditions need", f.name, seq, ErrInvalid)
	}
	if oldest, _, err := f.get(ctx, getRequest{Seq: 1, NextFor: m.subject}); err != nil {
		return err
	} else if oldest.seq != seq {
		return fmt.Errorf("eventlog: erase %s@%d: %w: the server removes only the oldest messages of a key, and %d is older: Erase removes both", f.name, seq, ErrInvalid, oldest.seq)
	}
	var c Commit
	if f.decode(&c, m); c.Key != "" {
		defer f.ids.drop(c.Key)
	}
	_, err = f.erase(ctx, e, m.subject, seq)
	return err
}

// settleErased is EraseAt where no message is: that has to be an erasure.
func (f *Feed) settleErased(ctx context.Context, seq uint64) error {
	if err := f.gaps.refresh(ctx); err != nil {
		return err
	}
	if !f.gaps.covers(seq) {
		return fmt.Errorf("eventlog: erase %s@%d: %w: there is no message: AcceptGap is for what is missing", f.name, seq, ErrInvalid)
	}
	return f.settle(ctx)
}

// erase removes the messages of a subject up to a sequence, 0 for all.
func (f *Feed) erase(ctx context.Context, e gaps.Entry, subject string, upTo uint64) (erased uint64, err error) {
	st, err := f.State(ctx)
	if barred := f.keeper.refusal(); barred != nil {
		return 0, barred
	}
	if err != nil {
		return 0, err
	}
	// What is missing and isn't registered would look trimmed where all before it
	// is erased: then nobody would be told any more.
	if missing, where, err := f.gaps.unregistered(ctx, st); err != nil || missing > 0 {
		if err == nil {
			err = &GapsError{Feed: f.name, Missing: missing, Where: publicRanges(where[:min(len(where), gapsShown)])}
		}
		return 0, err
	}
	seqs, prints, err := f.erasable(ctx, subject, upTo)
	if err != nil {
		return 0, err
	}
	if len(seqs) > 0 {
		if upTo = seqs[len(seqs)-1]; upTo >= st.Last {
			return 0, fmt.Errorf("eventlog: erase of feed %q up to %d: %w: that is its last message, by which the log is recognised: append another one first", f.name, upTo, ErrInvalid)
		}
		e.Ranges, e.Prints, e.Pending = gaps.RangesOf(seqs...), prints, true
		if err := f.gaps.change(ctx, func(r gaps.Register) (gaps.Register, error) { return r.Add(e), nil }); err != nil {
			return 0, err
		}
		if err := f.purge(ctx, subject, upTo); err != nil {
			return 0, err
		}
		f.keys.drop(subject)
	}
	return uint64(len(seqs)), f.settle(ctx)
}

// erasable lists the messages of a subject up to a sequence, all of them.
func (f *Feed) erasable(ctx context.Context, subject string, upTo uint64) (seqs []uint64, prints []timeframe.Fingerprint, err error) {
	want, err := f.countOf(ctx, subject)
	if err != nil || want == 0 {
		return nil, nil, err
	}
	head, ok, err := f.lastOf(ctx, subject)
	if err != nil || !ok {
		return nil, nil, err
	}
	h := f.openHistory(0, mark{}, head.seq, subject, true)
	defer h.close()
	got := 0
	for h.at < head.seq {
		msgs, err := h.next(ctx)
		if err != nil {
			return nil, nil, err
		}
		if len(msgs) == 0 {
			break // the server has no more
		}
		for i := range msgs {
			if got++; upTo == 0 || msgs[i].seq <= upTo {
				seqs, prints = append(seqs, msgs[i].seq), append(prints, msgs[i].fingerprint())
			}
		}
	}
	if got < want {
		return nil, nil, fmt.Errorf("eventlog: erase of feed %q: %w: %d of the %d messages of subject %q can be read: check the server's storage", f.name, ErrGap, got, want, subject)
	}
	return seqs, prints, nil
}

// purge removes the messages of a subject up to a sequence.
func (f *Feed) purge(ctx context.Context, subject string, upTo uint64) error {
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	req := map[string]any{"filter": subject, "seq": upTo + 1}
	if err := f.ask(ctx, "STREAM.PURGE."+f.stream, req, &resp); err != nil {
		return f.serverError(ctx, "erase", err)
	}
	if resp.Error != nil {
		return f.serverError(ctx, "erase", resp.Error)
	}
	m, ok, err := f.get(ctx, getRequest{Seq: 1, NextFor: subject})
	if err != nil {
		return err
	}
	if ok && m.seq <= upTo {
		return fmt.Errorf("eventlog: erase of feed %q up to %d: %w: %d is still there", f.name, upTo, ErrUnavailable, m.seq)
	}
	return nil
}

// settle registers which erasures are done.
func (f *Feed) settle(ctx context.Context) error {
	if err := f.gaps.refresh(ctx); err != nil || len(f.gaps.now.Load().reg.Pending()) == 0 {
		return err
	}
	gone, _, err := f.gone(ctx)
	if err != nil {
		return err
	}
	return f.gaps.change(ctx, func(r gaps.Register) (gaps.Register, error) { return r.Settle(gone), nil })
}
