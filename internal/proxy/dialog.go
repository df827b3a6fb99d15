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

func (w *initial) asks(t *target, p *transport.Packet) []byte {
	t.media = w.call.Branch(p.Flow, t.flow)
	return t.media.Pass(call.CallerSide, p)
}

func (w *initial) says(b *branch, p *transport.Packet) []byte {
	return b.target.media.Pass(call.CalleeSide, p)
}

func (w *initial) ringing(b *branch, m *sip.Message) {
	w.call.Ringing(m, b.target.number, b.target.flow, b.target.media, w.s.isOurs)
}

func (w *initial) answered(b *branch, m *sip.Message, forward func()) {
	w.call.Answered(m, b.target.number, b.target.flow, b.target.media, w.s.isOurs, forward)
}

func (w *initial) refused(status int, cause string, by call.EndedBy, forward func()) {
	w.call.Refused(status, cause, by, forward)
}

// inside watches a request within a dialog.
type inside struct {
	call.Dialog
	method sip.Method
	offer  bool // it had a body
	undo   func()
}

func (w *inside) asks(_ *target, p *transport.Packet) (body []byte) {
	body, w.undo = w.Offer(p)
	return body
}

func (w *inside) says(_ *branch, p *transport.Packet) []byte {
	return w.Pass(p, true)
}

func (w *inside) ringing(*branch, *sip.Message) {}

func (w *inside) answered(_ *branch, m *sip.Message, forward func()) {
	switch w.method {
	case sip.BYE:
		w.HungUp(forward)
		return
	case sip.INVITE, sip.UPDATE:
		w.Renegotiated(m, w.offer)
	}
	forward()
}

func (w *inside) refused(status int, _ string, _ call.EndedBy, forward func()) {
	switch {
	case w.method != sip.BYE:
		if w.undo != nil {
			w.undo()
		}
		forward()
	case status == 401, status == 407:
		w.StaysUp()
		forward()
	default: // RFC 3261 15.1.1: whatever else becomes of a BYE, the dialog has ended
		w.HungUp(forward)
	}
}

// inDialog serves a request with a To tag: it passes only inside a call that we know, from the side it claims.
func (s *shard) inDialog(tx *transaction.Server, r request) {
	d, ok := s.table.Find(r.Message)
	if !ok {
		s.NotInDialog.Add(1)
		refuse(tx, sip.Errorf(481, "", "no such call"))
		return
	}
	from, to := d.From(), d.To()
	if !s.known(tx.Packet.Flow, from) {
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
	f := &fork{s: s, tx: tx, watcher: &inside{Dialog: d, method: r.Method, offer: len(r.Body) > 0}}
	tx.Call = f
	if r.Method == sip.INVITE {
		s.pending.Add(1)
		tx.Respond(100, sip.AppendBody(sip.AppendResponse(nil, r.Message, 100, "", ""), "", nil))
	}
	d.WhenUp(func() {
		if f.cancelled {
			f.finish()
			return
		}
		d.Seen(tx.Packet)
		f.try(target{number: to.Number, uri: s.remoteTarget(r, to), routes: r.routes, flow: d.Flow(to)})
	})
}

// known tells that a flow is one that a leg's agent uses. Not the local end: it may use another one of our ports.
func (s *shard) known(f transport.Flow, l *call.Leg) bool {
	return f.Proto == l.Flow.Proto && f.Remote == l.Flow.Remote && f.Conn == l.Flow.Conn || s.Registrar.Current(l.Number, f)
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
	r, err := s.validate(&p.Msg)
	if err != nil {
		s.StrayAck.Add(1)
		return
	}
	d, ok := s.table.Find(r.Message)
	if !ok {
		s.StrayAck.Add(1)
		return
	}
	from := d.From()
	known := s.known(p.Flow, from)
	if !known && p.Flow.Remote.Addr() != from.Flow.Remote.Addr() {
		s.StrayAck.Add(1)
		return
	}
	body := d.Pass(p, false) // may be the answer, which the record shall know
	if known {
		d.Seen(p)
	}
	to := d.To()
	t := target{uri: s.remoteTarget(r, to), routes: r.routes, flow: d.Flow(to)}
	var chance [12]byte
	rand.Read(chance[:])
	branch := hex.AppendEncode(append(make([]byte, 0, 32), sip.Cookie...), chance[:])
	s.Send(t.flow, s.forward(p, &t, branch, false, body))
}
