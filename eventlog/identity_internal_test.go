package eventlog

import (
	"fmt"
	"testing"
)

// The cache forgets what it must, and never says that an ID isn't there in a
// part of the history that it doesn't know any more.
func TestIdentityCacheIsBounded(t *testing.T) {
	c := newIdentityCache()
	c.max = 100
	for k := range 50 {
		key := fmt.Sprint("k", k)
		c.extend(key, 0, 10, map[[16]byte]uint64{idHash("a"): 5})
		for i := range uint64(5) {
			c.add(key, fmt.Sprint("id", i), 11+i, 10+i)
		}
		if known, seq, ok := c.look(key, "id4", 0); !ok || seq != 15 || known != 15 {
			t.Fatalf("%s: %d %d %v", key, known, seq, ok)
		}
		size := 0
		for _, k := range c.keys {
			size += len(k.ids) + 1
		}
		if size != c.size || size > 100 {
			t.Fatalf("%d IDs, counted %d", size, c.size)
		}
	}
	if known, _, ok := c.look("forgotten", "a", 3); ok || known != 3 {
		t.Errorf("an unknown key is known up to %d", known)
	}
}

func TestIdentityCacheKnowsItsRange(t *testing.T) {
	c := newIdentityCache()
	c.extend("k", 100, 200, map[[16]byte]uint64{idHash("b"): 150})
	if known, _, _ := c.look("k", "a", 0); known != 0 {
		t.Errorf("from the start: known up to %d", known)
	}
	if known, seq, ok := c.look("k", "b", 120); known != 200 || seq != 150 || !ok {
		t.Errorf("within: %d %d %v", known, seq, ok)
	}
	c.add("k", "c", 300, 250) // something lies between 200 and 250
	if known, _, ok := c.look("k", "c", 100); known != 200 || ok {
		t.Errorf("behind a hole: %d %v", known, ok)
	}
	c.extend("k", 0, 200, map[[16]byte]uint64{idHash("a"): 50, idHash("b"): 150})
	if known, seq, ok := c.look("k", "a", 0); known != 200 || seq != 50 || !ok {
		t.Errorf("read again: %d %d %v", known, seq, ok)
	}
}
