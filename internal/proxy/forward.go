package proxy

import (
	"bytes"
	"encoding/hex"
	"hash/fnv"
	"strconv"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// forward writes the request for one branch (RFC 3261 16.6): what must change is written anew, everything else is
// spliced in as it came and in order.
func (s *shard) forward(p *transport.Packet, b *branch) []byte {
	m, t := &p.Msg, &b.target
	uri, routes := t.uri, t.routes
	if len(routes) > 0 {
		// RFC 3261 16.6 step 6: the next hop is a strict router.
		if a, err := sip.ParseAddress(routes[0]); err == nil {
			if _, lr := uriParam(a.URI, "lr"); !lr {
				routes = append(append([][]byte(nil), routes[1:]...), append(append([]byte{'<'}, uri...), '>'))
				uri = a.URI
			}
		}
	}
	dst := make([]byte, 0, len(m.Raw)+384)
	dst = sip.AppendRequestLine(dst, m.Method, uri)
	dst = s.appendVia(dst, t.flow, func(dst []byte) []byte {
		return hex.AppendEncode(append(b.client.AppendBranch(dst), '.'), loopHash(m))
	})
	dst = m.AppendVias(dst)
	if b.fork.record {
		dst = s.appendRecordRoute(dst, p.Flow, t.flow)
	}
	if t.route != "" {
		dst = sip.AppendHeader(dst, "Route", t.route)
	}
	for _, r := range routes {
		dst = sip.AppendHeader(dst, "Route", r)
	}
	dst = s.appendRest(dst, m)
	return dst
}

// appendRest writes Max-Forwards, the other headers and the body.
func (s *shard) appendRest(dst []byte, m *sip.Message) []byte {
	hops := 70
	if n, err := m.MaxForwards(); err == nil && n >= 0 {
		hops = n - 1 // RFC 3261 16.6 step 3
	}
	dst = append(dst, "Max-Forwards: "...)
	dst = strconv.AppendInt(dst, int64(hops), 10)
	dst = append(dst, "\r\n"...)
	length := false
	for i := range m.Len() {
		h := m.At(i)
		switch h.ID {
		case sip.HeaderVia, sip.HeaderRoute, sip.HeaderMaxForwards:
			continue
		case sip.HeaderPAssertedIdentity, sip.HeaderPPreferredIdentity, sip.HeaderRemotePartyID, sip.HeaderDiversion:
			continue // who calls is what we know, not what the caller says
		case sip.HeaderProxyAuthorization, sip.HeaderAuthorization:
			if bytes.Contains(h.Value, []byte(`"`+s.Realm+`"`)) {
				continue // RFC 3261 22.3: credentials for us are nobody else's
			}
		case sip.HeaderContentLength:
			length = true
		}
		dst = h.AppendTo(dst)
	}
	if !length {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(m.Body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, m.Body...)
}

// forwardResponse is a response without our Via (RFC 3261 16.7 step 3).
func forwardResponse(m *sip.Message) []byte {
	dst := make([]byte, 0, len(m.Raw)+32)
	dst = append(dst, "SIP/2.0 "...)
	dst = strconv.AppendInt(dst, int64(m.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, m.Reason...)
	dst = append(dst, "\r\n"...)
	dst = m.AppendViasBelow(dst)
	length := false
	for i := range m.Len() {
		h := m.At(i)
		switch h.ID {
		case sip.HeaderVia:
			continue
		case sip.HeaderContentLength:
			length = true
		}
		dst = h.AppendTo(dst)
	}
	if !length {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(m.Body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, m.Body...)
}

// appendVia writes our Via for a flow.
func (s *shard) appendVia(dst []byte, f transport.Flow, branch func([]byte) []byte) []byte {
	dst = append(dst, "Via: SIP/2.0/"...)
	dst = append(dst, f.Proto.String()...)
	dst = append(dst, ' ')
	dst = s.Announced(f).AppendTo(dst)
	dst = append(dst, ";rport;branch="...)
	dst = branch(dst)
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
	first := true
	var hash []byte
	for v := range m.Values(sip.HeaderVia) {
		if first {
			first = false // the sender's own; ourselves it cannot be: the registrar takes no Contact that is us
			continue
		}
		i := bytes.LastIndexByte(v, '.')
		if i < 0 || !bytes.Contains(v, []byte("branch="+sip.Cookie)) {
			continue
		}
		via, err := sip.ParseVia(v)
		if err != nil || !s.Names.Host(via.Host, via.Port) {
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

func uriParam(uri []byte, name string) ([]byte, bool) {
	u, err := sip.ParseURI(uri)
	if err != nil {
		return nil, false
	}
	return u.Params.Get(name)
}
