//go:build integration

package integration

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
	"github.com/tidemark-es/tidemark/projection"
)

// T1.1, R1.12, T0.2: a process with an embedded log is killed at a random
// moment, again and again on one directory. Whatever was acknowledged is
// there exactly once, in order and whole; every snapshot holds exactly what
// the log has up to its tag; and the restored state is the log's fold.
func TestKilledProcess(t *testing.T) {
	const rounds = 15
	dir := t.TempDir()
	var claims []claim
	restored, before := 0, 0
	for round := range rounds {
		claims = append(claims, killOnce(t, dir, round)...)
		source, commits := inspect(limited(t, time.Minute), t, dir, claims)
		if source == projection.FromSnapshot {
			restored++
		}
		t.Logf("round %d: %d commits (%d new), %d acknowledged in all, from %s", round, commits, commits-before, len(claims), source)
		before = commits
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if restored < rounds/2 {
		t.Errorf("only %d of %d rounds restored a snapshot: this doesn't test much", restored, rounds)
	}
}

// killOnce runs the writing child, kills it, and returns what it claims.
// Every fifth round kills it while it starts.
func killOnce(t *testing.T, dir string, round int) []claim {
	t.Helper()
	ctx := limited(t, time.Minute)
	p, out := child(t, "writer", dir, strconv.Itoa(round))
	moment := time.Duration(rand.IntN(600)) * time.Millisecond
	if round%5 == 4 {
		moment /= 4
	} else {
		out.awaitBegun(ctx, t, p)
	}
	select {
	case <-time.After(moment):
		p.Kill()
	case <-p.Done():
		t.Fatalf("the child ended by itself: %v", p.Wait(ctx))
	}
	var claims []claim
	for _, line := range out.lines() {
		if line != "open" {
			claims = append(claims, must(parseClaim(line))(t))
		}
	}
	return claims
}

// inspect opens what the killed child has left, checks all of it, and says
// where the projection's state came from and how many commits there are.
func inspect(ctx context.Context, t *testing.T, dir string, claims []claim) (projection.Source, int) {
	t.Helper()
	log, err := eventlog.Open(ctx, eventlog.Options{App: crashApp, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	book := must(openBook(ctx, log))(t)
	records := readBook(ctx, t, book)
	checkBook(t, records, claims)
	rec := checkRestart(ctx, t, log, book, records)
	head := must(book.State(ctx))(t).Last
	checkResent(ctx, t, book, claims)
	if now := must(book.State(ctx))(t).Last; now != head {
		t.Errorf("sending again appended %d commits", now-head)
	}
	return rec.Source, len(records)
}
