package projection

import "sync"

// trouble is what keeps something beside the handlers from being done, until
// it works again. Healthy tells it.
type trouble struct {
	mu  sync.Mutex
	err error
}

// set takes in the outcome of a try, nil where it worked, and says whether that
// is an error that wasn't known.
func (t *trouble) set(err error) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	news = err != nil && (t.err == nil || t.err.Error() != err.Error())
	t.err = err
	return news
}

func (t *trouble) get() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
