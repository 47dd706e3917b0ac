//go:build integration

package integration

import "os"

// fullVariable asks for the long runs, which take hours: `.ci/full` sets it
// to 1.
const fullVariable = "TIDEMARK_FULL"

// fullOr returns how often a test of random runs tries: full where the long
// runs are asked for, else quick, which has to fit into a CI run.
func fullOr(full, quick int) int {
	if os.Getenv(fullVariable) == "1" {
		return full
	}
	return quick
}
