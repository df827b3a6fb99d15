package agent

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// incoming takes a call.
func (a *Agent) incoming(tx *transaction.Server) {
	m := &tx.Packet.Msg
	for _, c := range a.calls {
		// RFC 3261 8.2.2.2: the same request by another way, through a proxy that forks to us twice.
		if c.callID == string(m.CallID) && c.remoteTag == string(m.From.Tag()) && c.remoteCSeq == m.CSeq {
			tx.Refuse(sip.Errorf(482, "", "merged"))
			return
		}
	}
	switch {
	case a.stopping:
		tx.Refuse(sip.Errorf(480, "", "the agent stops"))
		return
	case a.config.Answering == Busy, a.config.Callers > 0 && len(a.calls) >= a.config.Callers:
		tx.Refuse(sip.Errorf(486, "", "busy"))
		return
	}
	c := &call{a: a, state: ringing, began: a.shard.Now(), server: tx}
	c.fromRequest(m, tx.Flow(), tx.Tag())
	tx.Call = c
	if e := c.usable(m); e != nil {
		tx.Refuse(e)
		return
	}
	a.calls[c.localTag] = c
	if a.config.Answering == Ring {
		c.ring()
		return
	}
	c.pickUp()
}

// usable refuses what cannot become a dialog.
func (c *call) usable(m *sip.Message) *sip.Error {
	if len(c.remoteTag) == 0 || c.target == "" {
		return sip.Errorf(400, "From tag or Contact is missing", "no dialog can be made")
	}
	return describes(m)
}

// describes: a body that is there must be a session description.
func describes(m *sip.Message) *sip.Error {
	if len(m.Body) == 0 || isSDP(m.Header(sip.HeaderContentType)) {
		return nil
	}
	e := sip.Errorf(415, "", "body of another type")
	e.Headers = []byte("Accept: application/sdp\r\n")
	return e
}

// ring lets the caller wait. RFC 3261 13.3.1.1: once a minute, or proxies give up.
func (c *call) ring() {
	if c.state != ringing {
		return
	}
	m := &c.server.Packet.Msg
	b := sip.AppendResponse(make([]byte, 0, 512), m, 180, "", c.localTag)
	b = appendRecordRoute(b, m)
	b = sip.AppendHeader(b, "Contact", c.a.contact(c.flow))
	c.server.Respond(180, sip.AppendBody(b, "", nil))
	c.a.shard.After(time.Minute, c.ring)
}

// refuse ends a call that was not answered.
func (c *call) refuse(e *sip.Error) {
	c.server.Refuse(e)
	c.end()
}

// pickUp answers: with an answer to the offer, or with an offer if there was none (RFC 3261 13.2.1).
func (c *call) pickUp() {
	m := &c.server.Packet.Msg
	addr := c.flow.Local.Addr()
	if c.flow.Proto == transport.Link {
		// The proxy has put in its Via the address at which the caller reached the service.
		if via, err := netip.ParseAddr(string(m.Via.Host)); err == nil {
			addr = via.Unmap()
		}
	}
	if err := c.open(addr, c.a.config.Codecs, false, ""); err != nil {
		c.a.log.Error("no ports for the audio of a call", "error", err)
		c.refuse(sip.Errorf(503, "", "%w", err))
		return
	}
	c.media.trust(vias(m))
	body, e := c.described(m)
	if e != nil {
		c.refuse(e)
		return
	}
	tx := c.server
	c.server = nil
	c.respond(tx, body)
	c.established()
}

// described gives the body of our 200: the answer to an offer, or an offer.
func (c *call) described(m *sip.Message) ([]byte, *sip.Error) {
	if len(m.Body) > 0 {
		return c.answerTo(m.Body)
	}
	c.offered = true
	return c.local.Offer(), nil
}

// respond sends a 200 to an INVITE, and again until the ACK is here. RFC 3261 13.3.1.4: on any transport, as there
// may be an unreliable one behind the next hop.
func (c *call) respond(tx *transaction.Server, body []byte) {
	m := &tx.Packet.Msg
	b := sip.AppendResponse(make([]byte, 0, 1024), m, 200, "", c.localTag)
	b = appendRecordRoute(b, m)
	b = sip.AppendHeader(b, "Contact", c.a.contact(c.flow))
	b = sip.AppendHeader(b, "Allow", allowed)
	b = append(b, c.sessionTimer(m)...)
	b = sip.AppendHeader(b, "User-Agent", c.a.config.Product)
	c.answer, c.answerTx = sip.AppendBody(b, "application/sdp", body), tx
	c.ackFor = m.CSeq

	tx.Respond(200, c.answer)
	c.interval = transaction.T1
	c.again = c.a.shard.After(c.interval, c.respondAgain)
	c.giveUp = c.a.shard.After(64*transaction.T1, func() {
		c.stopAnswer()
		if c.state == up {
			c.bye(`SIP;cause=408;text="No ACK"`)
		}
	})
}

func (c *call) respondAgain() {
	c.answerTx.Respond(200, c.answer)
	c.interval = min(2*c.interval, transaction.T2)
	c.again = c.a.shard.After(c.interval, c.respondAgain)
}

func (c *call) stopAnswer() {
	if c.answer == nil {
		return
	}
	c.again.Stop()
	c.giveUp.Stop()
	c.answer, c.answerTx = nil, nil
}

