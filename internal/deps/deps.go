//go:build never

package deps

import (
	_ "github.com/anishathalye/porcupine"
	_ "github.com/gofrs/flock"
	_ "github.com/klauspost/compress/s2"
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go"
	_ "github.com/rs/zerolog"
	_ "github.com/tinylib/msgp/msgp"
	_ "github.com/vmihailenco/msgpack/v5"
	_ "golang.org/x/term"
	_ "pgregory.net/rapid"
)
