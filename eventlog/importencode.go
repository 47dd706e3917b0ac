package eventlog

// importCommit is a commit on its way.
type importCommit struct {
	prepared
	index  uint64        // of its first draft in the input
	packed []importDraft // where it has several: all of them
	sent   bool          // at least once
	all    []any         // events of packed; their memory is used again
}

// drafts are those that a commit holds.
func (c *importCommit) drafts() []importDraft {
	if c.packed == nil {
		return []importDraft{{c.draft, c.index}}
	}
	return c.packed
}

// fresh is an empty commit. Most of what an import allocates would be these.
func (im *importer) fresh(index uint64) *importCommit {
	c, n := new(importCommit), len(im.spare)
	if n > 0 {
		c, im.spare = im.spare[n-1], im.spare[:n-1]
		data, all := c.msg.data, c.all
		clear(all)
		*c = importCommit{all: all[:0]}
		c.msg.data = data[:0]
	}
	c.index = index
	return c
}

// encode makes a commit of drafts, and keeps them.
func (im *importer) encode(ds []importDraft) (*importCommit, error) {
	if len(ds) == 1 {
		return im.encodeOne(&ds[0])
	}
	c := im.fresh(ds[0].index)
	c.packed = ds
	d := ds[0].Draft
	for i := range ds {
		if len(ds[i].Events) == 0 || len(ds[i].ID) > maxIDBytes || !validHeaderValue(ds[i].ID) {
			return nil, ErrInvalid // found when it is alone
		}
		c.all = append(c.all, ds[i].Events...)
	}
	d.Events = c.all
	ids := ""
	if d.ID != "" {
		ids = packedIDs(ds)
		d.ID = packedID(ids)
	}
	if err := im.f.prepare(&c.prepared, d); err != nil {
		return nil, err
	}
	if ids != "" {
		c.msg.header = append(c.msg.header, field{headerIDs, ids})
		if err := im.f.checkMessage(&c.prepared); err != nil {
			return nil, err
		}
	}
	return c, im.checkReserve(c)
}

func (im *importer) encodeOne(d *importDraft) (*importCommit, error) {
	c := im.fresh(d.index)
	if err := im.f.prepare(&c.prepared, d.Draft); err != nil {
		return nil, err
	}
	return c, im.checkReserve(c)
}

// importReserve are the bytes that the first commit of a batch has more.
const importReserve = 128

func (im *importer) checkReserve(c *importCommit) error {
	h, limit := c.msg.headerSize(), int(im.f.log.nc.MaxPayload())-importReserve
	if n := h + len(c.msg.data); n > limit {
		return &TooLargeError{Feed: im.f.name, Key: c.draft.Key, Size: n, Max: limit}
	}
	if h > maxHeaderBytes-importReserve {
		return &TooLargeError{Feed: im.f.name, Key: c.draft.Key, Size: h, Max: maxHeaderBytes - importReserve}
	}
	return nil
}
