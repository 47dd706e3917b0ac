package eventlog

// denied is told that the server didn't permit a publish to one of the feed's
// subjects. It doesn't say which of several to the subject that are in flight
// it was, and permissions may have changed between them: so they are settled
// when as many were refused as were sent.
func (w *writer) denied(e *PermissionError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Op != "publish" {
		return // no acknowledgements come in: the deadline tells
	}
	if w.refused == nil {
		w.refused = make(map[string]int)
	}
	w.refused[e.Subject]++
	sent := 0
	var ps []*Pending
	for _, p := range w.inflight {
		if p.pr.msg.subject == e.Subject {
			sent += p.open
			ps = append(ps, p)
		}
	}
	if sent > w.refused[e.Subject] {
		return
	}
	delete(w.refused, e.Subject)
	sortPending(ps)
	for _, p := range ps {
		p.open = 0
		w.settle(p, Position{}, e)
	}
}
