package sip

import (
	"bytes"
	"net/netip"
	"strconv"
)

// Via is one Via element.
type Via struct {
	Transport []byte // "UDP"
	Host      []byte // sent-by; IPv6 without brackets
	Port      uint16
	Params    Params
	Branch    []byte

	rport, received bool // are there, with or without a value
}

// Cookie begins the branch of whoever follows RFC 3261 (8.1.1.7).
const Cookie = "z9hG4bK"

// ParseVia reads one Via element; white space around '/' and ':' is allowed (RFC 3261 25.1).
func ParseVia(b []byte) (Via, error) {
	v, ok := parseVia(b)
	if !ok {
		return v, bad("Via")
	}
	return v, nil
}

func parseVia(b []byte) (v Via, ok bool) {
	head := b
	if i := bytes.IndexByte(b, ';'); i >= 0 {
		head, v.Params = b[:i], Params(b[i:])
		if !v.Params.check(v.see) {
			return v, false
		}
	}
	for part := range 2 { // SIP / 2.0 /
		i := bytes.IndexByte(head, '/')
		if i < 0 || (part == 0 && !equalFold(trim(head[:i]), "SIP")) || !isToken(trim(head[:i])) {
			return v, false
		}
		head = head[i+1:]
	}
	head = trim(head)
	i := bytes.IndexAny(head, " \t\r\n")
	if i < 0 {
		return v, false
	}
	v.Transport, head = head[:i], trim(head[i:])
	if !isToken(v.Transport) {
		return v, false
	}
	if bytes.ContainsAny(head, " \t\r\n") { // "host : 5060"
		head = bytes.Join(bytes.Fields(head), nil) // a copy, of a Via that hardly anybody writes
	}
	v.Host, v.Port, ok = hostPort(head)
	return v, ok
}

func (v *Via) see(name, value []byte) {
	switch {
	case equalFold(name, "branch"):
		if v.Branch == nil {
			v.Branch = value
		}
	case equalFold(name, "rport"):
		v.rport = true
	case equalFold(name, "received"):
		v.received = true
	}
}

// fromSource tells that the sent-by host is the address that the request came from.
func (v *Via) fromSource(source netip.AddrPort) bool {
	a, ok := hostAddr(v.Host)
	return ok && a == source.Addr().Unmap()
}

// ResponseAddr is where the answer to a datagram goes: RFC 3581 4 with rport, else RFC 3261 18.2.2. maddr is not
// followed: answers go to nobody but who asked. A sent-by address that is not the source is a NAT's doing: then the
// source port is the only one that can get through, whatever sent-by says.
func (m *Message) ResponseAddr() netip.AddrPort {
	if m.Via.rport {
		return m.Source
	}
	if _, isAddr := hostAddr(m.Via.Host); isAddr && !m.Via.fromSource(m.Source) {
		return m.Source
	}
	port := m.Via.Port
	if port == 0 {
		port = 5060
	}
	return netip.AddrPortFrom(m.Source.Addr(), port)
}

// appendStamped writes the topmost Via element with received and rport as seen (RFC 3261 18.2.1, RFC 3581 4).
// What a sender wrote there itself is replaced.
func (m *Message) appendStamped(dst []byte) []byte {
	top := m.Raw[m.via.start:m.via.end]
	if !m.Source.IsValid() {
		return append(dst, top...)
	}
	away := !m.Via.fromSource(m.Source)
	if !m.Via.rport && !m.Via.received && !away {
		return append(dst, top...)
	}
	dst = append(dst, top[:len(top)-len(m.Via.Params)]...)
	for rest := []byte(m.Via.Params); len(rest) > 0; {
		var one []byte
		one, rest = cut(rest, ';')
		name, _ := splitParam(one)
		if len(name) == 0 || equalFold(name, "received") || equalFold(name, "rport") {
			continue
		}
		dst = append(dst, ';')
		dst = append(dst, one...)
	}
	if m.Via.rport || away {
		dst = append(dst, ";received="...)
		dst = m.Source.Addr().Unmap().AppendTo(dst)
	}
	if m.Via.rport {
		dst = append(dst, ";rport="...)
		dst = strconv.AppendUint(dst, uint64(m.Source.Port()), 10)
	}
	return dst
}

// AppendVias writes all Via lines, the topmost element stamped: what a request keeps when it is forwarded, and what an
// answer begins with.
func (m *Message) AppendVias(dst []byte) []byte {
	first := true
	for i := range m.headers {
		f := &m.headers[i]
		if f.id != HeaderVia {
			continue
		}
		dst = append(dst, "Via: "...)
		if first {
			dst = m.appendStamped(dst)
			dst = append(dst, m.Raw[m.via.end:f.valueEnd]...)
			first = false
		} else {
			dst = append(dst, m.Raw[f.value:f.valueEnd]...)
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// AppendViasBelow writes all Via lines without the topmost element: what a response keeps when it is forwarded.
func (m *Message) AppendViasBelow(dst []byte) []byte {
	first := true
	for i := range m.headers {
		f := &m.headers[i]
		if f.id != HeaderVia {
			continue
		}
		value := m.Raw[f.value:f.valueEnd]
		if first {
			first = false
			_, rest := cut(m.Raw[m.via.end:f.valueEnd], ',')
			if value = trim(rest); len(value) == 0 {
				continue
			}
		}
		dst = append(dst, "Via: "...)
		dst = append(dst, value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}
