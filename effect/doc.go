// Package effect carries out what projections want done outside: mails,
// payments, calls of other services.
//
//	mails, err := effect.New[Mail](ctx, log, "mails", 1)
//	effect.On(mails, orders, func(tx *effect.Tx[Mail], e eventlog.Event, d Placed) error {
//		tx.Want("", Mail{To: d.Customer}) // an intent: nothing is sent here
//		return nil
//	})
//	rt, err := projection.Start(ctx, log, mails)
//	err = mails.Run(ctx, func(ctx context.Context, e effect.Effect[Mail]) error {
//		return smtp.Send(ctx, e.ID, e.Intent) // at least once, with the same ID
//	}, effect.Options{})
//
// # What it guarantees
//
//   - Each intent is carried out at least once, or given up after so many
//     failed attempts, which is recorded and listed (Parked).
//   - Its ID is made of the event's identity, the outbox and a name, so it is
//     the same at each attempt, in each process, and after each replay and
//     restore, and no other event's has it.
//   - An outcome counts for the event that its ID names, and no other: where
//     that isn't in the log, Orphans lists it.
//   - What became of it is recorded as an event, once: there is one end. Where
//     that is recorded, it is never carried out again, also by a replay
//     without any snapshot.
//   - Failed attempts are events too, so a restart goes on counting, and waits
//     as long as it would have waited.
//   - Nothing is carried out before the event that caused it is in the log and
//     applied, and by no other process than the holder of the lease.
//   - Another version of the outbox, or a replay that comes to other intents,
//     begins where the run before has ended all effects: what it states anew for
//     earlier events is passed over, with a record.
//
// # What you may not assume
//
//   - That an effect is carried out once: a process may end, or be paused
//     beyond its lease, between the effect and its record. Whoever carries out
//     has to recognise the ID.
//   - An order between effects: they run side by side.
//   - That a power failure spares an event that was acknowledged and whose
//     effect is carried out already, on an embedded log without SyncAlways:
//     append such events Synced.
//   - That an attempt which kills the process is counted.
//
// # Cost
//
// An effect costs two commits: the event's and the outcome's. Each ID is a key
// of the outcomes' feed, so that the server's memory grows with them
// (some 100 to 200 bytes each) until the feed is trimmed.
//
// Files: outbox.go (intents), id.go and forms.go (IDs), outcome.go (records),
// orphan.go, run.go, carry.go, told.go (logs and hooks), schedule.go, mark.go (versions), parked.go,
// rehearse.go (without a log), options.go.
package effect
