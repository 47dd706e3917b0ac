//go:build race

package eventlog_test

// racing says whether the race detector is on, which makes all of it ten
// times slower.
const racing = true
