// Package lease lets one process at a time do something under a name: save a
// projection's snapshots, carry out its effects. What it promises:
//
//   - Each hold of a name has an epoch, and a later hold has a greater one,
//     whoever holds it (a fencing token, as in Kleppmann's "How to do
//     distributed locking"). Give it to the store that you write to, and let
//     that refuse lower ones: then a holder that was paused and doesn't know
//     it can't write any more.
//   - While [Lease.Valid] is true nobody else has the name, as long as clocks
//     run at the same rate within a fifth. No two clocks are ever compared:
//     who wants the name waits until it has seen the record unchanged for the
//     holder's TTL and a quarter, by its own monotonic clock; the holder gives
//     up when it couldn't renew for one TTL, by its own.
//
// What you may not assume: that only the holder is running (between Valid and
// what comes next a process may be paused for any time, hence the epochs), or
// that epochs have no holes.
//
// The records are in the bucket <app>_leases and are read from its leader.
// A record stays when its lease is released, since it holds the epoch. Where
// the bucket is lost, epochs would begin anew; [Lease.Raise] lifts them above
// what the store has seen.
package lease
