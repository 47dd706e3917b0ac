//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// replaced says whether commits were lost, and others have their numbers.
func replaced(records []record) bool {
	return len(records) > 0 && records[len(records)-1].n() != len(records)
}

// truth is the log as its leader has it, asked message by message.
func (r *setBackRun) truth(ctx context.Context, f *eventlog.Feed) (records []record) {
	for seq, ended := uint64(1), false; ; seq++ {
		ok := r.patiently(ctx, "ask the leader", func(ctx context.Context) (err error) {
			if ended, err = r.ended(ctx, seq); err != nil || ended {
				return err
			}
			c, ok, err := f.Lookup(ctx, seq)
			if err == nil && !ok {
				r.t.Fatalf("%s: the leader has %d, and Lookup finds nothing", r.name, seq)
			}
			if err == nil {
				records = append(records, must(recordOf(&c))(r.t))
			}
			return r.giveUp(ctx, f, err)
		})
		if !ok || ended {
			return records
		}
	}
}

// ended asks the leader whether it has no message of a number.
func (r *setBackRun) ended(ctx context.Context, seq uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body := must(json.Marshal(map[string]uint64{"seq": seq}))(r.t)
	m, err := r.log.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+r.feed.Stream(), body)
	if err != nil {
		return false, err
	}
	var resp struct {
		Error *struct {
			Code        int
			Description string
		} `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &resp); {
	case err != nil || resp.Error == nil:
		return false, err
	case resp.Error.Code == 404:
		return true, nil
	}
	return false, errors.New(resp.Error.Description)
}

// acknowledged is the log as those see it who have read it already, where the
// third server was elected later: what it kept of the lost tail is in place of
// commits that were acknowledged since. What has read these may be right for
// good; that isn't promised (docs/guarantees.md). nil where the leader has them.
func (r *setBackRun) acknowledged(records []record) (earlier []record) {
	for _, a := range r.acked {
		if a.seq > uint64(len(records)) || records[a.seq-1].id == a.id {
			continue
		}
		if earlier == nil {
			earlier = slices.Clone(records)
		}
		earlier[a.seq-1] = a
	}
	return earlier
}

// judge waits until the table is where the log is, or its projection has
// ended, and counts what came of it.
func (r *setBackRun) judge(ctx context.Context, who string, rt *projection.Runtime, table *projection.Table[string, tally], err error, records []record) {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err != nil {
		r.found["error, "+who]++
		return
	}
	want, earlier := fold(records), r.acknowledged(records)
	for {
		got, stopped := maps.Collect(table.All()), rt.Metrics()[0].Err
		at, _ := table.At().Get(r.name)
		switch {
		case stopped != nil:
			if !toldLoss(stopped) {
				r.t.Errorf("%s of %s: %v", who, r.name, stopped)
			}
			r.found["error, "+who]++
			return
		case at >= uint64(len(records)) && maps.Equal(got, want):
			r.found["equal, "+who]++
			return
		case limit.Err() != nil && earlier != nil && maps.Equal(got, fold(earlier)):
			r.found["as the leader before had it, "+who]++
			return
		case limit.Err() != nil:
			r.found["mixed, "+who]++
			r.t.Logf("%s of %s: %v at %d, want %v at %d; applied in place of what the leader has: %q; %+v", who, r.name, got, at, want, len(records), r.foreign(records), rt.Metrics()[0])
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

// judgeFollower waits for the end of one that was given what is lost: it must be
// told, as those are that share its source. Another one is given the leader's
// log.
func (r *setBackRun) judgeFollower(ctx context.Context, records []record) {
	want, earlier := idsOf(records), idsOf(r.acknowledged(records))
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		ids := r.seen.all()
		select {
		case <-r.seen.ended:
			if !errors.Is(r.seen.err, eventlog.ErrLostTail) && !errors.Is(r.seen.err, eventlog.ErrUnavailable) {
				r.t.Errorf("a follower of %s ended with %v", r.name, r.seen.err)
			}
			r.found["error, follower"]++
			return
		case <-limit.Done():
			if earlier != nil && slices.Equal(ids, earlier) {
				r.found["as the leader before had it, follower"]++
				return
			}
			r.found["mixed, follower"]++
			r.t.Logf("a follower of %s: %q, want %q", r.name, ids, want)
			return
		case <-time.After(10 * time.Millisecond):
		}
		if slices.Equal(ids, want) {
			r.found["equal, follower"]++
			return
		}
	}
}

func idsOf(records []record) (ids []string) {
	for _, r := range records {
		ids = append(ids, r.id)
	}
	return ids
}

// judgeRead reads all, and each key.
func (r *setBackRun) judgeRead(ctx context.Context, f *eventlog.Feed, records []record) {
	for _, key := range []string{"", "k0", "k1", "k2"} {
		what, opts := "read of all", []eventlog.ReadOption(nil)
		if key != "" {
			what, opts = "read of a key", []eventlog.ReadOption{eventlog.OfKey(key)}
		}
		var got, want []string
		for _, rec := range records {
			if key == "" || rec.key == key {
				want = append(want, rec.id)
			}
		}
		outcome := "equal, " + what
		for c, err := range f.Commits(ctx, opts...) {
			if err != nil {
				outcome = "error, " + what
				break
			}
			got = append(got, c.ID)
		}
		if outcome[0] == 'e' && outcome[1] == 'q' && fmt.Sprint(got) != fmt.Sprint(want) {
			outcome = "mixed, " + what
		}
		r.found[outcome]++
	}
}
