package eventlog

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// link carries a feed's publishes to the server, and its answers back.
type link interface {
	// publish hands a message over, behind all that were handed over before.
	// The answer will carry the token. The errors are those of nats.go.
	publish(m *outgoing, token uint64) error
	// losses counts the connections that broke: what was on its way then may
	// be lost.
	losses() uint64
	close()
}

// answer is what a link delivers: the token of the publish, and the server's
// words. One is delivered at a time; data is lent.
type answer func(token uint64, data []byte, noResponders bool)

// openLink opens the fastest link that the log allows: a connection of its own
// to the embedded server, else the log's connection, and one to the stream's
// leader where the writer has found that.
//
// An embedded server is given so many bytes at once: enough is wireShare or
// wireEnough.
func (f *Feed) openLink(deliver answer, enough int) (link, error) {
	if f.log.embedded != nil {
		l, err := newWireLink(f.log.embedded.srv, "_INBOX.tm."+nuid.Next()+".", deliver, enough)
		if err == nil {
			l.start()
			return l, nil
		}
		f.log.opts.Logger.Warn().Err(err).Str("feed", f.name).Msg("eventlog: writing through the common connection")
	}
	l, err := newLeaderLink(f.log.nc, deliver)
	if err != nil {
		return nil, err
	}
	if url := f.leaderURL.Load(); url != nil {
		if nc, err := f.dialSecond(*url); err == nil && l.use(nc) != nil {
			nc.Close()
		}
	}
	return l, nil
}

func openClientLink(nc *nats.Conn, deliver answer) (_ *clientLink, err error) {
	l := &clientLink{nc: nc, inbox: nc.NewInbox() + "."}
	if l.sub, err = nc.Subscribe(l.inbox+">", func(m *nats.Msg) {
		head, _, _ := strings.Cut(m.Subject[len(l.inbox):], ".")
		if token, err := strconv.ParseUint(head, 36, 64); err == nil {
			deliver(token, m.Data, len(m.Data) == 0 && m.Header.Get("Status") == "503")
		}
	}); err != nil {
		return nil, err
	}
	// Answers are bounded by what is in flight.
	if err := l.sub.SetPendingLimits(-1, -1); err != nil {
		_ = l.sub.Unsubscribe()
		return nil, err
	}
	return l, nil
}

// clientLink is the log's own connection.
type clientLink struct {
	nc    *nats.Conn
	inbox string
	sub   *nats.Subscription
}

func (l *clientLink) publish(m *outgoing, token uint64) error {
	msg := m.natsMsg()
	msg.Reply = l.inbox + strconv.FormatUint(token, 36) + string(m.flow)
	return l.nc.PublishMsg(msg)
}

// natsMsg is the message as nats.go takes it, with a header of its own.
func (m *outgoing) natsMsg() *nats.Msg {
	h := make(nats.Header, len(m.header)+2)
	for _, f := range m.header {
		h[f.name] = []string{f.value}
	}
	return &nats.Msg{Subject: m.subject, Header: h, Data: m.data}
}

func (l *clientLink) losses() uint64 { return l.nc.Stats().Reconnects }
func (l *clientLink) close()         { _ = l.sub.Unsubscribe() }
