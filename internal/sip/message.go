// Package sip reads and writes SIP messages (RFC 3261) for a proxy: a message is a set of views over the bytes that it
// was read from, typed where a proxy must look, and everything else stays as it came. It knows no socket and no clock.
package sip

import (
	"bytes"
	"iter"
	"net/netip"
)

// MaxMessage is the largest message taken from any transport: what one UDP datagram can carry.
const MaxMessage = 65535

// maxHeaders bounds the header lines of one message: honest ones have some 20, so 256 leaves room for any route.
const maxHeaders = 256

// Message is one message. It is valid as long as the bytes given to Parse are; whoever keeps something copies it.
type Message struct {
	Method   Method // of a request; of a response the method in its CSeq
	Status   int    // 0: a request
	Reason   []byte
	URI      []byte // Request-URI as written
	CallID   []byte
	CSeq     uint32
	From, To Address
	Via      Via // the topmost
	Body     []byte
	Source   netip.AddrPort // where it came from; set by the transport
	Raw      []byte

	via     span // of the topmost Via element in Raw
	headers []field
	first   [numHeaders]uint16 // index+1 of the first line of a header
	store   [32]field          // most messages fit
}

type span struct{ start, end uint32 }

// field is a header line as offsets into Raw: no pointers, so a pooled message costs the collector nothing.
type field struct {
	name, nameEnd, value, valueEnd uint32
	id                             HeaderID
}

// IsRequest tells a request from a response.
func (m *Message) IsRequest() bool { return m.Status == 0 }

// Len is the number of header lines.
func (m *Message) Len() int { return len(m.headers) }

// At is header line i, in the order of the message.
func (m *Message) At(i int) Header {
	f := m.headers[i]
	return Header{f.id, m.Raw[f.name:f.nameEnd], m.Raw[f.value:f.valueEnd]}
}

// Has tells whether the message has that header.
func (m *Message) Has(id HeaderID) bool { return m.first[id] != 0 }

// Header is the value of the first line of that header, nil if there is none.
func (m *Message) Header(id HeaderID) []byte {
	if i := m.first[id]; i != 0 {
		f := m.headers[i-1]
		return m.Raw[f.value:f.valueEnd:f.valueEnd]
	}
	return nil
}

// Named is the value of the first line of that name, nil if there is none.
func (m *Message) Named(name string) []byte {
	for _, f := range m.headers {
		if equalFold(m.Raw[f.name:f.nameEnd], name) {
			return m.Raw[f.value:f.valueEnd:f.valueEnd]
		}
	}
	return nil
}

// Values walks the elements of a list header over all its lines, in order (RFC 3261 7.3.1).
func (m *Message) Values(id HeaderID) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if m.first[id] == 0 {
			return
		}
		for _, f := range m.headers[m.first[id]-1:] {
			if f.id != id {
				continue
			}
			for rest := m.Raw[f.value:f.valueEnd]; len(rest) > 0; {
				var one []byte
				one, rest = cut(rest, ',')
				if one = trim(one); len(one) > 0 && !yield(one) {
					return
				}
			}
		}
	}
}

// MaxForwards is the header's value; -1 if there is none (RFC 3261 16.3 step 3).
func (m *Message) MaxForwards() (int, error) {
	v := m.Header(HeaderMaxForwards)
	if v == nil {
		return -1, nil
	}
	n, ok := number(v, 255)
	if !ok {
		return 0, bad("Max-Forwards")
	}
	return int(n), nil
}

// Parse reads one datagram. On an error the message holds what could be read, so that it can be refused: see
// Answerable. Folded lines are unfolded in place (RFC 3261 7.3.1); Content-Length can only shrink a datagram.
func (m *Message) Parse(b []byte) error {
	m.reset()
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') { // RFC 3261 7.5
		b = b[1:]
	}
	if len(b) > MaxMessage {
		return &Error{Status: 513}
	}
	m.Raw = b
	pos, err := m.parseStartLine()
	end, headErr := m.parseHeaders(pos)
	if err == nil {
		err = headErr
	}
	if e := m.check(); err == nil {
		err = e
	}
	if e := m.cutBody(end); err == nil {
		err = e
	}
	if err != nil { // not a typed nil
		return err
	}
	return nil
}

