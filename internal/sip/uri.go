package sip

import (
	"bytes"
	"net/netip"
	"strconv"
)

// URI is a SIP or SIPS URI as views (RFC 3261 19.1); of another scheme only Scheme and Opaque are set.
type URI struct {
	Scheme   []byte
	User     []byte // escapes as written
	Password []byte
	Host     []byte // an IPv6 address without brackets
	Port     uint16 // 0: none written
	Params   Params
	Headers  []byte // behind '?'
	Opaque   []byte // what follows the colon of another scheme
}

// ParseURI reads a URI. A scheme that is neither sip nor sips is no error: see Opaque.
func ParseURI(b []byte) (URI, error) {
	u, reason := parseURI(b)
	if reason != "" {
		return u, bad(reason)
	}
	return u, nil
}

func parseURI(b []byte) (u URI, reason string) {
	i := bytes.IndexByte(b, ':')
	if i <= 0 || !isToken(b[:i]) {
		return u, "URI without scheme"
	}
	u.Scheme = b[:i]
	rest := b[i+1:]
	for _, c := range rest {
		if c <= ' ' || c == '<' || c == '>' || c == '"' || c == 0x7f {
			return u, "character not allowed in a URI"
		}
	}
	if !u.IsSIP() {
		u.Opaque = rest
		return u, ""
	}
	if at := bytes.IndexByte(rest, '@'); at >= 0 {
		user := rest[:at]
		rest = rest[at+1:]
		if c := bytes.IndexByte(user, ':'); c >= 0 {
			u.Password = user[c+1:]
			user = user[:c]
		}
		if len(user) == 0 {
			return u, "URI with empty user"
		}
		u.User = user
	}
	if q := bytes.IndexByte(rest, '?'); q >= 0 {
		u.Headers = rest[q+1:]
		rest = rest[:q]
	}
	if s := bytes.IndexByte(rest, ';'); s >= 0 {
		u.Params = Params(rest[s:])
		rest = rest[:s]
		if !u.checkParams() {
			return u, "URI parameters"
		}
	}
	var ok bool
	if u.Host, u.Port, ok = hostPort(rest); !ok {
		return u, "host or port of a URI"
	}
	return u, ""
}

// checkParams is wider than Params.check: RFC 3261 paramchar also has []/:&$ in names.
func (u URI) checkParams() bool {
	for name := range u.Params.All() {
		for _, c := range name {
			if !tokenChar[c] && bytes.IndexByte([]byte("[]/:&$()"), c) < 0 {
				return false
			}
		}
	}
	return true
}

// hostPort splits "host[:port]"; an IPv6 reference loses its brackets.
func hostPort(b []byte) (host []byte, port uint16, ok bool) {
	rest := []byte(nil)
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return nil, 0, false
		}
		host, rest = b[1:end], b[end+1:]
		if _, err := netip.ParseAddr(string(host)); err != nil || bytes.IndexByte(host, ':') < 0 {
			return nil, 0, false
		}
	} else {
		host = b
		if c := bytes.IndexByte(b, ':'); c >= 0 {
			host, rest = b[:c], b[c:]
		}
		if !isHost(host) {
			return nil, 0, false
		}
	}
	if len(rest) == 0 {
		return host, 0, true
	}
	if rest[0] != ':' {
		return nil, 0, false
	}
	n, ok := number(rest[1:], 65535)
	return host, uint16(n), ok
}

func isHost(b []byte) bool {
	for _, c := range b {
		if !tokenChar[c] || c == '!' || c == '%' || c == '*' || c == '+' || c == '`' || c == '\'' || c == '~' {
			return false
		}
	}
	return len(b) > 0
}

// IsSIP tells a sip or sips URI.
func (u URI) IsSIP() bool { return equalFold(u.Scheme, "sip") || u.IsSecure() }

// IsSecure tells a sips URI.
func (u URI) IsSecure() bool { return equalFold(u.Scheme, "sips") }

// Addr is the host as an address, if it is one.
func (u URI) Addr() (netip.Addr, bool) { return hostAddr(u.Host) }

