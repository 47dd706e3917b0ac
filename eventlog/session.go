package eventlog

import "github.com/nats-io/nuid"

// newSession names one opening of an embedded log.
func newSession(o Options) string {
	if !o.embedded() {
		return ""
	}
	return nuid.Next()
}

// Session is a random ID of this opening of an embedded log, whose directory
// one Log at a time has open: what another session's process held, it holds
// no more. It is "" for a log on a server that others use, too, and for an
// embedded one that listens, since other processes may go on there.
func (l *Log) Session() string {
	if l.opts.Listen != "" {
		return ""
	}
	return l.session
}