func (m *Message) reset() {
	m.Method, m.Status, m.Reason, m.URI, m.CallID, m.CSeq = "", 0, nil, nil, nil, 0
	m.From, m.To, m.Via, m.Body, m.Raw = Address{}, Address{}, Via{}, nil, nil
	m.Source, m.via = netip.AddrPort{}, span{}
	m.headers = m.store[:0]
	m.first = [numHeaders]uint16{}
}

// Answerable tells whether a request that does not parse can be refused: there is a Via to send the answer to, and an
// answer to it can be made. An ACK is never answered.
func (m *Message) Answerable() bool {
	return m.Status == 0 && m.Method != ACK && m.via.end > 0 && len(m.Via.Host) > 0 &&
		m.Has(HeaderFrom) && m.Has(HeaderTo) && m.Has(HeaderCallID) && m.Has(HeaderCSeq)
}

// line is the end of the line that begins at pos (without its CRLF) and the beginning of the next.
func (m *Message) line(pos int) (end, next int) {
	i := bytes.IndexByte(m.Raw[pos:], '\n')
	if i < 0 {
		return len(m.Raw), len(m.Raw)
	}
	end, next = pos+i, pos+i+1
	if end > pos && m.Raw[end-1] == '\r' {
		end--
	}
	return end, next
}

func (m *Message) parseStartLine() (next int, err *Error) {
	end, next := m.line(0)
	line := m.Raw[:end]
	if len(line) >= 4 && equalFold(line[:4], "SIP/") {
		// SIP/2.0 200 OK
		m.Status = -1 // a response, whatever becomes of it: it is never answered
		if len(line) < 12 || !equalFold(line[:8], "SIP/2.0 ") || (len(line) > 11 && line[11] != ' ') {
			return next, bad("status line")
		}
		n, ok := number(line[8:11], 699)
		if !ok || n < 100 {
			return next, bad("status code")
		}
		m.Status = int(n)
		m.Reason = line[12:]
		return next, nil
	}
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 || !isToken(line[:sp]) {
		return next, bad("request line")
	}
	m.Method = method(line[:sp])
	rest := line[sp+1:]
	sp = bytes.IndexByte(rest, ' ')
	if sp < 0 {
		return next, bad("request line")
	}
	m.URI = rest[:sp]
	version := rest[sp+1:]
	switch {
	case equalFold(version, "SIP/2.0"):
	case len(version) > 4 && equalFold(version[:4], "SIP/") && bytes.IndexByte(version, ' ') < 0:
		return next, &Error{Status: 505}
	default:
		return next, bad("request line") // also white space too much: RFC 3261 7.1 allows one SP between the parts
	}
	if i := bytes.IndexByte(m.URI, ':'); i <= 0 || !isToken(m.URI[:i]) {
		return next, bad("Request-URI")
	}
	return next, nil
}

// parseHeaders reads the lines up to the empty one and returns where the body begins.
func (m *Message) parseHeaders(pos int) (body int, err *Error) {
	raw := m.Raw
	for {
		if pos >= len(raw) {
			if err == nil {
				err = bad("no empty line behind the headers")
			}
			return pos, err
		}
		end, next := m.line(pos)
		if end == pos {
			return next, err
		}
		// RFC 3261 7.3.1: a line that begins with white space goes on with the one before. The line break becomes
		// spaces, which means the same and keeps every offset.
		for next < len(raw) && (raw[next] == ' ' || raw[next] == '\t') {
			for i := end; i < next; i++ {
				raw[i] = ' '
			}
			end, next = m.line(next)
		}
		if e := m.addHeader(pos, end); e != nil && err == nil {
			err = e
		}
		pos = next
	}
}

