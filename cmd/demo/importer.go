package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/tidemark-es/tidemark/cmd/demo/internal/githist"
	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/timeframe"
)

const (
	batchCommits = 128  // commits that are written together
	batchChanges = 4096 // or fewer, when they have this many changes
	maxTips      = 1024 // more than this many git isn't told to leave out
)

// afterDraft is a seam for the test that kills the process there.
var afterDraft = func() {}

// errRewritten says that what was imported is no longer part of the history.
var errRewritten = errors.New("the history was rewritten")

// importer appends what the repository has and the log has not. Each event's
// identity is made of the commit's hash, so what was written before is met,
// not doubled, however the last run ended.
type importer struct {
	repo  *githist.Repo
	feeds feeds
	done  func(commits int64) // told of progress

	// Changes up to mark belong to commits that are in the log. Behind it may
	// be some that a killed run has left without their commit; while there are
	// none (clean), mark moves along.
	mark     uint64
	clean    bool
	seen     uint64            // the newest change that this run appended or met
	last     uint64            // the newest commit in the log
	lastSeen uint64            // the newest change in the log
	left     map[string]uint64 // changes behind mark when this run began
	imported int64
}

// plan is what is to be imported.
type plan struct {
	tip   string
	not   []string        // commits whose ancestors are in the log already
	have  map[string]bool // commits to pass over; nil where not says it all
	total int64
}

// plan compares the repository with the log.
func (im *importer) plan(ctx context.Context) (p plan, err error) {
	if p.tip, err = im.repo.Head(ctx); err != nil {
		return p, err
	}
	last, err := im.lastCommit(ctx)
	if err != nil {
		return p, err
	}
	st, err := im.feeds.changes.State(ctx)
	if err != nil {
		return p, err
	}
	im.clean = st.Last == 0 || (last != nil && last.Left == 0)
	if last != nil {
		im.mark = last.Mark
		if err := im.belongs(ctx, last.Hash, p.tip); err != nil {
			return p, err
		}
		if last.Left == 0 {
			p.not = []string{last.Target}
		} else if p.have, p.not, err = im.interrupted(ctx); err != nil {
			return p, err
		}
	}
	n, err := im.repo.Count(ctx, p.tip, p.not...)
	p.total = int64(n)
	return p, err
}

// lastCommit is the newest commit in the log; nil for none.
func (im *importer) lastCommit(ctx context.Context) (*committed, error) {
	st, err := im.feeds.commits.State(ctx)
	if err != nil || st.Last == 0 {
		return nil, err
	}
	im.last = st.Last
	c, ok, err := im.feeds.commits.Lookup(ctx, st.Last)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("the last commit, %d, is missing in the log", st.Last)
	}
	v, err := eventlog.Decode[committed](c.Event(0))
	return &v, err
}

// belongs makes sure that what was imported is part of tip's history.
func (im *importer) belongs(ctx context.Context, imported, tip string) error {
	ok, err := im.repo.Has(ctx, imported)
	if err == nil && ok {
		ok, err = im.repo.IsAncestor(ctx, imported, tip)
	}
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: commit %.12s, which was imported, is not an ancestor of HEAD (%.12s) any more", errRewritten, imported, tip)
	}
	return nil
}

// interrupted finds out what an import that didn't end has written: which
// commits, and the tips of them, so that git needn't look at those again.
// Commits are written behind their parents, so that what is there holds all
// of its ancestors; where it doesn't, git goes through all of them.
func (im *importer) interrupted(ctx context.Context) (have map[string]bool, tips []string, err error) {
	have = make(map[string]bool)
	parents := make(map[string]bool)
	for e, err := range im.feeds.commits.Read(ctx) {
		if err != nil {
			return nil, nil, err
		}
		c, err := eventlog.Decode[committed](e)
		if err != nil {
			return nil, nil, err
		}
		have[c.Hash] = true
		for _, p := range c.Parents {
			parents[p] = true
		}
	}
	for p := range parents {
		if !have[p] {
			return have, nil, nil
		}
	}
	for h := range have {
		if !parents[h] {
			tips = append(tips, h)
		}
	}
	if len(tips) > maxTips {
		return have, nil, nil
	}
	return have, tips, nil
}

