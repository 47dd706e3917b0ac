package main

//go:generate go tool -modfile=../tools/go.mod msgp -io=false -tests=false -unexported -o codec_gen.go

//msgp:tag msgpack

// posted is the event of all cases: a line of a ledger, 200 bytes in msgpack.
type posted struct {
	Entry     string `msgpack:"entry"`
	Account   string `msgpack:"account"`
	Contra    string `msgpack:"contra"`
	Cents     uint64 `msgpack:"cents"`
	Currency  string `msgpack:"currency"`
	At        uint64 `msgpack:"at"` // ms since 1970
	Reference string `msgpack:"reference"`
	Text      string `msgpack:"text"`
}

// account is what the projections keep of each key.
type account struct {
	Count uint64 `msgpack:"count"`
	Cents uint64 `msgpack:"cents"`
}
