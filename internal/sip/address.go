package sip

import "bytes"

// Address is a name-addr or addr-spec with its header parameters: From, To, Contact, Route, Path.
type Address struct {
	Display []byte // without quotes, escapes as written
	URI     []byte // without angle brackets
	Params  Params
	tag     []byte
}

// Tag is the tag parameter, nil if there is none.
func (a *Address) Tag() []byte { return a.tag }

// ParseAddress reads one From, To, Contact, Route, Record-Route or Path element (RFC 3261 20.10, 25.1).
func ParseAddress(b []byte) (Address, error) {
	a, reason := parseAddress(b)
	if reason != "" {
		return a, bad(reason)
	}
	return a, nil
}

func parseAddress(b []byte) (a Address, reason string) {
	b = trim(b)
	if len(b) == 0 {
		return a, "empty address"
	}
	rest := b
	if b[0] == '"' {
		n := quotedEnd(b)
		if n < 0 {
			return a, "quote without end"
		}
		a.Display, rest = b[1:n-1], trim(b[n:])
		if len(rest) == 0 || rest[0] != '<' {
			return a, "address without <>"
		}
	}
	open := bytes.IndexByte(rest, '<')
	if open < 0 {
		// RFC 3261 20.10: without <> everything behind ';' are header parameters, and '?' and ',' are not allowed.
		uri := rest
		if i := bytes.IndexByte(rest, ';'); i >= 0 {
			uri, a.Params = rest[:i], Params(rest[i:])
		}
		a.URI = trim(uri)
		if bytes.ContainsAny(a.URI, "?, \t\r\n\"") {
			return a, "address needs <>"
		}
	} else {
		if open > 0 {
			a.Display = trim(rest[:open])
			for _, c := range a.Display {
				if !tokenChar[c] && !isSpace(c) && c < 0x80 {
					return a, "display name needs quotes"
				}
			}
		}
		rest = rest[open+1:]
		end := bytes.IndexByte(rest, '>')
		if end < 0 {
			return a, "< without >"
		}
		a.URI, rest = rest[:end], trim(rest[end+1:])
		if len(rest) > 0 && rest[0] != ';' {
			return a, "text behind an address"
		}
		a.Params = Params(rest)
	}
	if i := bytes.IndexByte(a.URI, ':'); i <= 0 || !isToken(a.URI[:i]) {
		return a, "address is not a URI"
	}
	if len(a.Params) > 0 && !a.Params.check(func(name, value []byte) {
		if a.tag == nil && equalFold(name, "tag") {
			a.tag = value
		}
	}) {
		return a, "address parameters"
	}
	return a, ""
}
