package main

import (
	"bytes"
	"strconv"
)

// registration is REGISTER, 401, REGISTER with credentials, 200. With keep it
// is one REGISTER with the nonce of the last challenge and the next nonce
// count, and its 200.
type registration struct{ keep bool }

const (
	stateChallenge  state = iota // REGISTER sent, 401 to come
	stateRegistered              // credentials sent, 200 to come
)

func (w registration) begin(l *load, s *slot) error {
	a := l.nextAgent()
	s.caller, a.slot = a, s
	a.cseq++
	if w.keep && a.nonce != nil {
		s.state = stateRegistered
		a.nc++
	}
	return l.sendRegister(s, a)
}

func (w registration) receive(l *load, s *slot, m *message) error {
	a := s.caller
	if m.status == 0 {
		return wrong("%s to an agent that is registering", m.method)
	}
	if m.cseq != a.cseq {
		l.counts.strays++
		return nil
	}
	switch {
	case m.status == 100:
		return nil
	case s.state == stateChallenge && m.status == 401:
		if err := a.challenged(m); err != nil {
			return err
		}
		s.state = stateRegistered
		a.cseq++
		return l.sendRegister(s, a)
	case s.state == stateRegistered && m.status == 200:
		if !bytes.Contains(m.contact, []byte(a.contact)) {
			return wrong("200 to REGISTER lists %q, not %s", m.contact, a.contact)
		}
		a.slot = nil
		return l.done(s)
	}
	return wrong("REGISTER was answered with %d in state %d", m.status, s.state)
}

// challenged takes the nonce of a 401 or 407.
func (a *agent) challenged(m *message) error {
	nonce := parameter(m.challenge, "nonce")
	if string(parameter(m.challenge, "realm")) != realm || len(nonce) == 0 {
		return wrong("%d with the challenge %q", m.status, m.challenge)
	}
	a.nonce, a.nc = append(a.nonce[:0], nonce...), 1
	return nil
}

func (l *load) sendRegister(s *slot, a *agent) error {
	var room [64]byte
	uri := append(append(room[:0], "sip:"...), l.server...)
	b := l.sock.next()
	b = append(b, "REGISTER "...)
	b = append(b, uri...)
	b = append(b, " SIP/2.0\r\n"...)
	b = l.appendVia(b, a, s.serial, '0'+byte(s.state))
	b = append(b, "From: "...)
	b = l.appendAOR(b, a)
	b = append(b, ";tag="...)
	b = appendBranch(b, s.serial, 'f')
	b = append(b, "\r\nTo: "...)
	b = l.appendAOR(b, a)
	b = append(b, "\r\nCall-ID: "...)
	b = l.appendCallID(b, 'r', l.index(a), 0)
	b = append(b, "\r\n"...)
	b = appendCSeq(b, a.cseq, "REGISTER")
	b = a.appendContact(b)
	b = append(b, "Expires: 3600\r\n"+userAgent+allow...)
	if s.state == stateRegistered {
		b = append(b, "Authorization: "...)
		b = appendCredentials(b, a.number, &a.ha1, a.nonce, a.nc, "REGISTER", uri)
		b = append(b, "\r\n"...)
	}
	return l.send(s, appendBody(b, ""))
}

// index is the agent's place in the round.
func (l *load) index(a *agent) int {
	n, _ := strconv.Atoi(a.number)
	return n - firstNumber
}
