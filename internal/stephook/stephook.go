// Package stephook lets the benchmarks step a projection through commits that
// are in memory, so that reading a log isn't what they measure.
package stephook

import "github.com/tidemark-es/tidemark/eventlog"

// Apply lets a projection that isn't started handle commits of a feed, in
// order, as a unit does with a batch; again and again where it is asked to.
// Package projection fills it in: projection is a projection.Projection.
var Apply func(projection any, feed *eventlog.Feed, commits []eventlog.Commit) error
