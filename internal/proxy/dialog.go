package proxy

import (
	"crypto/rand"
	"encoding/hex"

	"liaison/internal/call"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// initial watches the INVITE that begins a call.
type initial struct {
	s    *shard
	call *call.Call
}

func (w *initial) ringing(b *branch, m *sip.Message) {
	w.call.Ringing(m, b.target.number, b.target.flow, w.s.isOurs)
}

func (w *initial) answered(b *branch, m *sip.Message, forward func()) {
	w.call.Answered(m, b.target.number, b.target.flow, w.s.isOurs, forward)
}

func (w *initial) refused(status int, cause string, by *branch, forward func()) {
	who := call.ByService
	switch {
	case status == 487:
		who = call.ByCaller
	case by != nil && status != 408 && status != 480 && status != 500 && status != 502:
		who = call.ByCallee
	}
	w.call.Refused(status, cause, who, forward)
}

// inside watches a request within a dialog.
type inside struct {
	call     *call.Call
	method   sip.Method
	side     call.Side
	from, to *call.Leg
}

func (w *inside) ringing(*branch, *sip.Message) {}

func (w *inside) answered(_ *branch, m *sip.Message, forward func()) {
	switch w.method {
	case sip.BYE:
		w.call.HungUp(w.side, w.callee(), forward)
		return
	case sip.INVITE, sip.UPDATE:
		w.call.Renegotiated(m, w.to)
	}
	forward()
}

func (w *inside) refused(status int, _ string, _ *branch, forward func()) {
	// RFC 3261 15.1.1: whatever becomes of a BYE, the dialog has ended; but for one that is sent again with a password.
	if w.method == sip.BYE && status != 401 && status != 407 {
		w.call.HungUp(w.side, w.callee(), forward)
		return
	}
	forward()
}

// callee is the leg that tells which of the call's dialogs this is.
func (w *inside) callee() *call.Leg {
	if w.side == call.CallerSide {
		return w.to
	}
	return w.from
}

// inDialog serves a request with a To tag: it passes only inside a call that we know, from the side it claims.
func (s *shard) inDialog(tx *transaction.Server, r request) {
	p := tx.Packet
	c, side, from, to := s.table.Find(r.Message)
	if c == nil {
		s.NotInDialog.Add(1)
		refuse(tx, sip.Errorf(481, "", "no such call"))
		return
	}
	if !s.known(p.Flow, from) {
		acc := s.authenticate(tx) // a new network that it has not registered from yet
		if acc == nil {
			return
		}
		if acc.Number != from.Number {
			s.NotInDialog.Add(1)
			tx.Refuse(sip.Errorf(403, "Forbidden - not your call", "%s in a call of %s", acc.Number, from.Number))
			return
		}
	}
	c.Seen(p, from, to)
	f := &fork{s: s, tx: tx, watcher: &inside{c, r.Method, side, from, to}, uri: r.uri, stop: true}
	tx.Call = f
	if r.Method == sip.INVITE {
		s.pending.Add(1)
		tx.Respond(100, sip.AppendBody(sip.AppendResponse(nil, r.Message, 100, "", ""), "", nil))
	}
	f.try(target{number: from.Number, uri: s.remoteTarget(r, to), routes: r.routes, flow: c.Flow(to)})
}

// known tells that a flow is one that a leg's agent uses.
func (s *shard) known(f transport.Flow, l *call.Leg) bool {
	return f == l.Flow || s.Registrar.Current(l.Number, f)
}

// remoteTarget is the Request-URI as the sender wrote it; one that keeps writing the number that it dialled gets the
// agent's Contact put in.
func (s *shard) remoteTarget(r request, to *call.Leg) []byte {
	if to.Target != "" && s.Names.URI(&r.parsed) {
		return []byte(to.Target)
	}
	return r.uri
}

// Ack passes on the ACK to a 2xx (RFC 3261 16.11): without a transaction, inside its call only. It cannot be challenged,
// so from a new place it passes only if that is the agent's own address.
func (s *shard) Ack(p *transport.Packet) {
	m := &p.Msg
	r, err := s.validate(m)
	if err != nil {
		s.StrayAck.Add(1)
		return
	}
	c, _, from, to := s.table.Find(m)
	if c == nil || !(s.known(p.Flow, from) || p.Flow.Remote.Addr() == from.Flow.Remote.Addr()) {
		s.StrayAck.Add(1)
		return
	}
	if s.known(p.Flow, from) {
		c.Seen(p, from, to)
	}
	flow := c.Flow(to)
	uri := s.remoteTarget(r, to)
	dst := make([]byte, 0, len(m.Raw)+256)
	dst = sip.AppendRequestLine(dst, m.Method, uri)
	dst = s.appendVia(dst, flow, func(dst []byte) []byte {
		var b [12]byte
		rand.Read(b[:])
		return hex.AppendEncode(append(dst, sip.Cookie...), b[:])
	})
	dst = m.AppendVias(dst)
	for _, route := range r.routes {
		dst = sip.AppendHeader(dst, "Route", route)
	}
	s.Send(flow, s.appendRest(dst, m))
}
