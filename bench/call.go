package main

import (
	"bytes"
	"strconv"
)

// call is a whole call between two registered agents: INVITE 407 ACK INVITE
// 100 180 200 ACK BYE 200, with every message through the server.
//
// Each step waits until the one before has come out at the other end, so a
// step that the server swallowed stops the call, and nothing overtakes.
type call struct{}

const (
	stateInvited   state = iota // INVITE sent, 407 to come
	stateRouted                 // INVITE with credentials sent, to come out at the callee
	stateRinging                // 180 sent by the callee, to come out at the caller
	stateAnswered               // 200 sent by the callee, to come out at the caller
	stateConfirmed              // ACK sent by the caller, to come out at the callee
	stateEnding                 // BYE sent by the caller, to come out at the callee
	stateEnded                  // 200 sent by the callee, to come out at the caller
)

func (call) begin(l *load, s *slot) error {
	s.caller, s.callee = l.nextAgent(), l.nextAgent()
	return l.sendInvite(s, nil)
}

func (c call) receive(l *load, s *slot, m *message) error {
	if m.status == 0 {
		return c.atCallee(l, s, m)
	}
	return c.atCaller(l, s, m)
}

// atCaller takes a response.
func (call) atCaller(l *load, s *slot, m *message) error {
	if len(m.vias) != 1 || !bytes.Contains(m.vias[0], []byte("branch=z9hG4bKbench")) {
		return wrong("%d with the Vias %q", m.status, m.vias)
	}
	invite := string(m.method) == "INVITE"
	switch {
	case invite && m.status == 100:
		// One for the INVITE that is forwarded is asked for; the one that is
		// challenged may have its own.
		s.trying = s.trying || m.cseq == 2
		return nil
	case invite && m.status == 407 && s.state == stateInvited:
		if err := s.caller.challenged(m); err != nil {
			return err
		}
		if err := l.acknowledgeChallenge(s, m); err != nil {
			return err
		}
		s.state = stateRouted
		return l.sendInvite(s, s.caller.nonce)
	case invite && m.status == 180 && s.state == stateRinging:
		s.state = stateAnswered
		return l.send(s, append(l.sock.next(), s.answer...))
	case invite && m.status == 200 && s.state == stateAnswered:
		if !s.trying {
			return wrong("200 without a 100 before it")
		}
		if string(m.body) != accepted {
			return wrong("the answer came through as %q", m.body)
		}
		if len(m.recordRoutes) == 0 {
			return wrong("200 without Record-Route")
		}
		target := inAngles(m.contact)
		if !bytes.HasPrefix(target, []byte(s.callee.contact)) {
			return wrong("200 with the Contact %q, not %s", m.contact, s.callee.contact)
		}
		s.target = append(s.target[:0], target...)
		s.to = append(s.to[:0], m.to...)
		s.routes = appendRouteSet(s.routes[:0], m.recordRoutes)
		s.state = stateConfirmed
		return l.sendInside(s, "ACK", 2, 'a')
	case !invite && m.status == 200 && s.state == stateEnded:
		return l.done(s)
	case m.status == 180 || m.status == 407 || m.status == 200 && s.state > stateAnswered:
		l.counts.strays++ // once more what has been taken already
		return nil
	}
	return wrong("%s was answered with %d in state %d", m.method, m.status, s.state)
}