// hostAddr reads a literal address; IPv4 without the allocation that netip's parser makes for its error.
func hostAddr(host []byte) (netip.Addr, bool) {
	if bytes.IndexByte(host, ':') >= 0 {
		a, err := netip.ParseAddr(string(host))
		return a.Unmap(), err == nil
	}
	var quad [4]byte
	for i := range quad {
		part := host
		if i < 3 {
			dot := bytes.IndexByte(host, '.')
			if dot < 0 {
				return netip.Addr{}, false
			}
			part, host = host[:dot], host[dot+1:]
		}
		n, ok := number(part, 255)
		if !ok || (len(part) > 1 && part[0] == '0') {
			return netip.Addr{}, false
		}
		quad[i] = byte(n)
	}
	return netip.AddrFrom4(quad), true
}

// AppendTo writes the URI.
func (u URI) AppendTo(dst []byte) []byte {
	dst = append(dst, u.Scheme...)
	dst = append(dst, ':')
	if u.Opaque != nil {
		return append(dst, u.Opaque...)
	}
	if len(u.User) > 0 {
		dst = append(dst, u.User...)
		if u.Password != nil {
			dst = append(dst, ':')
			dst = append(dst, u.Password...)
		}
		dst = append(dst, '@')
	}
	dst = AppendHostPort(dst, u.Host, u.Port)
	dst = append(dst, u.Params...)
	if len(u.Headers) > 0 {
		dst = append(dst, '?')
		dst = append(dst, u.Headers...)
	}
	return dst
}

// AppendHostPort writes a host, in brackets if it is an IPv6 address, and the port unless it is 0.
func AppendHostPort(dst, host []byte, port uint16) []byte {
	if bytes.IndexByte(host, ':') >= 0 {
		dst = append(dst, '[')
		dst = append(dst, host...)
		dst = append(dst, ']')
	} else {
		dst = append(dst, host...)
	}
	if port != 0 {
		dst = append(dst, ':')
		dst = strconv.AppendUint(dst, uint64(port), 10)
	}
	return dst
}

// AppendUnescaped writes b with its %HH escapes resolved; an escape that is torn stays as it is.
func AppendUnescaped(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			h, ok1 := hexDigit(b[i+1])
			l, ok2 := hexDigit(b[i+2])
			if ok1 && ok2 {
				dst = append(dst, h<<4|l)
				i += 2
				continue
			}
		}
		dst = append(dst, b[i])
	}
	return dst
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= lower(c) && lower(c) <= 'f':
		return lower(c) - 'a' + 10, true
	}
	return 0, false
}

// Equal compares by RFC 3261 19.1.4.
func (u URI) Equal(v URI) bool {
	if !bytes.EqualFold(u.Scheme, v.Scheme) || (u.Opaque == nil) != (v.Opaque == nil) {
		return false
	}
	if u.Opaque != nil {
		return bytes.Equal(u.Opaque, v.Opaque)
	}
	if u.Port != v.Port || !bytes.EqualFold(u.Host, v.Host) ||
		!equalUnescaped(u.User, v.User) || !equalUnescaped(u.Password, v.Password) {
		return false
	}
	return paramsAgree(u.Params, v.Params) && paramsAgree(v.Params, u.Params) && headersEqual(u.Headers, v.Headers)
}

func equalUnescaped(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if bytes.IndexByte(a, '%') < 0 && bytes.IndexByte(b, '%') < 0 {
		return false
	}
	return bytes.Equal(AppendUnescaped(nil, a), AppendUnescaped(nil, b))
}

// paramsAgree: a parameter in both must match; user, ttl, method, maddr and transport must match if either has them.
func paramsAgree(p, q Params) bool {
	for name, value := range p.All() {
		other, ok := q.Get(string(name))
		if !ok {
			for _, must := range [...]string{"user", "ttl", "method", "maddr", "transport"} {
				if equalFold(name, must) {
					return false
				}
			}
			continue
		}
		if !bytes.EqualFold(value, other) {
			return false
		}
	}
	return true
}

func headersEqual(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	fields := func(h []byte) map[string]string {
		m := make(map[string]string)
		for _, f := range bytes.Split(h, []byte("&")) {
			name, value, _ := bytes.Cut(f, []byte("="))
			m[string(bytes.ToLower(name))] = string(AppendUnescaped(nil, value))
		}
		return m
	}
	x, y := fields(a), fields(b)
	if len(x) != len(y) {
		return false
	}
	for k, v := range x {
		if w, ok := y[k]; !ok || v != w {
			return false
		}
	}
	return true
}
