package proxy

import (
	"bytes"
	"encoding/hex"
	"hash/fnv"
	"slices"
	"strconv"

	"liaison/internal/digest"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// forward writes a request as it goes to a target (RFC 3261 16.6): what must change is written anew, everything else is
// spliced in as it came and in order. A body of nil is the one that came.
func (s *shard) forward(p *transport.Packet, t *target, branch []byte, record bool, body []byte) []byte {
	m, uri, routes := &p.Msg, t.uri, t.routes
	if len(routes) > 0 {
		// RFC 3261 16.6 step 6: the next hop is a strict router.
		if a, err := sip.ParseAddress(routes[0]); err == nil && !loose(a.URI) {
			routes = append(slices.Clone(routes[1:]), slices.Concat([]byte{'<'}, uri, []byte{'>'}))
			uri = a.URI
		}
	}
	dst := make([]byte, 0, len(m.Raw)+384)
	dst = sip.AppendRequestLine(dst, m.Method, uri)
	dst = s.appendVia(dst, t.flow, branch)
	dst = m.AppendVias(dst)
	if record {
		dst = s.appendRecordRoute(dst, p.Flow, t.flow)
	}
	if t.path != "" {
		dst = sip.AppendHeader(dst, "Route", t.path)
	}
	for _, r := range routes {
		dst = sip.AppendHeader(dst, "Route", r)
	}
	hops := 70
	if n, err := m.MaxForwards(); err == nil && n > 0 {
		hops = n - 1 // RFC 3261 16.6 step 3
	}
	dst = append(dst, "Max-Forwards: "...)
	dst = strconv.AppendInt(dst, int64(hops), 10)
	dst = append(dst, "\r\n"...)
	return s.appendRest(dst, m, body)
}

// appendRest writes what passes as it came: the headers but for those that forward has written and those that would say
// what only we may say, and the body.
func (s *shard) appendRest(dst []byte, m *sip.Message, body []byte) []byte {
	length := false
	for i := range m.Len() {
		h := m.At(i)
		switch h.ID {
		case sip.HeaderVia:
			continue
		case sip.HeaderContentLength:
			if body != nil {
				continue
			}
			length = true
		}
		if m.IsRequest() && s.dropped(&h) {
			continue
		}
		dst = h.AppendTo(dst)
	}
	if body == nil {
		body = m.Body
	}
	if !length {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// dropped tells the headers of a request that go no further.
func (s *shard) dropped(h *sip.Header) bool {
	switch h.ID {
	case sip.HeaderRoute, sip.HeaderMaxForwards:
		return true
	case sip.HeaderPAssertedIdentity, sip.HeaderPPreferredIdentity, sip.HeaderRemotePartyID, sip.HeaderDiversion:
		return true // who calls is what we know, not what the caller says
	case sip.HeaderProxyAuthorization, sip.HeaderAuthorization:
		// RFC 3261 22.3: credentials for us are nobody else's.
		c, err := digest.ParseCredentials(h.Value)
		return err == nil && string(c.Realm) == s.Realm || s.namesRealm(h.Value)
	}
	return false
}

// namesRealm tells that our realm stands in a header that may be too broken to be parsed: somebody might still read it.
func (s *shard) namesRealm(value []byte) bool { return bytes.Contains(value, []byte(`"`+s.Realm+`"`)) }

// forwardResponse is a response without our Via (RFC 3261 16.7 step 3). A body of nil is the one that came.
func (s *shard) forwardResponse(m *sip.Message, body []byte) []byte {
	dst := make([]byte, 0, len(m.Raw)+32)
	dst = append(dst, "SIP/2.0 "...)
	dst = strconv.AppendInt(dst, int64(m.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, m.Reason...)
	dst = append(dst, "\r\n"...)
	return s.appendRest(m.AppendViasBelow(dst), m, body)
}

// appendVia writes our Via for a flow.
func (s *shard) appendVia(dst []byte, f transport.Flow, branch []byte) []byte {
	dst = append(dst, "Via: SIP/2.0/"...)
	dst = append(dst, f.Proto.String()...)
	dst = append(dst, ' ')
	dst = s.Announced(f).AppendTo(dst)
	dst = append(dst, ";rport;branch="...)
	dst = append(dst, branch...)
	return append(dst, "\r\n"...)
}

// appendRecordRoute keeps us in the dialog's path (RFC 3261 16.6 step 4). Where transport or address differ between the
// two sides each gets its own, the callee's on top (RFC 5658 5); one to a line, for agents that read no lists.
func (s *shard) appendRecordRoute(dst []byte, in, out transport.Flow) []byte {
	a, b := s.Announced(in), s.Announced(out)
	if a != b || in.Proto != out.Proto {
		dst = s.appendRoute(dst, out)
	}
	return s.appendRoute(dst, in)
}

func (s *shard) appendRoute(dst []byte, f transport.Flow) []byte {
	dst = append(dst, "Record-Route: <sip:"...)
	dst = s.Announced(f).AppendTo(dst)
	if f.Proto != transport.UDP && f.Proto != transport.Link {
		dst = append(append(dst, ";transport="...), f.Proto.Param()...)
	}
	return append(dst, ";lr>\r\n"...)
}

// appendBranch writes the branch of a forwarded request: the transaction's own and the loopHash.
func appendBranch(dst []byte, c *transaction.Client, m *sip.Message) []byte {
	return hex.AppendEncode(append(c.AppendBranch(dst), '.'), loopHash(m))
}

// loopHash is over what decides where a request goes (RFC 3261 16.6 step 8, RFC 5393 4.2.1): if it comes back with the
// same, it will go round for ever. If it comes back with another Request-URI it is a spiral, which is fine.
func loopHash(m *sip.Message) []byte {
	h := fnv.New32a()
	for _, v := range [...][]byte{m.URI, m.CallID, m.From.Tag(), m.To.Tag(), m.Header(sip.HeaderRoute), m.Header(sip.HeaderCSeq)} {
		h.Write(v)
		h.Write([]byte{0})
	}
	return h.Sum(make([]byte, 0, 4))
}

// looped tells that the request has been here before with the same loopHash.
func (s *shard) looped(m *sip.Message) bool {
	var hash []byte
	for v := range m.Values(sip.HeaderVia) {
		if !bytes.Contains(v, []byte(sip.Cookie)) || bytes.IndexByte(v, '.') < 0 {
			continue
		}
		via, err := sip.ParseVia(v)
		// The length first: hardly any branch but ours is as long and has its dot there.
		if n := len(via.Branch) - 9; err != nil || n < 0 || via.Branch[n] != '.' || !s.Names.Host(via.Host, via.Port) {
			continue
		}
		if hash == nil {
			hash = hex.AppendEncode(nil, loopHash(m))
		}
		if bytes.HasSuffix(via.Branch, hash) {
			return true
		}
	}
	return false
}

// loose tells a loose router's URI (RFC 3261 19.1.1). One that cannot be parsed counts as loose: it stays where it is.
func loose(uri []byte) bool {
	u, err := sip.ParseURI(uri)
	if err != nil {
		return true
	}
	_, lr := u.Params.Get("lr")
	return lr
}