// run imports.
func (im *importer) run(ctx context.Context, p plan) error {
	if err := im.readLeft(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, failed := batched(ctx, im.repo.History(ctx, p.tip, p.not...))
	left := p.total
	for batch := range batches {
		fresh := batch[:0]
		for _, c := range batch {
			if p.have[c.Hash] {
				left--
				im.done(1)
				continue
			}
			fresh = append(fresh, c)
		}
		if err := im.write(ctx, p.tip, fresh, left); err != nil {
			return err
		}
		left -= int64(len(fresh))
	}
	return failed()
}

// batched reads ahead of the writing: git works on one processor while the
// log does on another. failed is to be asked behind the last batch.
func batched(ctx context.Context, history iter.Seq2[githist.Commit, error]) (<-chan []githist.Commit, func() error) {
	out := make(chan []githist.Commit, 4)
	var failure error
	go func() {
		defer close(out)
		var batch []githist.Commit
		changes := 0
		send := func() bool {
			select {
			case out <- batch:
				batch, changes = nil, 0
				return true
			case <-ctx.Done():
				failure = context.Cause(ctx)
				return false
			}
		}
		for c, err := range history {
			if err != nil {
				failure = err
				return
			}
			batch = append(batch, c)
			changes += len(c.Changes)
			if (len(batch) >= batchCommits || changes >= batchChanges) && !send() {
				return
			}
		}
		if len(batch) > 0 {
			send()
		}
	}()
	return out, func() error { return failure }
}

// write appends a batch: first all changes, then the commits in order. A run
// that ends in between leaves changes behind the mark, and the next meets
// them there.
func (im *importer) write(ctx context.Context, target string, batch []githist.Commit, left int64) error {
	if im.clean {
		im.mark = im.lastSeen
	}
	if err := im.writeChanges(ctx, batch); err != nil {
		return err
	}
	at, err := timeframe.Of(timeframe.Entry{Feed: "changes", Seq: im.seen})
	if err != nil {
		return err
	}
	res, err := im.feeds.commits.Import(ctx, im.commitDrafts(target, batch, left, at), eventlog.ImportOptions{After: im.last})
	im.last = max(im.last, res.Last.Seq)
	im.imported += int64(res.Appended)
	im.done(int64(res.Appended + res.Skipped))
	return err
}

// commitDrafts are a batch's commits, in order: the log has them so, too.
func (im *importer) commitDrafts(target string, batch []githist.Commit, left int64, at timeframe.Timeframe) iter.Seq2[eventlog.Draft, error] {
	return func(yield func(eventlog.Draft, error) bool) {
		for _, c := range batch {
			left--
			e := committed{
				Hash: c.Hash, Parents: c.Parents, Email: c.Email,
				When: c.When.Unix(), NoDate: c.When.IsZero(), Target: target, Left: left, Mark: im.mark,
			}
			_, e.Offset = c.When.Zone()
			for _, ch := range c.Changes {
				e.Added += ch.Added
				e.Removed += ch.Removed
			}
			if !yield(eventlog.Draft{Key: im.feeds.key(c.Email), Events: []any{e}, ID: c.Hash, Seen: at}, nil) {
				return
			}
			afterDraft()
		}
	}
}

// writeChanges appends a batch's changes, in order, but for those that are
// there already.
func (im *importer) writeChanges(ctx context.Context, batch []githist.Commit) error {
	res, err := im.feeds.changes.Import(ctx, func(yield func(eventlog.Draft, error) bool) {
		for _, c := range batch {
			for i, ch := range c.Changes {
				id := c.Hash + "." + strconv.Itoa(i)
				if seq, ok := im.left[id]; ok {
					im.seen = max(im.seen, seq)
					continue
				}
				if !yield(eventlog.Draft{
					Key: im.feeds.key(ch.Path), ID: id,
					Events: []any{changed{Hash: c.Hash, Path: ch.Path, Email: c.Email, Added: ch.Added, Removed: ch.Removed}},
				}, nil) {
					return
				}
				afterDraft()
			}
		}
	}, eventlog.ImportOptions{After: im.lastSeen})
	im.seen = max(im.seen, res.Last.Seq)
	im.lastSeen = max(im.lastSeen, res.Last.Seq)
	return err
}

// readLeft finds out what a killed run may have left without its commit.
func (im *importer) readLeft(ctx context.Context) error {
	st, err := im.feeds.changes.State(ctx)
	if err != nil {
		return err
	}
	im.lastSeen, im.left = st.Last, make(map[string]uint64)
	if im.clean {
		return nil
	}
	for e, err := range im.feeds.changes.Read(ctx, eventlog.After(im.mark), eventlog.Until(st.Last)) {
		if err != nil {
			return err
		}
		im.left[e.ID()] = e.Seq
	}
	return nil
}
