//go:build tidemark_mangle

package eventlog

// mangling overwrites what was lent as soon as it isn't valid any more: a
// batch at the reader's next step, a commit at the iterator's. So a handler
// that keeps one of them, or an event or its Data, finds nonsense in it at
// once, and not only where memory happens to be used again. It is for tests:
//
//	go test -tags tidemark_mangle ./...
const mangling = true

// lend gives a message to a reader in memory of its own, since what the
// source has lent may be in use elsewhere: by other followers, and to
// recognise the log by.
func lend(m *message) *message {
	c := m.clone()
	return &c
}
