package agent

import (
	"slices"
	"strconv"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// dialog is the lasting relation of two agents (RFC 3261 12). All texts are copies.
type dialog struct {
	callID      string
	localTag    string
	remoteTag   string
	localURI    string // name-addr or addr-spec as From or To has it, without the tag
	remoteURI   string
	target      string   // the peer's Contact: where requests are for
	routes      []string // where they go through, nearest first
	cseq        counter  // ours
	remoteCSeq  uint32
	hasRemote   bool // remoteCSeq is set
	flow        transport.Flow
	allowUpdate bool // the peer takes UPDATE
}

// fromRequest makes the dialog of an INVITE that we answer. RFC 3261 12.1.1.
func (d *dialog) fromRequest(m *sip.Message, f transport.Flow, localTag string) {
	d.callID, d.localTag, d.remoteTag = string(m.CallID), localTag, string(m.From.Tag())
	d.localURI, d.remoteURI = nameAddr(m.To), nameAddr(m.From)
	d.remoteCSeq, d.hasRemote = m.CSeq, true
	d.flow = f
	for v := range m.Values(sip.HeaderRecordRoute) {
		d.routes = append(d.routes, string(v))
	}
	d.retarget(m)
}

// fromResponse completes the dialog of our INVITE. RFC 3261 12.1.2.
func (d *dialog) fromResponse(m *sip.Message) {
	d.remoteTag = string(m.To.Tag())
	d.routes = d.routes[:0]
	for v := range m.Values(sip.HeaderRecordRoute) {
		d.routes = append(d.routes, string(v))
	}
	slices.Reverse(d.routes)
	d.retarget(m)
}

// retarget takes the peer's Contact. RFC 3261 12.2.1.2, 12.2.2.
func (d *dialog) retarget(m *sip.Message) {
	for v := range m.Values(sip.HeaderContact) {
		if a, err := sip.ParseAddress(v); err == nil && len(a.URI) > 0 {
			d.target = string(a.URI)
		}
		break
	}
	if m.Has(sip.HeaderAllow) {
		d.allowUpdate = false
		for v := range m.Values(sip.HeaderAllow) {
			d.allowUpdate = d.allowUpdate || string(v) == string(sip.UPDATE)
		}
	}
}

// matches tells whether a request belongs to the dialog. RFC 3261 12.2.2.
func (d *dialog) matches(m *sip.Message) bool {
	return string(m.CallID) == d.callID && string(m.To.Tag()) == d.localTag && string(m.From.Tag()) == d.remoteTag
}

// newer takes the CSeq of a request; false for one that came too late. RFC 3261 12.2.2.
func (d *dialog) newer(cseq uint32) bool {
	if d.hasRemote && cseq < d.remoteCSeq {
		return false
	}
	d.remoteCSeq, d.hasRemote = cseq, true
	return true
}

// lines are the Request-URI and the header lines that every request in the dialog has. RFC 3261 12.2.1.1.
func (d *dialog) lines() (uri string, head []byte) {
	uri = d.target
	routes := d.routes
	if len(routes) > 0 && !loose(routes[0]) {
		// A strict router wants to be the Request-URI, and the target at the end of the route.
		a, err := sip.ParseAddress([]byte(routes[0]))
		if err == nil {
			uri = string(a.URI)
			routes = append(slices.Clone(routes[1:]), "<"+d.target+">")
		}
	}
	for _, r := range routes {
		head = sip.AppendHeader(head, "Route", r)
	}
	head = sip.AppendHeader(head, "From", d.localURI+";tag="+d.localTag)
	to := d.remoteURI
	if d.remoteTag != "" {
		to += ";tag=" + d.remoteTag
	}
	head = sip.AppendHeader(head, "To", to)
	return uri, sip.AppendHeader(head, "Call-ID", d.callID)
}

// ack makes the ACK to a 2xx, which is a transaction of its own that nobody answers (RFC 3261 13.2.2.4).
func (a *Agent) ack(d *dialog, cseq uint32, body []byte) []byte {
	uri, head := d.lines()
	b := sip.AppendRequestLine(make([]byte, 0, 1024), sip.ACK, uri)
	b = sip.AppendHeader(b, "Via", "SIP/2.0/"+viaProto(d.flow.Proto)+" "+a.transport.Announced(d.flow).String()+";rport;branch="+sip.Cookie+newToken())
	b = append(b, "Max-Forwards: 70\r\n"...)
	b = append(b, head...)
	b = append(b, "CSeq: "...)
	b = append(strconv.AppendUint(b, uint64(cseq), 10), " ACK\r\n"...)
	b = sip.AppendHeader(b, "User-Agent", a.config.Product)
	return sip.AppendBody(b, "application/sdp", body)
}

func loose(route string) bool {
	a, err := sip.ParseAddress([]byte(route))
	if err != nil {
		return true
	}
	u, err := sip.ParseURI(a.URI)
	if err != nil {
		return true
	}
	_, ok := u.Params.Get("lr")
	return ok
}

// nameAddr is an address as it was written, without its header parameters.
func nameAddr(a sip.Address) string {
	s := "<" + string(a.URI) + ">"
	if len(a.Display) > 0 {
		s = `"` + string(a.Display) + `" ` + s
	}
	return s
}
