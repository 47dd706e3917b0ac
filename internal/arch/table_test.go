// Package arch holds the arrows between the packages: which may import which.
// It has tests only. The way through is
//
//	timeframe <- eventlog <- projection <- cmd, bench, integration
//	timeframe <- snapshot <- projection
//
// and a package that points against it makes everything depend on everything.
package arch

const module = "github.com/tidemark-es/tidemark"

// rule says what the packages that match a pattern may import of this module.
// Patterns are paths below the module, as the go command has them: "a/..." is
// a and all below it.
type rule struct {
	packages string   // a pattern; an exact path wins over a longer "/..."
	may      []string // patterns, for all files; itself is always allowed
	tests    []string // patterns, in addition, for _test.go files
	reason   string
}

// rules has a row for each package. There is no row for all of internal: each
// package there says for itself how low it is.
var rules = []rule{
	{packages: "timeframe",
		reason: "the value type that all share: whatever it imported, all would import"},
	{packages: "eventlog", may: []string{"timeframe", "internal/..."},
		reason: "the log knows nothing of what is derived from it"},
	{packages: "snapshot", may: []string{"timeframe", "internal/..."}, tests: []string{"eventlog"},
		reason: "the store keeps bytes and their tags, and is usable without a log of ours or projections; its tests may run one"},
	{packages: "internal/bubble",
		reason: "fake time for tests of any package"},
	{packages: "internal/highwater", may: []string{"timeframe"},
		reason: "judges a log by its mark, and asks nothing itself"},
	{packages: "internal/kv", tests: []string{"eventlog"},
		reason: "records in a bucket, read from its leader: what all that isn't a feed is kept in"},
	{packages: "lease", may: []string{"timeframe", "internal/grace", "internal/kv", "internal/panics"}, tests: []string{"eventlog", "internal/bubble", "internal/fuzzmem"},
		reason: "a lease guards whatever its holder does, and knows none of it; its tests run a log's server"},
	{packages: "dependants", may: []string{"timeframe", "internal/kv"}, tests: []string{"eventlog", "internal/bubble", "internal/fuzzmem"},
		reason: "a register of positions, open to readers that are no projections; its tests run a log's server"},
	{packages: "projection", may: []string{"eventlog", "snapshot", "lease", "dependants", "timeframe", "internal/..."},
		reason: "reads the log and restores snapshots, and is the top of the library"},
	{packages: "backup", may: []string{"eventlog", "snapshot", "timeframe", "internal/..."}, tests: []string{"projection"},
		reason: "copies what is stored, and knows none of who derives it"},
	{packages: "command", may: []string{"eventlog", "timeframe", "internal/..."}, tests: []string{"projection"},
		reason: "decides on any state that says what it includes, as tables do, and appends to a feed"},
	{packages: "effect", may: []string{"eventlog", "projection", "lease", "snapshot", "dependants", "timeframe", "internal/..."},
		reason: "an outbox is a projection, and its effects are carried out by the holder of a lease"},
	{packages: "process", may: []string{"effect", "eventlog", "projection", "lease", "snapshot", "dependants", "timeframe", "internal/..."},
		reason: "a process manager is a projection whose effects are appends"},
	{packages: "projectiontest", may: []string{"effect", "process", "projection", "eventlog", "snapshot", "lease", "dependants", "timeframe", "internal/..."},
		reason: "what a user's tests import: it steps projections, and runs no server"},
	{packages: "cmd/demo/...", may: []string{"cmd/demo/...", "backup", "command", "effect", "process", "projection", "eventlog", "snapshot", "lease", "dependants", "timeframe", "internal/..."},
		reason: "a user of the whole library; nobody imports a command"},
	{packages: "bench/...", may: []string{"bench/...", "backup", "command", "effect", "process", "projectiontest", "projection", "eventlog", "snapshot", "lease", "dependants", "timeframe", "internal/..."},
		reason: "measures the whole library"},
	{packages: "integration/...", may: []string{"integration/...", "backup", "command", "effect", "process", "projection", "eventlog", "snapshot", "lease", "dependants", "timeframe", "internal/..."},
		reason: "tests the whole library"},
	{packages: "internal/endtest", may: []string{"backup", "command", "effect", "process", "projection", "eventlog", "snapshot", "lease", "dependants", "timeframe", "internal/..."},
		reason: "calls everything, in tests"},
	{packages: "internal/grace",
		reason: "what a call may still do when its context has ended"},
	{packages: "internal/arch",
		reason: "reads the source, and needs none of it"},
	{packages: "internal/equal",
		reason: "when values are the same: for all that stores some"},
	{packages: "internal/utc", may: []string{"internal/equal"},
		reason: "the form of times: for all that decodes some"},
	{packages: "internal/problem",
		reason: "reports all that is wrong with an argument, for packages of any height"},
	{packages: "internal/panics",
		reason: "reads the stack, for all that calls the user's code"},
	{packages: "internal/fuzzmem",
		reason: "bounds the memory of a fuzzed decoder, for tests of any package"},
	{packages: "internal/causal", may: []string{"timeframe"},
		reason: "decides on timeframes alone, for readers of the log and for projections"},
	{packages: "internal/fastcodec", tests: []string{"eventlog"},
		reason: "an example of event types; its types know nothing of the log"},
	{packages: "internal/gaps", may: []string{"timeframe"},
		reason: "a value with a stored form; what it makes of the log is the log's matter"},
	{packages: "internal/storable", tests: []string{"eventlog"},
		reason: "knows types and codecs' rules, and nothing of what is stored; its tests compare with the log's codecs"},
	{packages: "internal/stephook", may: []string{"eventlog", "timeframe", "internal/causal", "internal/grace", "internal/gaps", "internal/kv", "internal/panics", "internal/problem", "internal/highwater", "internal/storable", "internal/equal", "internal/utc"},
		reason: "what the benchmarks ask of projection beyond its API; projection fills it in"},
	{packages: "internal/logtest", may: []string{"eventlog", "timeframe", "internal/causal", "internal/grace", "internal/gaps", "internal/kv", "internal/panics", "internal/problem", "internal/highwater", "internal/storable", "internal/equal", "internal/utc"},
		reason: "starts a real server with a log on it, for the tests of all above eventlog"},
	{packages: "internal/racetest", may: []string{"eventlog", "timeframe", "internal/causal", "internal/grace", "internal/gaps", "internal/kv", "internal/panics", "internal/problem", "internal/highwater", "internal/storable", "internal/equal", "internal/utc"},
		reason: "races writers on any log, for the tests of eventlog and of the whole"},
	{packages: "internal/permissions",
		reason: "a table for the manual and for tests"},
	{packages: "internal/natstest",
		reason: "runs processes of the server, and knows nothing of what is stored on them"},
}

// guard says who may import a package from elsewhere, outside of tests.
type guard struct {
	path    string   // an import path; those below it count too
	by      []string // patterns; test helpers in internal may always
	reason  string
	display string // how messages call it
}

var guards = []guard{
	{path: "github.com/nats-io/nats-server/v2/server/archive", by: []string{"eventlog", "bench/...", "integration/...", "backup"},
		display: "the form of the server's backups", reason: "a leaf of the server's code that says what a backup is"},
	{path: "github.com/nats-io/nats-server", by: []string{"eventlog", "bench/...", "integration/..."},
		display: "nats-server", reason: "one place embeds the server, so its upgrade is one package's work"},
	{path: "github.com/nats-io/nats.go", by: []string{"eventlog", "snapshot", "bench/...", "integration/...", "internal/kv", "lease", "dependants", "backup"},
		display: "nats.go", reason: "all above works on our types, and so on any log and store"},
}

// helperUsers may import test helpers outside of tests.
var helperUsers = []string{"bench/...", "integration/..."}
