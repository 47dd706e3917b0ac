//go:build !unix

package snapshot

import "os"

// pipe makes what isn't a file either: there are no named pipes here.
func pipe(path string) error { return os.Mkdir(path, 0o700) }
