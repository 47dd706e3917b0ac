package eventlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const headerLine = "NATS/1.0\r\n"

// appendPublish frames a message:
//
//	HPUB <subject> <reply> <header bytes> <total bytes>\r\n<header><payload>\r\n
func appendPublish(b []byte, m *outgoing, inbox string, token uint64) []byte {
	size := m.headerSize()
	b = append(b, "HPUB "...)
	b = append(b, m.subject...)
	b = append(b, ' ')
	b = append(b, inbox...)
	b = strconv.AppendUint(b, token, 36)
	b = append(b, m.flow...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(size+len(m.data)), 10)
	b = append(b, "\r\n"+headerLine...)
	for _, f := range m.header {
		b = append(b, f.name...)
		b = append(b, ": "...)
		b = append(b, f.value...)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, m.data...)
	return append(b, "\r\n"...)
}

var errWire = errors.New("eventlog: the server's answer can't be understood")

// read reads the server's answers until the connection ends.
func (l *wireLink) read(in *bufio.Reader) error {
	var body []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\r\n"))
		switch {
		case bytes.HasPrefix(line, []byte("MSG ")):
			token, size, ok := parseMsgLine(line[len("MSG "):], l.inbox)
			if !ok {
				return errWire
			}
			if body, err = readBody(in, body, size); err != nil {
				return err
			}
			l.deliver(token, body, false)
		case bytes.HasPrefix(line, []byte("HMSG ")):
			token, size, ok := parseMsgLine(line[len("HMSG "):], l.inbox)
			if !ok {
				return errWire
			}
			if body, err = readBody(in, body, size); err != nil {
				return err
			}
			// The only answer with a header is that nobody listens.
			l.deliver(token, nil, bytes.HasPrefix(body, []byte("NATS/1.0 503")))
		case bytes.HasPrefix(line, []byte("PING")):
			l.say("PONG\r\n")
		case bytes.HasPrefix(line, []byte("-ERR")):
			return fmt.Errorf("%w: %s", errWire, line)
		}
	}
}

// readBody reads a message's payload and the line end behind it.
func readBody(in *bufio.Reader, body []byte, size int) ([]byte, error) {
	if cap(body) < size+2 {
		body = make([]byte, size+2)
	}
	body = body[:size+2]
	if _, err := io.ReadFull(in, body); err != nil {
		return body, err
	}
	return body[:size], nil
}

// maxAnswer is far above any answer to a publish, in bytes.
const maxAnswer = 1 << 20

// parseMsgLine reads "<subject> <sid> [<header bytes>] <total bytes>" and
// returns the token, which is the subject's next part behind the inbox.
func parseMsgLine(line []byte, inbox string) (token uint64, size int, ok bool) {
	subject, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || !bytes.HasPrefix(subject, []byte(inbox)) {
		return 0, 0, false
	}
	i := bytes.LastIndexByte(rest, ' ')
	if i < 0 {
		return 0, 0, false
	}
	head, _, _ := bytes.Cut(subject[len(inbox):], []byte("."))
	token, err := strconv.ParseUint(string(head), 36, 64)
	if err != nil {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(string(rest[i+1:]), 10, 31)
	return token, int(n), err == nil && n <= maxAnswer
}
