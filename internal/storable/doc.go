// Package storable says whether what a program wants to store comes back.
//
// A codec drops what it can't see without a word: an unexported field comes
// back as zero, of two fields with one name the second one wins, an int in an
// `any` comes back as an int8. So each type that is going to be stored is
// walked once, when it is registered, by the rules of the codec that stores it
// (Check, CheckKey). The walk yields
//
//   - problems: each a path to a field, what is lost there, and what to do;
//   - facts about the type, for those who compare or sample values (Facts);
//   - a check of values before they are encoded, where types can't tell
//     (Type.Value): cycles, what an `any` holds;
//   - a plan for looking at encoded bytes before a decoder does (Type.Bytes):
//     lengths, nesting, the ranges of integers.
//
// What is accepted: fields that are exported, of booleans, integers, floats,
// strings, slices, arrays, maps, pointers, structs, embedded structs, time.Time;
// types inside themselves; `any` that holds what comes back as it was; and types
// that encode themselves, in both directions. docs/types.md says it for users.
//
// The package knows the rules of encoding/json and of vmihailenco/msgpack, by
// their source and by tests that compare both with the walk. It knows nothing of
// logs and tables.
package storable
