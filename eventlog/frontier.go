package eventlog

import "sync/atomic"

// frontier is what the server has acknowledged to this process: who reads the
// log's files needn't ask how far they go, and is woken without a delivery.
type frontier struct {
	upto    atomic.Uint64 // the highest sequence
	count   atomic.Uint64 // acknowledgements
	waiting atomic.Bool   // somebody waits for bell
	bell    chan struct{} // has room for one
}

// note takes an acknowledgement; it may come in any order.
func (a *frontier) note(seq uint64) {
	for {
		old := a.upto.Load()
		if seq <= old || a.upto.CompareAndSwap(old, seq) {
			break
		}
	}
	a.count.Add(1)
	if a.waiting.Load() {
		a.waiting.Store(false)
		select {
		case a.bell <- struct{}{}:
		default:
		}
	}
}
