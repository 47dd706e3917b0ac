package eventlog

import (
	"fmt"
	"strings"
)

// MaxKeyBytes is the longest encoded key, in bytes. The server's protocol
// line is 4,096 bytes by default and also carries the subject's prefix, the
// reply subject and two lengths.
const MaxKeyBytes = 2048

const hexDigits = "0123456789ABCDEF"

// plainKeyByte says which bytes stand for themselves in a subject token. It
// leaves out what NATS gives a meaning ('*', '>', white space, control
// bytes), '%' as our escape, '$' as the first byte of our own subjects (see
// docs/format-commit.md), and everything outside ASCII. The dot is decided
// by its neighbours, in encodeKey.
var plainKeyByte = func() (t [256]bool) {
	for c := '!'; c <= '~'; c++ {
		t[c] = true
	}
	for _, c := range "*>%$." {
		t[c] = false
	}
	return t
}()

// encodeKey turns a key into literal subject tokens, and fails on the empty
// key and on one that is too long. The encoding is injective since decodeKey
// is its inverse: every byte is either itself or %XX. A single dot between
// two other bytes stays a dot, so that "eu.42" is two tokens that people can
// filter; a dot that would make an empty token is escaped.
func encodeKey(key string) (string, error) {
	if key == "" {
		return "", &KeyError{Key: key, Reason: "a key must have at least one byte"}
	}
	n := 0
	for i := range len(key) {
		if keepKeyByte(key, i) {
			n++
		} else {
			n += 3
		}
	}
	if n > MaxKeyBytes {
		return "", &KeyError{Key: key, Reason: fmt.Sprintf("encoded as a subject it has %d bytes, more than %d", n, MaxKeyBytes)}
	}
	if n == len(key) {
		return key, nil
	}
	b := make([]byte, 0, n)
	for i := range len(key) {
		if c := key[i]; keepKeyByte(key, i) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b), nil
}

func keepKeyByte(key string, i int) bool {
	if key[i] != '.' {
		return plainKeyByte[key[i]]
	}
	return i > 0 && i < len(key)-1 && key[i-1] != '.' && key[i+1] != '.'
}

// decodeKey is the inverse of encodeKey. It accepts only what encodeKey
// makes: another spelling of the same key would be another subject, and two
// subjects of one key would have two heads.
func decodeKey(enc string) (string, error) {
	if len(enc) > MaxKeyBytes {
		return "", &KeyError{Key: enc, Reason: "too long for an encoded key"}
	}
	if !strings.ContainsRune(enc, '%') {
		if canonicalKey(enc, enc) {
			return enc, nil
		}
		return "", &KeyError{Key: enc, Reason: "not an encoded key"}
	}
	b := make([]byte, 0, len(enc))
	for i := 0; i < len(enc); i++ {
		if enc[i] != '%' {
			b = append(b, enc[i])
			continue
		}
		if i+2 >= len(enc) {
			return "", &KeyError{Key: enc, Reason: "a cut-off escape"}
		}
		hi, lo := strings.IndexByte(hexDigits, enc[i+1]), strings.IndexByte(hexDigits, enc[i+2])
		if hi < 0 || lo < 0 {
			return "", &KeyError{Key: enc, Reason: "a bad escape"}
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	if key := string(b); canonicalKey(key, enc) {
		return key, nil
	}
	return "", &KeyError{Key: enc, Reason: "not an encoded key"}
}

// canonicalKey says whether enc is the encoding of key, without building it.
func canonicalKey(key, enc string) bool {
	j := 0
	for i := range len(key) {
		switch {
		case j >= len(enc):
			return false
		case keepKeyByte(key, i):
			if enc[j] != key[i] {
				return false
			}
			j++
		default:
			if enc[j] != '%' {
				return false
			}
			j += 3
		}
	}
	return key != "" && j == len(enc)
}
