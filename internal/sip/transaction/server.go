package transaction

import (
	"bytes"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Server is a server transaction.
//
//	INVITE (RFC 3261 17.2.1, RFC 6026 7.1)       others (RFC 3261 17.2.2)
//
//	Proceeding --2xx--> Accepted  --L--> gone    Proceeding --final--> its bytes, kept until J (see replies)
//	    |
//	    +--300-699--> Completed --ACK--> Confirmed --I--> gone
//	                   |  G: send again    H: gone
type Server struct {
	// Packet is the request. It is gone after the final response.
	Packet *transport.Packet
	// Call is the user's: what this request began.
	Call any

	shard    *Shard
	key      key
	method   sip.Method
	cseq     uint32
	state    state
	flow     transport.Flow
	from     transport.Flow
	last     []byte // the last response
	callID   string // for the match of a CANCEL
	fromTag  string
	resend   Timer // G
	interval time.Duration
	expiry   Timer // H, I, L
}

type state uint8

const (
	proceeding state = iota
	completed
	confirmed
	accepted
	terminated
	calling
	trying
)

func (s *Shard) newServer(k key, p *transport.Packet) {
	tx := &Server{Packet: p, shard: s, key: k, method: p.Msg.Method, cseq: p.Msg.CSeq, flow: replyFlow(p), from: p.Flow}
	tx.resend.owner, tx.expiry.owner = tx, tx
	s.servers[k] = tx
	served := false
	defer func() {
		if !served && !tx.Final() { // a panic: the sender need not wait, and nothing stays
			tx.RespondStateless(sip.AppendRefusal(nil, &p.Msg, &sip.Error{Status: 500}, tx.Tag()))
		}
	}()
	s.user.Request(tx)
	served = true
}

// Method of the request.
func (t *Server) Method() sip.Method { return t.method }

// Shard is where it lives.
func (t *Server) Shard() *Shard { return t.shard }

// Flow is where the request came from.
func (t *Server) Flow() transport.Flow { return t.from }

// Tag is the To tag for an answer of our own.
func (t *Server) Tag() string { return t.key.tag() }

// Final tells that a final response was sent.
func (t *Server) Final() bool { return t.state != proceeding }

// RespondStateless answers and forgets: for answers that cost nothing to make again (401, 407, OPTIONS), so that a
// stranger's request leaves no state.
func (t *Server) RespondStateless(b []byte) {
	t.shard.Send(t.flow, b)
	t.remove()
}

// Refuse answers with an error of our own.
func (t *Server) Refuse(e *sip.Error) {
	if t.Final() {
		return
	}
	t.Respond(e.Status, sip.AppendRefusal(nil, &t.Packet.Msg, e, t.Tag()))
}

// Respond sends a response; b is the transaction's from then on. A 2xx to an INVITE may be sent again by the user
// while the transaction is accepted (RFC 6026 7.1).
func (t *Server) Respond(status int, b []byte) {
	switch t.state {
	case proceeding:
	case accepted:
		if status/100 == 2 {
			t.shard.Send(t.flow, b)
		}
		return
	default:
		return // RFC 3261 17.2.1: one final response
	}
	t.shard.Send(t.flow, b)
	if status < 200 {
		t.last = b
		return
	}
	if t.method != sip.INVITE {
		if !t.flow.Proto.Reliable() {
			t.shard.replies.put(t.key, b, t.shard.now)
		}
		t.remove()
		return
	}
	m := &t.Packet.Msg
	t.callID, t.fromTag = string(m.CallID), string(m.From.Tag())
	t.release()
	if status < 300 {
		t.state, t.last = accepted, nil
		t.set(&t.expiry, timerL)
		return
	}
	t.state, t.last = completed, b
	t.set(&t.expiry, timerH)
	if !t.flow.Proto.Reliable() {
		t.interval = T1
		t.set(&t.resend, t.interval)
	}
}

func (t *Server) set(timer *Timer, d time.Duration) { t.shard.wheel.set(timer, t.shard.now, d) }

func (t *Server) expire(timer *Timer) {
	if timer == &t.resend {
		t.shard.layer.Resent.Add(1)
		t.shard.Send(t.flow, t.last)
		t.interval = min(2*t.interval, T2)
		t.set(&t.resend, t.interval)
		return
	}
	t.remove()
}

// retransmitted: the request has come again.
func (t *Server) retransmitted() {
	t.shard.layer.Retransmissions.Add(1)
	if t.last != nil && (t.state == proceeding || t.state == completed) {
		t.shard.layer.Resent.Add(1)
		t.shard.Send(t.flow, t.last)
	}
}

// ack takes the ACK to a refusal; one to a 2xx is the user's.
func (t *Server) ack() bool {
	switch t.state {
	case completed:
		t.state, t.last = confirmed, nil
		t.resend.Stop()
		if t.flow.Proto.Reliable() {
			t.remove()
		} else {
			t.set(&t.expiry, timerI)
		}
		return true
	case confirmed:
		return true
	}
	return false
}

// cancel answers a CANCEL (RFC 3261 9.2). It must come from where its INVITE came from: nobody else may end a call.
func (s *Shard) cancel(p *transport.Packet, invite *Server) {
	m := &p.Msg
	if invite == nil || !invite.cancelledBy(p) {
		s.layer.StrayCancels.Add(1)
		s.Send(replyFlow(p), sip.AppendBody(sip.AppendResponse(nil, m, 481, "", s.key(m).tag()), "", nil))
		return
	}
	s.Send(replyFlow(p), sip.AppendBody(sip.AppendResponse(nil, m, 200, "", invite.Tag()), "", nil))
	if !invite.Final() {
		s.user.Cancelled(invite)
	}
}

func (t *Server) cancelledBy(p *transport.Packet) bool {
	m := &p.Msg
	if m.CSeq != t.cseq || p.Flow.Proto != t.from.Proto || p.Flow.Remote.Addr() != t.from.Remote.Addr() {
		return false
	}
	if t.Packet == nil {
		return string(m.CallID) == t.callID && string(m.From.Tag()) == t.fromTag
	}
	q := &t.Packet.Msg
	return bytes.Equal(m.CallID, q.CallID) && bytes.Equal(m.From.Tag(), q.From.Tag())
}

func (t *Server) release() {
	if t.Packet != nil {
		t.Packet.Release()
		t.Packet = nil
	}
}

func (t *Server) remove() {
	if t.state == terminated {
		return
	}
	t.state = terminated
	t.resend.Stop()
	t.expiry.Stop()
	t.release()
	t.last, t.Call = nil, nil
	delete(t.shard.servers, t.key)
}
