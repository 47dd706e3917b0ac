// Package timeframe holds the positions that all of Tidemark shares: vectors of
// feed -> last included sequence, and the proof that they belong to a log.
//
// # Guarantees
//
//   - A [Timeframe] never changes. Any number of goroutines may read one, and
//     a copy costs nothing.
//   - Timeframes are a lattice: [Merge] is the least that covers both, [Meet]
//     the greatest that both cover. Both are commutative, associative,
//     idempotent, and absorb each other. [Timeframe.Covers] is a partial order,
//     and [Timeframe.Compare] agrees with it.
//   - Absent is not zero. {a=0} says that feed a is known and nothing of it is
//     included; it lies strictly above the empty timeframe. Per feed the order
//     is absent < 0 < 1 < 2 …
//   - The text form and the binary form are canonical: equal values have equal
//     bytes, only those bytes decode, and decoding is the exact inverse of
//     encoding. Hostile bytes cause an error, never a panic, and allocate no
//     more than a small multiple of their length. docs/format-timeframe.md
//     describes the forms.
//   - [Lineage.Check] says [Verified] only where the log holds, at the position
//     of the state, the message that the state was derived from.
//   - Nothing here does I/O, reads a clock, takes a lock or starts a goroutine,
//     and nothing panics.
//
// # What you may not assume
//
//   - A sequence says nothing about its log. A log that was lost, cut back,
//     restored or created again uses the same numbers for other messages. So a
//     timeframe that comes back from storage is trusted only after its [Tag] was
//     checked against the log.
//   - An anchor proves the message at its position, not those before it. That
//     nothing was taken out inside is up to the log, and to digests of the state.
//   - Concurrent timeframes have no order, and merging two timeframes doesn't
//     merge the states that they stand for.
//
// # The parts
//
// [Of], [FromMap] and [Parse] make timeframes, [Timeframe.Advance] moves them,
// and [Timeframe.Covers], [Timeframe.Missing], [Merge] and [Meet] relate them.
// A [Tag] is a timeframe and the [Lineage] of each feed, which [Lineage.Push]
// extends and [Lineage.Check] compares with what was [Observed] of the log.
// [ValidName] is the rule for names throughout.
package timeframe
