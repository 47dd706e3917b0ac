package eventlog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// MaxTransaction is the most messages that a transaction may need: one for
// each commit and one for each distinct tag.
const MaxTransaction = 1000

// Transaction is several commits of different keys of one feed: all of them
// are appended, or none.
type Transaction struct {
	// Drafts are the commits, in the order in which they are appended, each
	// with an expectation of its own. No key may come twice, since only one
	// message of a subject can have an expectation: put a key's events into
	// one draft. Their IDs must be empty: the transaction's names them.
	Drafts []Draft
	// Guards are conditions beyond the drafts' keys.
	Guards []Guard
	// ID is the identity of the whole, as Draft.ID is of a commit: sent
	// again, the transaction is answered with the first one's positions. It
	// is the first commit's ID and resolved within its key; the others' IDs
	// are made of it. Default: one is made up.
	ID string
}

// AppendTransaction appends commits of several keys in one step: all of them
// or none, and only if every expectation and every guard holds at that step.
// It returns when the server has acknowledged them, with their positions in
// the order of the drafts; the sequences follow one another. Readers see the
// commits one after another, as they see any others.
//
// Where one of the drafts is Synced, it returns when all of them are on the
// disk.
//
// It isn't ordered with appends by AppendAsync that are still on their way.
//
// Errors are those of Append: an ErrConflict is a *ConflictError that names
// the key, or a *TagConflictError that names the tag. ErrTooLarge is also for
// more than MaxTransaction messages. Where a tag's messages were trimmed and
// a guard can't be decided there is an ErrTrimmed, and an ErrLostTail where a
// guard names a sequence that the log doesn't have.
//
// A transaction costs an embedded server an fsync, which concurrent ones
// share (docs/format-commit.md, "Batches"). A power failure within
// Options.SyncInterval may leave the first part of the last one, unless
// Options.SyncAlways is set.
func (f *Feed) AppendTransaction(ctx context.Context, tx Transaction) ([]Position, error) {
	if err := f.online(); err != nil {
		return nil, err
	}
	t, err := f.newTxn(tx)
	if err != nil {
		return nil, err
	}
	if f.closed.Load() {
		return nil, t.wrap(ErrClosed)
	}
	if ctx.Err() != nil {
		return nil, t.wrap(fmt.Errorf("not sent: %w", context.Cause(ctx)))
	}
	if err := f.allowAtomic(ctx); err != nil {
		return nil, err
	}
	for subject := range t.exact {
		if err := f.records.expect(ctx, subject); err != nil {
			return nil, t.wrap(fmt.Errorf("not sent: %w", err))
		}
	}
	if slices.ContainsFunc(tx.Drafts, func(d Draft) bool { return d.Durability == Synced }) {
		return t.appendSynced(ctx)
	}
	if err := f.batches.submit(ctx, t); err != nil {
		return nil, err
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		if !f.batches.withdraw(t, context.Cause(ctx)) {
			return nil, t.ambiguous(context.Cause(ctx))
		}
	}
	return t.pos, t.err
}

// appendSynced returns when the whole of the transaction is on the disk.
func (t *txn) appendSynced(ctx context.Context) ([]Position, error) {
	p := newPending(t.f) // stands for all commits
	p.pr.draft, p.pr.id = t.parts[0].draft, t.parts[0].id
	if err := t.f.syncer.admit(ctx, p); err != nil {
		return nil, err
	}
	if err := t.f.batches.submit(ctx, t); err != nil {
		t.f.syncer.release(p)
		return nil, err
	}
	go func() {
		<-t.done // it has a deadline of its own
		var last Position
		if t.err == nil {
			last = t.pos[len(t.pos)-1]
		}
		p.finish(last, t.err)
	}()
	select {
	case <-p.done:
	case <-ctx.Done():
		if !t.f.batches.withdraw(t, context.Cause(ctx)) {
			return nil, t.ambiguous(context.Cause(ctx))
		}
		<-p.done
	}
	if p.err != nil {
		return nil, p.err
	}
	return t.pos, nil
}

// txn is a transaction on its way. What isn't checked here is left to the
// server.
type txn struct {
	f       *Feed
	parts   []*prepared // parts[0].id is the identity of the whole
	uses    []*tagUse
	natural bool // the ID was given by the caller

	deadline time.Time
	expect   Expectation // of the first commit, in this round
	open     int         // how many sends of it may have been stored
	sends    int
	doubled  bool // the server knows an ID of it
	orphans  int  // rounds in which that wasn't in its key
	why      error

	done chan struct{}
	pos  []Position
	err  error
}

