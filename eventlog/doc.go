// Package eventlog is the log of events: feeds on JetStream, appended to and
// read in this process, on an embedded server or a cluster elsewhere.
//
// # What it guarantees
//
//   - A commit, the events of one append, is stored and read as a whole or
//     not at all, also through kill -9.
//   - Append returns nil only when the server has the commit; on a cluster, a
//     quorum of the stream's replicas. What a power failure may take from an
//     embedded log is bounded by Options.SyncInterval, and nothing with
//     Options.SyncAlways.
//   - An append with Draft.Durability Synced returns nil only when the commit
//     is on the disk, and everything before it in the feed. Where that can't
//     be had (not embedded, in memory) it is refused: ErrNotSynced.
//   - An expectation (ExpectNew, ExpectSeq) is checked by the server, in the
//     same step as the append: of several that expect the same, one succeeds.
//   - A transaction, commits of several keys of one feed, is appended as a
//     whole or not at all, and only where each key's expectation and each
//     guard on a tag holds in that same step.
//   - A commit that is sent again with its ID is in its key once: at once,
//     after the server has forgotten the ID, after restarts, and from several
//     processes. What this process sends again by itself has an ID, too.
//   - An import can be killed and started again: each draft with an ID is
//     appended once, and the drafts of a key are in the input's order.
//   - A feed is read in the order of its sequences, each commit once, without
//     gaps, through reconnects and restarts of the server. Where that can't
//     be done there is an error: ErrTrimmed, ErrLostTail, ErrGap, ErrCorrupt.
//     Nothing is skipped silently.
//   - A feed that was here before is never silently begun anew: a stream that is
//     missing, or is another, or has settings that lose events is an error
//     (ErrMissing, ErrRecreated, ErrForeign, ErrUnsafe).
//   - A key is any non-empty string, and no two keys share commits. Applications
//     and feeds don't either, whatever their names.
//   - Errors have classes to test for with errors.Is. A definite one says
//     that nothing was appended; what isn't known is an ErrAmbiguous.
//
// # What you may not assume
//
//   - There is no atomicity across feeds: a commit is of one key, a
//     transaction of several keys of one feed. A reader sees the commits of a
//     transaction one after another, and its position may be between them.
//   - A power failure may leave the first commits of the last transaction of
//     an embedded log whose SyncAlways isn't set: the server brings a batch to
//     the disk before it stores it, and forgets that copy when it has.
//   - A guard is about literal tags. There are no conditions on patterns.
//   - There is no order across feeds, and commits of several writers to a
//     feed are in the order in which the server took them.
//   - ErrAmbiguous is neither success nor failure. Append again with
//     Draft.ID set to the ID that the error carries.
//   - IDs must be unique in their feed. One that names a commit of another
//     key is an ErrIdentity within the server's window for duplicates, and
//     unnoticed later.
//   - Event time is the server's clock, which may be set back: order is by
//     sequence alone.
//   - Events and Commits that reading lends out, and their Data, are valid
//     until the next step. Decoded values are yours.
//   - Reading one key for the first time reads the blocks that its commits lie
//     in: milliseconds to a tenth of a second in a large feed. Keep state in
//     projections. Reading it again soon costs a question to the leader.
//   - A stream that is deleted and created again under an open feed is noticed
//     within 10 s; until then, appends without an exact expectation reach it.
//   - A purge on the server is trusted to be a trim: it shows as ErrTrimmed
//     to those who hadn't read so far.
//
// # Way through the files
//
// Open: log.go, feed.go, stream.go. Append: append.go, writer.go, link.go;
// with an identity, identified.go; several keys, transaction.go, batch.go; to
// the disk, syncer.go; many, import.go. Read: reader.go, whose sources
// (source.go) are tail.go, bulk.go, history.go, keycache.go and follower.go.
// Ask the server: server.go. All files, by subject, are in
// docs/architecture.md; what is stored is in docs/format-commit.md.
package eventlog
