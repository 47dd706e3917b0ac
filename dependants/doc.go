// Package dependants is the register of who still needs which part of the
// log: projections, what is derived from them, and readers outside. Trimming
// goes no further than the slowest of them ([Registry.Trim]).
//
// A reader registers the positions behind which it reads on, advances them as
// it goes, and deregisters when it is done. One that gives no sign of life for
// its expiry doesn't hold the log any more; when it comes back it is told
// (*UnknownError), and registering again tells it whether the log still has
// what it needs (*TooLateError). A projection's unit is registered by its
// runtime: what it needs is what its snapshots, as they are stored, leave open.
//
// The register is one record in the bucket <app>_dependants, read from the
// leader and written by compare-and-set. So who registers and who trims can't
// miss each other: the one that is later sees the other. It is meant for
// hundreds of dependants that write now and then, not for each event.
package dependants