// newTxn checks and encodes everything; it touches nothing.
func (f *Feed) newTxn(tx Transaction) (*txn, error) {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("eventlog: transaction on feed %q: %w: %s", f.name, ErrInvalid, fmt.Sprintf(format, a...))
	}
	if len(tx.Drafts) == 0 {
		return nil, bad("it has no drafts")
	}
	t := &txn{f: f, natural: tx.ID != "", done: make(chan struct{})}
	var err error
	if t.uses, err = f.tagUses(tx.Drafts, tx.Guards); err != nil {
		return nil, err
	}
	if n := len(tx.Drafts) + len(t.uses); n > MaxTransaction {
		return nil, fmt.Errorf("eventlog: transaction on feed %q: %w: it needs %d messages, one for each commit and each tag: at most %d", f.name, ErrTooLarge, n, MaxTransaction)
	}
	id := tx.ID
	if id == "" {
		id = nuid.Next()
	}
	keys := make(map[string]bool, len(tx.Drafts))
	for i, d := range tx.Drafts {
		if keys[d.Key] {
			return nil, bad("key %q comes twice: put its events into one draft", d.Key)
		}
		keys[d.Key] = true
		if d.ID != "" {
			return nil, bad("the draft of key %q has an ID: the transaction's names all of them", d.Key)
		}
		d.ID = partID(id, i)
		pr, err := f.prepareBatched(d)
		if err != nil {
			return nil, err
		}
		pr.natural = t.natural
		t.parts = append(t.parts, pr)
	}
	t.expect = tx.Drafts[0].Expect
	return t, nil
}

// partID is the ID of a transaction's i-th commit.
func partID(id string, i int) string {
	if i == 0 {
		return id
	}
	return id + "+" + strconv.Itoa(i)
}

// tagged makes a transaction of a single commit that has tags.
func (f *Feed) tagged(pr *prepared) (*txn, error) {
	natural := pr.natural
	d := pr.draft
	d.ID = pr.id
	pr, err := f.prepareBatched(d)
	if err != nil {
		return nil, err
	}
	pr.natural = natural
	uses, err := f.tagUses([]Draft{d}, nil)
	if err != nil {
		return nil, err
	}
	if n := 1 + len(uses); n > MaxTransaction {
		return nil, fmt.Errorf("eventlog: append to %s/%.200q: %w: it has %d tags, more than %d", f.name, d.Key, ErrTooLarge, len(uses), MaxTransaction-1)
	}
	return &txn{f: f, parts: []*prepared{pr}, uses: uses, natural: natural, expect: d.Expect, done: make(chan struct{})}, nil
}

// prepareBatched is prepare with room for the headers of a batch, which are
// set when it is sent.
func (f *Feed) prepareBatched(d Draft) (*prepared, error) {
	pr := new(prepared)
	if err := f.prepare(pr, d); err != nil {
		return pr, err
	}
	full := &prepared{draft: d, msg: pr.msg.with(headerBatch, nuid.Next())}
	full.msg = full.msg.with(headerBatchSeq, strconv.Itoa(MaxTransaction))
	full.msg = full.msg.with(headerBatchCommit, "1")
	return pr, f.checkMessage(full)
}

// size is what the transaction adds to a batch.
func (t *txn) size() (messages, bytes int) {
	for _, p := range t.parts {
		bytes += p.msg.size()
	}
	return len(t.parts) + len(t.uses), bytes
}

// exact yields the subjects that the transaction has a condition on.
func (t *txn) exact(yield func(subject string) bool) {
	for i, p := range t.parts {
		if (p.draft.Expect.exact || (i == 0 && t.natural)) && !yield(p.msg.subject) {
			return
		}
	}
	for _, u := range t.uses {
		if u.guarded && !yield(u.subject) {
			return
		}
	}
}

// unsure says whether the leader has to be asked before it is sent.
func (t *txn) unsure(examine bool) bool {
	return examine || t.natural || slices.ContainsFunc(t.uses, func(u *tagUse) bool { return u.guarded })
}

// settle gives the transaction its outcome, once, and its slot to another.
func (t *txn) settle(pos []Position, err error) {
	for _, p := range t.parts {
		t.f.stats.outcome(p, err)
	}
	t.pos, t.err = pos, err
	<-t.f.batches.slots
	close(t.done)
}

func (t *txn) wrap(err error) error {
	return fmt.Errorf("eventlog: append to %s/%.200q%s: %w", t.f.name, t.parts[0].draft.Key, t.others(), err)
}

// others says how many more keys there are, for errors.
func (t *txn) others() string {
	if len(t.parts) == 1 {
		return ""
	}
	return fmt.Sprintf(" and %d more", len(t.parts)-1)
}

func (t *txn) ambiguous(why error) error {
	return &AmbiguousError{Feed: t.f.name, Key: t.parts[0].draft.Key + t.others(), ID: t.parts[0].id, Err: why}
}

// orAmbiguous is err where no send may have been stored.
func (t *txn) orAmbiguous(err error) error {
	if t.open == 0 {
		return err
	}
	return t.ambiguous(err)
}

// The headers of an atomic batch, which the server keeps with each message.
const (
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

func setBatch(h nats.Header, id string, seq int, commit bool) {
	h[headerBatch] = []string{id}
	h[headerBatchSeq] = []string{strconv.Itoa(seq)}
	delete(h, headerBatchCommit)
	if commit {
		h[headerBatchCommit] = []string{"1"}
	}
}
