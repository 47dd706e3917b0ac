//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemark-es/tidemark/eventlog"
)

// transactionKeys is large, so that storing a batch takes a while.
const transactionKeys = 300

// runTransactor is a child: an embedded log and four callers that append
// transactions. Its arguments are the log's directory and the round. It
// prints each transaction that was acknowledged: writer and number.
func runTransactor(args []string) error {
	ctx := context.Background()
	log, err := eventlog.Open(ctx, eventlog.Options{App: crashApp, Dir: args[0]})
	if err != nil {
		return err
	}
	book, err := openBook(ctx, log)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 4 {
		writer := fmt.Sprintf("round%s-w%d", args[1], w)
		go func() {
			for n := 1; ; n++ {
				if _, err := book.AppendTransaction(ctx, transactionOf(writer, n)); err != nil {
					failed <- err
					return
				}
				fmt.Println(writer, n)
			}
		}()
	}
	return <-failed
}

func transactionOf(writer string, n int) (tx eventlog.Transaction) {
	for part := range transactionKeys {
		a := added{Writer: writer, N: n, Part: part + 1, Of: transactionKeys}
		tx.Drafts = append(tx.Drafts, eventlog.Draft{Key: fmt.Sprint("k", part), Tags: []string{writer}, Events: []any{a}})
	}
	return tx
}

// R1.2, T1.1: a process with an embedded log is killed at random moments
// while it appends transactions. Each is there whole, in one piece, or not at
// all; what was acknowledged is there.
func TestKilledTransactions(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[string]bool)
	whole := 0
	for round := range 12 {
		ctx := limited(t, time.Minute)
		p, out := child(t, "transactor", dir, strconv.Itoa(round))
		out.awaitBegun(ctx, t, p)
		select {
		case <-time.After(time.Duration(rand.IntN(400)) * time.Millisecond):
			p.Kill()
		case <-p.Done():
			t.Fatalf("the child ended by itself: %v", p.Wait(ctx))
		}
		for _, line := range out.lines() {
			acked[line] = true
		}
		whole = inspectTransactions(ctx, t, dir, acked)
		t.Logf("round %d: %d transactions, %d of them acknowledged", round, whole, len(acked))
	}
	if whole < 40 {
		t.Errorf("only %d transactions", whole)
	}
}

func inspectTransactions(ctx context.Context, t *testing.T, dir string, acked map[string]bool) int {
	t.Helper()
	log := must(eventlog.Open(ctx, eventlog.Options{App: crashApp, Dir: dir}))(t)
	defer log.Close()
	book := must(openBook(ctx, log))(t)
	found := make(map[string]bool)
	var next added
	for c, err := range book.Commits(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		var a added
		if err := c.Event(0).Decode(&a); err != nil {
			t.Fatal(err)
		}
		if next.Part > 1 && a != next {
			t.Fatalf("%+v where %+v is expected: a torn transaction", a, next)
		}
		if next.Part <= 1 && a.Part != 1 {
			t.Fatalf("a transaction begins with %+v", a)
		}
		next = a
		if next.Part++; a.Part == a.Of {
			next = added{}
			found[fmt.Sprint(a.Writer, " ", a.N)] = true
		}
	}
	if next.Part > 1 {
		t.Fatalf("the log ends where %+v is expected: a torn transaction", next)
	}
	for line := range acked {
		if !found[strings.TrimSpace(line)] {
			t.Errorf("%s was acknowledged, and isn't there", line)
		}
	}
	return len(found)
}
