// Package process has process managers (sagas): a state machine for each key
// that reacts to events by appending events, and by timers.
//
//	p, err := process.New[Shipping](ctx, log, "shipping", 1, parcels)
//	process.On(p, orders, nil, func(do *process.Step[Shipping], e eventlog.Event, d Paid) error {
//		do.Set(Shipping{Paid: true})
//		do.Append(parcels, e.Key, Requested{})
//		do.After(24*time.Hour, "late")
//		return nil
//	})
//	rt, err := projection.Start(ctx, log, p)
//	err = p.Run(ctx, effect.Options{})
//
// # What it guarantees
//
//   - A reaction is in the log once: its identity is made of that of the event
//     that it reacts to. Neither a crash at any moment, nor a replay, nor a
//     second process appends it again.
//   - A timer fires once, not before its time, also after restarts. What it
//     does is an event like others, so a replay needs no clock.
//   - State and reactions are of one step: both, or none.
//   - What led to a reaction is handled before it, of whichever feed, live and
//     at a replay: it says what its process had seen (eventlog.Draft.Seen).
//
// # What you may not assume
//
//   - An order between events of several feeds that don't follow from one
//     another: a replay may bring them in another one than they were first
//     handled in. Let the state note what has come ("paid", "packed") and decide
//     on that, so that each order leads to the same one. What a replay would do
//     anew for events whose reactions had all ended is passed over; without such
//     a mark (within Options.MarkEvery before a crash, and while an older
//     reaction is pending) it is done.
//   - An order among reactions: what has to be in order goes into one commit,
//     or waits for an event.
//   - That a timer that was set doesn't fire because the state moved on: look
//     at the state.
//   - That a state that was ended by a step with reactions leaves no row: a
//     small one stays.
//   - That a timer fires on time: it waits for Run, and its time is the server
//     clock's.
//
// Reactions are effects (package effect), so those that can't be appended are
// retried, and given up in the end: Parked lists them, for Retry and Drop.
//
// Files: process.go (steps), run.go (appends), parked.go, rehearse.go (without a
// log).
package process
