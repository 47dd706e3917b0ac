package eventlog

import (
	stdunsafe "unsafe"
)

// lentString is b as a string that stands where b does: it lasts for as long
// as b isn't used again.
func lentString(b []byte) string { return stdunsafe.String(stdunsafe.SliceData(b), len(b)) }

// released is told of memory that was lent with a batch and is about to be
// used again.
func released([]byte) {}
