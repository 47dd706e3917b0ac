// Package snapshot stores incremental snapshots of derived state in a JetStream
// key-value bucket.
//
// # What it holds
//
// A unit is one or more projections, its members, that are saved at one
// consistent cut. A [Cut] names, per member, the keys that changed since the
// manifest before; [Store.Save] writes them as one immutable segment (sorted
// entries and tombstones, compressed, cut into chunks that are named by their
// SHA-256), then a [Manifest] that lists every member's segments from the
// oldest to the newest, and last moves the unit's head by compare-and-set. A
// crash between any two of these writes leaves garbage and nothing else;
// [Store.Sweep] removes it.
//
// [Store.Candidates] lists what could be restored, newest first, with a reason
// for each that can't be; [Store.Load] merges one member's segments and yields
// its state, sorted by key.
//
// [Store.Export] copies a unit's snapshots to a [Target], and [Store.Import]
// takes over what fits of a [Peer]'s.
//
// # What it guarantees
//
//   - No byte is decoded before the chunk that holds it has been checked
//     against its name, and no decoder allocates what hostile bytes ask for.
//   - A save is whole or absent, and a failed one leaves nothing behind that
//     keeps the next from succeeding.
//   - Two writers of one unit can't overwrite each other unseen: one of them
//     gets [ErrConflict] or [ErrStaleBase]. A writer with an older epoch gets
//     [ErrFenced].
//   - Compaction reads the store, never live state, and its failure doesn't
//     fail the save that it follows.
//
// # What you may not assume
//
//   - That a manifest belongs to the log at hand: compare its Tag with the log,
//     and version, meaning and codec with the code.
//   - That what [Store.Load] has yielded counts before the sequence has ended
//     without an error: build in shadow, swap at the end.
//   - That a candidate's chunks are whole: only Load looks at them. Where it
//     fails, take the next candidate.
//   - That a snapshot exists at all: it can always be derived from the log
//     again, so losing one costs time, never data.
package snapshot
