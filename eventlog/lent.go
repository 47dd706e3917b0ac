package eventlog

import stdunsafe "unsafe"

// lentString is b as a string that stands where b does: it lasts for as long
// as b isn't used again.
func lentString(b []byte) string { return stdunsafe.String(stdunsafe.SliceData(b), len(b)) }
