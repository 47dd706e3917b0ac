package projection

import (
	"context"
	"fmt"

	"github.com/tidemark-es/tidemark/snapshot"
	"github.com/tidemark-es/tidemark/timeframe"
)

// candidate is a snapshot beside what the log says of it, as far as it was
// asked.
type candidate struct {
	*snapshot.Manifest
	findings map[string]finding // by feed
	other    bool               // of a unit that has been joined into this one
}

type finding struct {
	timeframe.Finding
	first uint64 // first sequence of the log
}

// candidates asks the store, also for snapshots that are kept elsewhere.
func (u *unit) candidates(ctx context.Context) (cands []candidate, problems []string, newest snapshot.ID, err error) {
	cands, problems, newest, err = u.candidatesOf(ctx, u.name)
	if err != nil || u.rt.cfg.NoSnapshots {
		return cands, problems, newest, err
	}
	if u.twin.name != "" {
		if cands, newest, err = u.withTwin(ctx, cands, newest); err != nil {
			return nil, nil, newest, err
		}
	}
	return u.joined(ctx, cands), problems, newest, nil
}

// candidatesOf asks the store for one unit. Where it can't be asked the
// restart takes longer, and nothing else.
func (u *unit) candidatesOf(ctx context.Context, unit string) (cands []candidate, problems []string, newest snapshot.ID, err error) {
	if u.rt.cfg.NoSnapshots {
		return nil, nil, newest, nil
	}
	found, err := u.ask(ctx, unit)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, newest, context.Cause(ctx)
		}
		return nil, []string{fmt.Sprintf("the snapshots can't be read: %v", err)}, newest, nil
	}
	for i, f := range found {
		if i == 0 {
			newest = f.ID
		}
		if f.Problem != nil {
			problems = append(problems, fmt.Sprintf("snapshot %s: %v", short(f.ID), f.Problem))
			continue
		}
		cands = append(cands, candidate{Manifest: f.Manifest, findings: make(map[string]finding)})
	}
	return cands, problems, newest, nil
}

// check asks the log's leader whether a candidate belongs to a feed. The
// newest anchor decides; the older ones are asked for where it doesn't hold.
func (u *unit) check(ctx context.Context, c *candidate, feed string) (finding, error) {
	if f, ok := c.findings[feed]; ok {
		return f, nil
	}
	at, _ := c.Tag.At.Get(feed)
	lineage := c.Tag.Lineages[feed]
	obs, err := u.feeds[feed].Observe(ctx, at)
	if err != nil {
		return finding{}, err
	}
	f := finding{lineage.Check(at, obs), obs.First}
	if u.feeds[feed].Adopted() {
		f.Finding = restoredElsewhere(lineage, at, obs, f.Finding)
	}
	if f.Verdict != timeframe.Verified {
		seqs := make([]uint64, 0, len(lineage.Anchors))
		for _, a := range lineage.Anchors {
			seqs = append(seqs, a.Seq)
		}
		if obs, err = u.feeds[feed].Observe(ctx, seqs...); err != nil {
			return finding{}, err
		}
		f = finding{lineage.Check(at, obs), obs.First}
	}
	c.findings[feed] = f
	return f, nil
}
