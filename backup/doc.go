// Package backup saves a whole application (its feeds, snapshots and registers)
// to a directory, and restores it elsewhere, while it runs.
//
// # What it guarantees
//
//   - A directory without a whole backup.json isn't a backup: that file is
//     written last, and holds the size and SHA-256 of every other one. An
//     interrupted Save leaves none, and saving to the directory again goes on.
//   - Every snapshot in it was read back chunk by chunk, and the feeds in it
//     reach from where the snapshots need them to beyond where those end:
//     snapshots are saved before feeds, and all of it again where a feed was
//     trimmed meanwhile.
//   - No commit in it is ahead of what it followed from: the feeds are cut at
//     one time, so that the outcome of an effect, or a reaction, is there only
//     where its cause is. Batches and transactions are whole. (Servers of a
//     version whose backups can't be cut: Manifest.Notes says so.)
//   - A restored application has the feeds with their sequences, times and
//     incarnations, so anchors, positions and IDs stay good; its snapshots have
//     the digests that the backup says, which Restore compares.
//   - Restore writes into nothing but an application that has nothing, or what
//     an interrupted Restore of the same backup left.
//   - Restore takes no backup's word for whose it is: names, paths, settings
//     and what is in the files are compared with the application before
//     anything is written ([RefusedError]).
//
// # What you may not assume
//
//   - That all is in it that was appended before Save returned: what was
//     there when it began is.
//   - That the cut is exact on a cluster whose servers' clocks don't agree.
//   - That streams without the application's prefix (adopted ones) are in it.
//   - That a restored log goes on as the original did: whoever holds state
//     derived from later events is ahead of it. Projections notice by their
//     anchors; other readers have to begin again.
package backup
