// Package bubble runs tests of the embedded server in fake time
// (testing/synctest): hours pass in milliseconds.
//
// A package that uses it calls ats.Register of the server in its TestMain: the
// server's own clock must not be born in a bubble.
package bubble

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Run runs f in a bubble of its own, and returns when all that it has started
// has ended. What an earlier bubble's server left to the garbage collector is
// collected before: a finalizer of one bubble must not run in another.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	synctest.Test(t, f)
}

// Pass lets time pass for the caller, and for all else in its bubble. Outside
// of one it panics: a test must not sleep.
func Pass(d time.Duration) {
	// A bubble's clock starts with the year 2000.
	if time.Now().Year() >= 2026 {
		panic("bubble: Pass was called outside of a bubble")
	}
	time.Sleep(d)
}