// atCallee takes a request.
func (call) atCallee(l *load, s *slot, m *message) error {
	if !bytes.HasPrefix(m.uri, []byte(s.callee.contact)) {
		return wrong("%s to %q, not to %s", m.method, m.uri, s.callee.contact)
	}
	if m.routes != 0 {
		return wrong("%s reached the callee with a Route of the server", m.method)
	}
	if len(m.vias) < 2 || string(m.maxForwards) == "70" {
		return wrong("%s was not forwarded as a proxy does", m.method)
	}
	switch method := string(m.method); {
	case method == "INVITE" && s.state == stateRouted:
		if string(m.body) != offer {
			return wrong("the offer came through as %q", m.body)
		}
		if len(m.recordRoutes) == 0 {
			return wrong("INVITE without Record-Route")
		}
		s.answer = appendResponse(s.answer[:0], m, "200 OK", "bench"+strconv.FormatUint(s.serial, 16)+"t")
		s.answer = s.callee.appendContact(s.answer)
		s.answer = appendBody(append(s.answer, userAgent+allow...), accepted)
		s.state = stateRinging
		b := appendResponse(l.sock.next(), m, "180 Ringing", "bench"+strconv.FormatUint(s.serial, 16)+"t")
		b = s.callee.appendContact(b)
		return l.send(s, appendBody(append(b, userAgent...), ""))
	case method == "ACK" && s.state == stateConfirmed:
		s.state = stateEnding
		return l.sendInside(s, "BYE", 3, 'b')
	case method == "BYE" && s.state == stateEnding:
		s.state = stateEnded
		b := appendResponse(l.sock.next(), m, "200 OK", "")
		return l.send(s, appendBody(append(b, userAgent...), ""))
	case method == "INVITE" && s.state > stateRouted, method == "ACK" && s.state > stateConfirmed, method == "BYE" && s.state > stateEnding:
		l.counts.strays++
		return nil
	}
	return wrong("%s at the callee in state %d", m.method, s.state)
}

// sendInvite sends the first INVITE, or with a nonce the second.
func (l *load) sendInvite(s *slot, nonce []byte) error {
	a := s.caller
	var room [64]byte
	uri := append(append(append(append(room[:0], "sip:"...), s.callee.number...), '@'), l.server...)
	cseq := uint32(1)
	if nonce != nil {
		cseq = 2
	}
	b := l.sock.next()
	b = append(b, "INVITE "...)
	b = append(b, uri...)
	b = append(b, " SIP/2.0\r\n"...)
	b = l.appendVia(b, a, s.serial, '0'+byte(cseq))
	b = append(b, "From: "...)
	b = l.appendAOR(b, a)
	b = append(b, ";tag="...)
	b = appendBranch(b, s.serial, 'f')
	b = append(b, "\r\nTo: "...)
	b = l.appendAOR(b, s.callee)
	b = append(b, "\r\nCall-ID: "...)
	b = l.appendCallID(b, 'c', s.index, s.serial)
	b = append(b, "\r\n"...)
	b = appendCSeq(b, cseq, "INVITE")
	b = a.appendContact(b)
	b = append(b, userAgent+allow...)
	if nonce != nil {
		b = append(b, "Proxy-Authorization: "...)
		b = appendCredentials(b, a.number, &a.ha1, nonce, 1, "INVITE", uri)
		b = append(b, "\r\n"...)
	}
	return l.send(s, appendBody(b, offer))
}

// acknowledgeChallenge sends the ACK for a 407. RFC 3261 17.1.1.3: the
// INVITE's Request-URI, Via and From, the response's To.
func (l *load) acknowledgeChallenge(s *slot, m *message) error {
	b := l.sock.next()
	b = append(b, "ACK sip:"...)
	b = append(b, s.callee.number...)
	b = append(b, '@')
	b = append(b, l.server...)
	b = append(b, " SIP/2.0\r\n"...)
	b = l.appendVia(b, s.caller, s.serial, '1')
	b = appendLine(b, "From", m.from)
	b = appendLine(b, "To", m.to)
	b = appendLine(b, "Call-ID", m.callID)
	b = appendCSeq(b, m.cseq, "ACK")
	return l.sock.queue(appendBody(b, ""))
}

// sendInside sends the caller's ACK or BYE along the route set.
func (l *load) sendInside(s *slot, method string, cseq uint32, step byte) error {
	b := l.sock.next()
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, s.target...)
	b = append(b, " SIP/2.0\r\n"...)
	b = l.appendVia(b, s.caller, s.serial, step)
	b = append(b, s.routes...)
	b = append(b, "From: "...)
	b = l.appendAOR(b, s.caller)
	b = append(b, ";tag="...)
	b = appendBranch(b, s.serial, 'f')
	b = append(b, "\r\n"...)
	b = appendLine(b, "To", s.to)
	b = append(b, "Call-ID: "...)
	b = l.appendCallID(b, 'c', s.index, s.serial)
	b = append(b, "\r\n"...)
	b = appendCSeq(b, cseq, method)
	b = append(b, userAgent...)
	return l.send(s, appendBody(b, ""))
}
