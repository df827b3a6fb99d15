package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// message is what the generator needs to see of one datagram: views into it,
// good until the next batch is received.
//
// It is a reader of its own, and a simple one: a judge that parsed with the
// code that it judges would share that code's mistakes.
type message struct {
	status       int    // 0: a request
	method       []byte // of the request, or of the CSeq
	uri          []byte
	callID       []byte
	cseq         uint32
	from, to     []byte
	contact      []byte
	challenge    []byte // WWW-Authenticate or Proxy-Authenticate, the first that is not SHA-256
	maxForwards  []byte
	vias         [][]byte // values as written, in order; a value may still be a list
	recordRoutes [][]byte
	routes       int
	body         []byte
}

var errTruncated = errors.New("the message ends before its headers do")

// scan reads b. It takes compact names and refuses folded lines, which
// neither server writes.
func (m *message) scan(b []byte) error {
	*m = message{vias: m.vias[:0], recordRoutes: m.recordRoutes[:0]}
	line, rest, ok := cutLine(b)
	if !ok {
		return errTruncated
	}
	if err := m.scanStart(line); err != nil {
		return err
	}
	length := -1
	for {
		line, rest, ok = cutLine(rest)
		if !ok {
			return errTruncated
		}
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || line[0] == ' ' || line[0] == '\t' {
			return fmt.Errorf("not a header line: %q", line)
		}
		name, value := bytes.TrimRight(line[:colon], " \t"), bytes.Trim(line[colon+1:], " \t")
		switch {
		case named(name, "Via", 'v'):
			m.vias = append(m.vias, value)
		case named(name, "Record-Route", 0):
			m.recordRoutes = append(m.recordRoutes, value)
		case named(name, "Route", 0):
			m.routes++
		case named(name, "From", 'f'):
			m.from = value
		case named(name, "To", 't'):
			m.to = value
		case named(name, "Call-ID", 'i'):
			m.callID = value
		case named(name, "Contact", 'm'):
			m.contact = value
		case named(name, "Max-Forwards", 0):
			m.maxForwards = value
		case named(name, "CSeq", 0):
			number, method, _ := bytes.Cut(value, []byte(" "))
			n, ok := decimal(number)
			if !ok {
				return fmt.Errorf("not a CSeq: %q", value)
			}
			m.cseq = n
			if m.status != 0 {
				m.method = bytes.TrimSpace(method)
			}
		case named(name, "WWW-Authenticate", 0), named(name, "Proxy-Authenticate", 0):
			if m.challenge == nil && !bytes.Contains(value, []byte("SHA-256")) {
				m.challenge = value
			}
		case named(name, "Content-Length", 'l'):
			n, ok := decimal(value)
			if !ok {
				return fmt.Errorf("not a Content-Length: %q", value)
			}
			length = int(n)
		}
	}
	if length >= 0 && length != len(rest) {
		return fmt.Errorf("Content-Length %d over a body of %d bytes", length, len(rest))
	}
	m.body = rest
	if m.callID == nil || m.from == nil || m.to == nil || m.method == nil || len(m.vias) == 0 {
		return errors.New("one of Via, From, To, Call-ID and CSeq is missing")
	}
	return nil
}

func (m *message) scanStart(line []byte) error {
	first, after, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return fmt.Errorf("not a start line: %q", line)
	}
	if string(first) == "SIP/2.0" {
		code, _, _ := bytes.Cut(after, []byte(" "))
		n, ok := decimal(code)
		if !ok || n < 100 || n > 699 {
			return fmt.Errorf("not a status line: %q", line)
		}
		m.status = int(n)
		return nil
	}
	uri, version, ok := bytes.Cut(after, []byte(" "))
	if !ok || string(version) != "SIP/2.0" {
		return fmt.Errorf("not a request line: %q", line)
	}
	m.method, m.uri = first, uri
	return nil
}

// cutLine gives b's first line without its CRLF, and what follows.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, false
	}
	return b[:i-1], b[i+1:], true
}

// named tells whether a header's name is full, or its compact form if it has one.
func named(name []byte, full string, compact byte) bool {
	if len(name) == 1 {
		return compact != 0 && name[0]|0x20 == compact
	}
	// The first letter rules most names out before the loop.
	if len(name) != len(full) || name[0]|0x20 != full[0]|0x20 {
		return false
	}
	for i := range name {
		if name[i]|0x20 != full[i]|0x20 {
			return false
		}
	}
	return true
}

func decimal(b []byte) (uint32, bool) {
	n, err := strconv.ParseUint(string(b), 10, 32)
	return uint32(n), err == nil
}

// parameter gives the value of name=value or name="value" in a challenge.
func parameter(challenge []byte, name string) []byte {
	for rest := challenge; ; {
		i := bytes.Index(rest, []byte(name))
		if i < 0 {
			return nil
		}
		before := byte(' ')
		if i > 0 {
			before = rest[i-1]
		}
		rest = rest[i+len(name):]
		// "nonce" is also the tail of "cnonce".
		if (before != ' ' && before != ',') || len(rest) == 0 || rest[0] != '=' {
			continue
		}
		value := rest[1:]
		if len(value) > 0 && value[0] == '"' {
			inside, _, _ := bytes.Cut(value[1:], []byte(`"`))
			return inside
		}
		end := bytes.IndexByte(value, ',')
		if end < 0 {
			end = len(value)
		}
		return bytes.TrimSpace(value[:end])
	}
}

// inAngles gives the URI of a Contact or route value: what stands between
// < and >, or the value up to its first parameter.
func inAngles(value []byte) []byte {
	if open := bytes.IndexByte(value, '<'); open >= 0 {
		if end := bytes.IndexByte(value[open:], '>'); end >= 0 {
			return value[open+1 : open+end]
		}
		return nil
	}
	uri, _, _ := bytes.Cut(value, []byte(";"))
	return bytes.TrimSpace(uri)
}

// appendRouteSet writes the Route lines of a caller from the Record-Route
// values of the answer. RFC 3261 12.1.2: the route set is in reverse order.
func appendRouteSet(dst []byte, recordRoutes [][]byte) []byte {
	for i := len(recordRoutes) - 1; i >= 0; i-- {
		rest := recordRoutes[i]
		for len(rest) > 0 {
			open := bytes.LastIndexByte(rest, '<')
			if open < 0 {
				break
			}
			dst = append(dst, "Route: "...)
			dst = append(dst, bytes.TrimRight(rest[open:], ", \t")...)
			dst = append(dst, "\r\n"...)
			rest = rest[:open]
		}
	}
	return dst
}
