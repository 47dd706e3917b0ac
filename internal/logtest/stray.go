package logtest

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/tidemark-es/tidemark/eventlog"
)

// Stray is a message as another tool may publish it to the subjects of a feed.
type Stray struct {
	Name string
	Key  string      // that a commit made of it has; "" where its subject isn't an encoded key
	Rest string      // of the subject, after the feed's prefix
	Head nats.Header // nil: none
	Raw  string      // header block in place of Head, which no client would send
	Data string
}

// Strays has one message for each way in which a message can't be decoded,
// whatever types the feed has. Those with a type header name typeName.
func Strays(typeName string) []Stray {
	typed := func(more ...string) nats.Header {
		h := nats.Header{"Tm-Type": {typeName}}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = []string{more[i+1]}
		}
		return h
	}
	return []Stray{
		{Name: "no type", Key: "stray", Rest: "stray", Data: `{"N":1}`},
		{Name: "no type, empty", Key: "stray", Rest: "stray"},
		{Name: "bad escape", Rest: "a%zz", Head: typed(), Data: "\x80"},
		{Name: "cut-off escape", Rest: "a%4", Head: typed(), Data: "\x80"},
		{Name: "another spelling of a key", Rest: "%61", Head: typed(), Data: "\x80"},
		{Name: "reserved subject", Rest: "$mine.a", Head: typed(), Data: "\x80"},
		{Name: "bad count", Key: "stray", Rest: "stray", Head: typed("Tm-Events", "99999999"), Data: "\x01"},
		{Name: "bad envelope", Key: "stray", Rest: "stray", Head: typed("Tm-Events", "2"), Data: "\x01\x00\x05"},
		{Name: "envelope of another version", Key: "stray", Rest: "stray", Head: typed("Tm-Events", "2"), Data: "\x07"},
		{Name: "unknown codec", Key: "stray", Rest: "stray", Head: typed("Tm-Codec", "xml"), Data: "<n/>"},
		{Name: "bad IDs of a pack", Key: "stray", Rest: "stray", Head: typed("Tm-Ids", "zzz"), Data: "\x80"},
		{Name: "bad timeframe", Key: "stray", Rest: "stray", Head: typed("Tm-Seen", "Accounts=x"), Data: "\x80"},
		{Name: "garbage headers", Key: "stray", Rest: "stray", Raw: "NATS/1.0\r\nTm-Type: " + typeName + "\r\ngarbage\r\n\r\n", Data: "\x80"},
		{Name: "headers without an end", Key: "stray", Rest: "stray", Raw: "NATS/1.0\r\nTm-Type: " + typeName, Data: "\x80"},
	}
}

// Publish stores the message in a feed's stream, past the client library where
// that would refuse it. The log has to listen.
func (s Stray) Publish(t testing.TB, log *eventlog.Log, feed *eventlog.Feed) (seq uint64) {
	t.Helper()
	subject := log.App() + "." + feed.Name() + "." + s.Rest
	if s.Raw == "" {
		ack, err := log.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: s.Head, Data: []byte(s.Data)})
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	before, err := feed.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(log.ClientURL())
	if err != nil || u.Host == "" {
		t.Fatalf("the log listens at %q: %v", log.ClientURL(), err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(s.Raw), len(s.Raw)+len(s.Data), s.Raw, s.Data)
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "-ERR") {
			t.Fatalf("%s: the server says %q, %v", s.Name, line, err)
		}
		if strings.HasPrefix(line, "PONG") {
			break
		}
	}
	for { // it was taken, and is stored soon
		st, err := feed.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Last > before.Last {
			return st.Last
		}
	}
}
