package eventlog

import "context"

// Find looks for the commit with an ID in its key's history behind the
// sequence after, up to the key's head as the leader has it; ok is false where
// there is none. It answers whether an append that may have failed was stored.
// Reading a key for the first time reads its history (see what you may not
// assume), so give an after that is as late as it can be.
func (f *Feed) Find(ctx context.Context, key, id string, after uint64) (at Position, ok bool, err error) {
	_, seq, ok, err := f.findID(ctx, key, id, after)
	if err != nil || !ok {
		return Position{}, false, err
	}
	return Position{Feed: f.name, Seq: seq}, true, nil
}
