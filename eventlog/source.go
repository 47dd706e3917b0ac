package eventlog

import "context"

// source delivers the messages of a feed, from behind a sequence on, in order
// and each once: it starts anew behind the last one where what it reads from
// breaks. It knows nothing of commits. Whether messages are missing between
// two that it delivers is for the Reader to find out.
//
// Its methods are called by one goroutine at a time.
type source interface {
	// next waits for messages and returns those that have come, at least one;
	// or none, and no error, when the server has nothing more for now. They
	// are lent until the next call. The context's error doesn't end the
	// source; every other one does.
	next(ctx context.Context) ([]message, error)
	// close ends it and releases what it has. It is called once.
	close()
}
