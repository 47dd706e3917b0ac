package projectiontest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tidemark-es/tidemark/effect"
	"github.com/tidemark-es/tidemark/process"
	"github.com/tidemark-es/tidemark/projection"
)

// Outbox makes an outbox without a log, for New. It fails the test where the
// name is wrong.
func Outbox[I any](t testing.TB, name string) *effect.Outbox[I] {
	t.Helper()
	o, err := effect.Offline[I](name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Wants checks that the commit stated just these intents, in the order of
// their effects' IDs; none given: that it stated none. It is for Result.Then.
func Wants[I any](o *effect.Outbox[I], intents ...I) Check {
	return func(by *projection.Outcome) string {
		if by == nil {
			return fmt.Sprintf("intents of outbox %q: ask behind When", o.Name())
		}
		var got []I
		for _, e := range o.Stated(by) {
			got = append(got, e.Intent)
		}
		if len(got)+len(intents) == 0 || alike(got, intents) {
			return ""
		}
		g, w := texts(got, intents)
		return fmt.Sprintf("outbox %q wants %s, want %s", o.Name(), g, w)
	}
}

// Waiting checks how many effects are wanted and neither ended nor given up,
// due or not, and how many were given up.
func Waiting[I any](o *effect.Outbox[I], pending, parked int) Check {
	return func(*projection.Outcome) string {
		if p, g := o.Pending(), len(o.Parked()); p != pending || g != parked {
			return fmt.Sprintf("of outbox %q, %d effects wait and %d were given up, want %d and %d", o.Name(), p, g, pending, parked)
		}
		return ""
	}
}

// Carry carries out each effect that is due at the kit's time, once, as
// effect.Outbox.Run would, and applies the outcomes. What isn't due yet, or
// waits behind a failure, is when the kit is At a later time.
func Carry[I any](k *Kit, o *effect.Outbox[I], do func(ctx context.Context, e effect.Effect[I]) error, opts effect.Options) *Carried {
	k.t.Helper()
	due, err := o.Due(k.run.now, opts)
	if err != nil {
		k.t.Fatal(err)
	}
	c := &Carried{kit: k}
	for _, e := range due {
		outcome, err := effect.Attempt(context.Background(), e, do, opts)
		if err != nil {
			k.t.Fatal(err)
		}
		k.Given(o.Outcomes(), e.ID, outcome)
		c.outcomes = append(c.outcomes, outcome)
	}
	return c
}

// Carried is what became of effects.
type Carried struct {
	kit      *Kit
	outcomes []any
}

// Then checks that these outcomes were recorded, such as effect.Done{Attempts:
// 1}, in the order of the effects' events; none given: that nothing was due.
func (c *Carried) Then(outcomes ...any) *Kit {
	c.kit.t.Helper()
	if len(c.outcomes)+len(outcomes) > 0 && !alike(c.outcomes, outcomes) {
		g, w := eventTexts(c.outcomes, outcomes)
		c.kit.t.Errorf("the outcomes are %s, want %s", g, w)
	}
	return c.kit
}

// reactRounds bounds how long a process manager may react to itself.
const reactRounds = 1000

// React lets a process manager append all that it wants and that is due at the
// kit's time, timers that fire included, and what it wants because of that, and
// so on. Timers that aren't due are when the kit is At a later time.
func React[S any](k *Kit, m *process.Manager[S]) *Reacted {
	k.t.Helper()
	r := &Reacted{kit: k}
	for range reactRounds {
		due, err := m.Due(k.run.now)
		if err != nil {
			k.t.Fatal(err)
		}
		if len(due) == 0 {
			return r
		}
		for _, d := range due {
			c := On(d.Feed, d.Key, d.Events...)
			if err := k.run.step(c); err != nil && !errors.Is(err, projection.ErrNotRead) {
				k.t.Fatalf("the reaction %s/%s %s: %v", d.Feed.Name(), d.Key, eventText(d.Events), err)
			}
			k.verify(false)
			k.Given(m.Outcomes(), d.ID, effect.Done{Attempts: 1})
			r.commits = append(r.commits, c)
		}
	}
	k.t.Fatalf("the process manager still reacts after %d rounds", reactRounds)
	return r
}

// Reacted is what a process manager appended.
type Reacted struct {
	kit     *Kit
	commits []Commit
}

// Then checks that just these commits were appended, in the order of what they
// are reactions to; their times don't count. None given: nothing was due.
func (r *Reacted) Then(commits ...Commit) *Kit {
	r.kit.t.Helper()
	same := len(r.commits) == len(commits)
	for i := 0; same && i < len(commits); i++ {
		a, b := r.commits[i], commits[i]
		same = a.Feed == b.Feed && a.Key == b.Key && alike(a.Events, b.Events)
	}
	if !same {
		r.kit.t.Errorf("the reactions are %s, want %s", listed(r.commits), listed(commits))
	}
	return r.kit
}

func listed(commits []Commit) (s []string) {
	for _, c := range commits {
		s = append(s, fmt.Sprintf("%s/%s %s", c.Feed.Name(), c.Key, eventText(c.Events)))
	}
	return s
}
