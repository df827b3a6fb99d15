package agent

import (
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// user is the agent as its transaction layer sees it.
type user Agent

// Request takes a new request.
func (u *user) Request(tx *transaction.Server) {
	a := (*Agent)(u)
	m := &tx.Packet.Msg
	if e := a.required(m); e != nil {
		tx.Refuse(e)
		return
	}
	if m.To.Tag() != nil {
		a.inDialog(tx)
		return
	}
	switch m.Method {
	case sip.INVITE:
		a.incoming(tx)
	case sip.OPTIONS: // RFC 3261 11.2
		a.ok(tx, nil)
	case sip.MESSAGE, sip.INFO, sip.UPDATE, sip.BYE, sip.PRACK:
		tx.Refuse(sip.Errorf(481, "", "no dialog"))
	default:
		tx.Refuse(notAllowed(m.Method))
	}
}

func notAllowed(m sip.Method) *sip.Error {
	e := sip.Errorf(405, "", "%s", m)
	e.Headers = []byte("Allow: " + allowed + "\r\n")
	return e
}

// required: RFC 3261 8.2.2.3. Session timers are all that we know.
func (a *Agent) required(m *sip.Message) *sip.Error {
	var unknown []byte
	for v := range m.Values(sip.HeaderRequire) {
		if string(v) != "timer" {
			unknown = sip.AppendHeader(unknown, "Unsupported", v)
		}
	}
	if unknown == nil {
		return nil
	}
	e := sip.Errorf(420, "", "extensions are required that the agent does not have")
	e.Headers = unknown
	return e
}

// ok answers 200 to a request that is no INVITE.
func (a *Agent) ok(tx *transaction.Server, body []byte) {
	m := &tx.Packet.Msg
	b := sip.AppendResponse(make([]byte, 0, 512), m, 200, "", tx.Tag())
	b = sip.AppendHeader(b, "Allow", allowed)
	b = sip.AppendHeader(b, "Accept", "application/sdp")
	b = sip.AppendHeader(b, "Supported", "timer")
	b = sip.AppendHeader(b, "User-Agent", a.config.Product)
	tx.Respond(200, sip.AppendBody(b, "application/sdp", body))
}

// inDialog takes a request of a call. RFC 3261 12.2.2.
func (a *Agent) inDialog(tx *transaction.Server) {
	m := &tx.Packet.Msg
	c := a.calls[string(m.To.Tag())]
	if c == nil || !c.matches(m) {
		tx.Refuse(sip.Errorf(481, "", "no such dialog"))
		return
	}
	if !c.newer(m.CSeq) {
		tx.Refuse(sip.Errorf(500, "CSeq is lower than the last", "out of order"))
		return
	}
	switch m.Method {
	case sip.INVITE:
		c.reinvite(tx)
	case sip.UPDATE:
		c.update(tx)
	case sip.BYE:
		a.ok(tx, nil)
		c.end()
	case sip.OPTIONS, sip.INFO, sip.MESSAGE:
		a.ok(tx, nil)
	default:
		tx.Refuse(notAllowed(m.Method))
	}
}

// Ack takes the ACK to a 200 of ours.
func (u *user) Ack(p *transport.Packet) {
	c := u.calls[string(p.Msg.To.Tag())]
	if c != nil && c.matches(&p.Msg) {
		c.confirmed(&p.Msg)
	}
}

// Cancelled: the caller gave up; the CANCEL is answered already.
func (u *user) Cancelled(tx *transaction.Server) {
	c, _ := tx.Call.(*call)
	if c == nil {
		return
	}
	if c.state != ringing { // a re-INVITE is cancelled: the call goes on as it was
		tx.Refuse(sip.Errorf(487, "", "cancelled"))
		return
	}
	c.refuse(sip.Errorf(487, "", "cancelled"))
}

// Response takes what belongs to no transaction of ours: nothing to do.
func (u *user) Response(*transport.Packet) {}

// Closed: the connection to the server is gone.
func (u *user) Closed(f transport.Flow) {
	a := (*Agent)(u)
	if f == a.flow {
		a.flow = transport.Flow{}
		if a.binding != nil {
			a.binding.lost()
		}
	}
}
