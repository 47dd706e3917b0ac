// Package command is the side that writes: deciders, which turn a command and
// a key's state into events.
//
//	accounts, err := command.New(feed, table) // table: derived from feed, a row a key
//	at, err := accounts.Do(ctx, "acct-42", func(a Account) ([]any, error) {
//		if a.Cents < 500 {
//			return nil, ErrTooPoor
//		}
//		return []any{Withdrawn{500}}, nil
//	})
//
// # What it guarantees
//
//   - A command's events are appended where, and only where, the state that it
//     was decided on included every event of its key at that moment.
//   - So is a rejection: it is checked against the key's head.
//   - Commands to one key through one Decider are carried out one after
//     another, in the order in which they came, and each sees the events of
//     those before it.
//   - A command with an ID is carried out once, whoever repeats it, as long as
//     its events aren't trimmed from the log.
//   - No log is read for a command. The exceptions: one with an ID, which is
//     looked for in its key's history.
//
// # What you may not assume
//
//   - That what the state derives from beside the key's own events (other keys,
//     other feeds) is the latest. Conditions on several keys are transactions
//     and guards (eventlog.Feed.AppendTransaction).
//   - That decide is called once.
//   - That other tables have applied the events when Do returns: wait for
//     Result.At. Applied waits for the decider's own table.
//
// # How it knows the key's head
//
// It doesn't have to: the table says, with the state, up to which sequence of
// the feed it goes (GetAt), and the decider remembers the last sequence of the
// keys that it was used on, from its own appends and from the conflicts. Where
// that is not beyond what the state includes, an append that expects it is
// accepted by the server only if nothing has come since: then the state
// included all there was. A wrong guess is a conflict, which names the right
// one: if that isn't beyond what the state includes, it is expected instead,
// and nothing is decided again. Nothing is stored for it, and it works with any
// table.
//
// Files: decider.go, keys.go (queues, heads), handler.go, options.go,
// errors.go.
package command