// confirmed takes the ACK.
func (c *call) confirmed(m *sip.Message) {
	if c.answer == nil || m.CSeq != c.ackFor {
		return
	}
	c.stopAnswer()
	if !c.offered {
		return
	}
	// The offer was ours, in the 200; the answer is here or nowhere.
	if err := c.accept(m.Body); err != nil {
		c.a.log.Warn("an ACK has no usable answer to our offer", "call", c.callID, "error", err)
		c.bye(`SIP;cause=488;text="No usable answer in the ACK"`)
	}
}

// reinvite: hold, another codec, another address. RFC 3261 14.2.
func (c *call) reinvite(tx *transaction.Server) {
	m := &tx.Packet.Msg
	if e := describes(m); e != nil {
		tx.Refuse(e)
		return
	}
	switch {
	case c.state != up:
		tx.Refuse(sip.Errorf(491, "", "the call is not up"))
	case c.answer != nil:
		// The 200 before has no ACK yet.
		e := sip.Errorf(500, "", "an INVITE is under way")
		e.Headers = []byte("Retry-After: 1\r\n")
		tx.Refuse(e)
	default:
		tx.Call = c
		c.retarget(m)
		body, e := c.described(m)
		if e != nil {
			tx.Refuse(e) // the call goes on as it was
			return
		}
		c.respond(tx, body)
	}
}

// update: RFC 3311; without a description it only keeps the session alive.
func (c *call) update(tx *transaction.Server) {
	m := &tx.Packet.Msg
	if e := describes(m); e != nil {
		tx.Refuse(e)
		return
	}
	var body []byte
	if len(m.Body) > 0 {
		if c.state != up || c.offered {
			tx.Refuse(sip.Errorf(491, "", "an offer is under way"))
			return
		}
		var e *sip.Error
		if body, e = c.answerTo(m.Body); e != nil {
			tx.Refuse(e)
			return
		}
	}
	c.retarget(m)
	b := sip.AppendResponse(make([]byte, 0, 1024), m, 200, "", "")
	b = sip.AppendHeader(b, "Contact", c.a.contact(c.flow))
	b = append(b, c.sessionTimer(m)...)
	b = sip.AppendHeader(b, "User-Agent", c.a.config.Product)
	tx.Respond(200, sip.AppendBody(b, "application/sdp", body))
}

// sessionTimer takes part in what a peer with session timers wants (RFC 4028 9) and gives the lines for the 200. The
// peer refreshes if it leaves us the choice. If it does not, we do with UPDATE, and if it does not take UPDATE there
// is no timer.
func (c *call) sessionTimer(m *sip.Message) []byte {
	supported := false
	for v := range m.Values(sip.HeaderSupported) {
		supported = supported || string(v) == "timer"
	}
	value := m.Named("Session-Expires")
	if value == nil {
		value = m.Named("x") // compact form
	}
	text, params := beforeParams(value)
	period, err := strconv.Atoi(text)
	if !supported || err != nil || period < 90 || period > 1<<20 {
		return nil
	}
	refresher, _ := params.Get("refresher")
	ours := string(refresher) == "uas"
	if ours && !c.allowUpdate {
		return nil
	}
	if c.refresh != nil {
		c.refresh.Stop()
	}
	who := "uac"
	if ours {
		who = "uas"
		half := time.Duration(period) * time.Second / 2
		c.refresh = c.a.shard.After(half, func() { c.keepSession(text, half) })
	}
	return []byte("Require: timer\r\nSession-Expires: " + text + ";refresher=" + who + "\r\n")
}

// keepSession sends the refresh that the peer waits for.
func (c *call) keepSession(period string, half time.Duration) {
	if c.state != up {
		return
	}
	uri, head := c.lines()
	head = sip.AppendHeader(head, "Contact", c.a.contact(c.flow))
	head = sip.AppendHeader(head, "Supported", "timer")
	head = sip.AppendHeader(head, "Session-Expires", period+";refresher=uac")
	r := &request{a: c.a, method: sip.UPDATE, uri: uri, flow: c.path(), head: head, next: c.cseq.next,
		failed: func(error) {},
		final: func(m *sip.Message) {
			if m.Status == 481 && c.state == up { // RFC 3261 12.2.1.2: the peer does not know the call any more
				c.end()
			}
		},
	}
	r.send()
	c.refresh = c.a.shard.After(half, func() { c.keepSession(period, half) })
}

func appendRecordRoute(b []byte, m *sip.Message) []byte {
	for i := range m.Len() {
		if h := m.At(i); h.ID == sip.HeaderRecordRoute {
			b = sip.AppendHeader(b, "Record-Route", h.Value)
		}
	}
	return b
}

// vias are the addresses that a request has passed: where its sender's audio may come from.
func vias(m *sip.Message) []netip.Addr {
	var out []netip.Addr
	for v := range m.Values(sip.HeaderVia) {
		via, err := sip.ParseVia(v)
		if err != nil {
			continue
		}
		host := via.Host
		if received, ok := via.Params.Get("received"); ok {
			host = received
		}
		if a, err := netip.ParseAddr(string(host)); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// isSDP reads a Content-Type. Types have no case (RFC 3261 7.3.1).
func isSDP(contentType []byte) bool {
	kind, _ := beforeParams(contentType)
	return strings.EqualFold(kind, "application/sdp")
}

// beforeParams splits "1800;refresher=uas".
func beforeParams(value []byte) (string, sip.Params) {
	i := bytes.IndexByte(value, ';')
	if i < 0 {
		i = len(value)
	}
	return string(bytes.TrimSpace(value[:i])), sip.Params(value[i:])
}
