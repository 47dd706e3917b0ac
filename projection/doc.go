// Package projection derives state from feeds and keeps it: tables that are
// restored from snapshots, catch up with the log, follow it, and are saved by
// themselves.
//
// # What you can rely on
//
//   - Each event of a feed is applied exactly once to the state that you see,
//     in the feed's order, whatever crashed in between: position and state are
//     saved together, and the position never runs ahead.
//   - A commit is applied whole or not at all. A handler's error or panic
//     undoes its commit and stops that projection there; the others go on.
//   - What is restored belongs to this log: before a snapshot is used, the
//     leader of each feed's stream is asked for the messages that it was taken
//     at. A log that lost its tail, was made anew, or was restored from a
//     backup is found out, and an older snapshot or a replay serves.
//   - A snapshot that is damaged, of another version, or of another meaning
//     costs time, never state, and leaves its reason in Status and in the log
//     lines. Where the log no longer reaches its start and no snapshot fits,
//     Start fails with eventlog.ErrTrimmed.
//   - Saving takes the unit's goroutine as long as there are changes since the
//     last save; encoding and writing happen beside.
//   - A commit goes through all tables that read one another in one step: what
//     reconverges is called once, with the effects of all branches.
//   - Readers of a table never see half of a commit, and never wait for I/O.
//
// # What you may not assume
//
//   - An order between events of different feeds: there is none.
//   - That two tables are at the same position: reading two tables is two
//     reads, and View is one.
//   - That a handler runs once for each event: after a crash, events behind
//     the last snapshot are applied again, to the state of that snapshot. A
//     handler must have no effect but on its table.
//   - That Append makes an event visible: Runtime.Wait does.
//
// # Duties of a handler
//
// It is a function of the table and the event alone: no clock (use the
// event's Time), no randomness, no I/O, no goroutine. It replaces values and
// never changes one in place: a value that holds a map, a slice or a pointer
// is copied first. It keeps neither its Tx nor the Event's Data. It calls no
// method of a Table, a Watcher or the Runtime, nor View: those wait for the
// handler, some for ever; other tables are read by Reads. When what it computes
// changes, raise the table's Version.
//
// A Table is saved in proportion to what changed. A Value is one struct. A
// Model is a type of the user's own that changes in place.
//
// Start is the way in; Table, On, OnChange and Unit say what to run, Config
// how; Watch and View how to look on. docs/projections.md is about tables that
// read tables.
package projection
