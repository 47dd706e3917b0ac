// Package integration holds the long tests: the library against real
// nats-server processes, on clusters, and in processes that are killed. They
// are behind a build tag:
//
//	go test -tags integration ./integration/...
//
// They build the nats-server that go.mod names once, and take about four
// minutes on two cores. What a server wrote is kept with -artifacts.
package integration