func (m *Message) addHeader(pos, end int) *Error {
	raw := m.Raw
	colon := bytes.IndexByte(raw[pos:end], ':')
	if colon < 0 {
		return bad("header without colon")
	}
	value, nameEnd := pos+colon+1, pos+colon
	for nameEnd > pos && (raw[nameEnd-1] == ' ' || raw[nameEnd-1] == '\t') { // "Header :" is the same header
		nameEnd--
	}
	for value < end && isSpace(raw[value]) {
		value++
	}
	for end > value && isSpace(raw[end-1]) {
		end--
	}
	if !isToken(raw[pos:nameEnd]) {
		return bad("header name")
	}
	if bytes.IndexByte(raw[value:end], '\r') >= 0 {
		return bad("lone CR in a header")
	}
	if len(m.headers) == maxHeaders {
		return &Error{Status: 513, Reason: "Message Too Large - more than 256 headers"}
	}
	id := headerID(raw[pos:nameEnd])
	m.headers = append(m.headers, field{uint32(pos), uint32(nameEnd), uint32(value), uint32(end), id})
	if id == HeaderOther {
		return nil
	}
	if m.first[id] == 0 {
		m.first[id] = uint16(len(m.headers))
		return m.read(id, uint32(value), uint32(end))
	}
	switch id {
	case HeaderFrom, HeaderTo, HeaderCallID, HeaderCSeq, HeaderMaxForwards, HeaderContentLength, HeaderExpires, HeaderContentType:
		return bad("two " + headerNames[id] + " headers")
	}
	return nil
}

// read takes the headers that every message needs.
func (m *Message) read(id HeaderID, start, end uint32) *Error {
	value := m.Raw[start:end:end]
	reason := ""
	switch id {
	case HeaderVia:
		one, _ := cut(value, ',')
		one = bytes.TrimRight(one, " \t")
		m.via = span{start, start + uint32(len(one))}
		var ok bool
		if m.Via, ok = parseVia(one); !ok {
			m.Via = Via{}
			reason = "Via"
		}
	case HeaderFrom:
		if m.From, reason = parseAddress(value); reason != "" {
			reason = "From: " + reason
		}
	case HeaderTo:
		if m.To, reason = parseAddress(value); reason != "" {
			reason = "To: " + reason
		}
	case HeaderCallID:
		m.CallID = value
		if len(value) == 0 || bytes.IndexByte(value, ' ') >= 0 {
			reason = "Call-ID"
		}
	case HeaderCSeq:
		digits := value
		i := bytes.IndexAny(value, " \t")
		if i < 0 {
			return bad("CSeq")
		}
		digits, name := value[:i], trim(value[i:])
		n, ok := number(digits, 1<<31-1) // RFC 3261 8.1.1.5
		if !ok || !isToken(name) {
			return bad("CSeq")
		}
		m.CSeq = uint32(n)
		switch {
		case m.Status != 0:
			m.Method = method(name)
		case string(name) != string(m.Method):
			return bad("CSeq is of another method")
		}
	}
	if reason != "" {
		return bad(reason)
	}
	return nil
}

// check: RFC 3261 8.1.1 and 16.3 step 1, what every message must have.
func (m *Message) check() *Error {
	for _, id := range [...]HeaderID{HeaderVia, HeaderFrom, HeaderTo, HeaderCallID, HeaderCSeq} {
		if m.first[id] == 0 {
			return bad("no " + headerNames[id] + " header")
		}
	}
	return nil
}

func (m *Message) cutBody(pos int) *Error {
	if pos > len(m.Raw) {
		pos = len(m.Raw)
	}
	m.Body = m.Raw[pos:]
	v := m.Header(HeaderContentLength)
	if v == nil {
		return nil
	}
	n, ok := number(v, 1<<31)
	if !ok {
		return bad("Content-Length")
	}
	if n > uint64(len(m.Body)) { // RFC 3261 18.3
		return bad("Content-Length is larger than the message")
	}
	m.Body = m.Body[:n:n]
	m.Raw = m.Raw[:pos+int(n)]
	return nil
}
