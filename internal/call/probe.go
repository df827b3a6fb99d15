package call

import (
	"crypto/rand"
	"encoding/hex"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// A programme must never be ended by mistake, so a call is given up only on proof: its agent says that it does not know
// it (481), or has been silent for deadAfter while it is not registered either and nearly everybody else answers, which
// tells its outage from ours.
const (
	probeEvery = 3 * time.Minute
	probeGap   = 5 * time.Second // between two probes of one call, whoever asks for them
	deadAfter  = 15 * time.Minute
	// ackWait is how long a callee sends its 2xx again (RFC 3261 13.3.1.4). Until the ACK the caller may not know the
	// dialog, and would say so.
	ackWait = 64 * transaction.T1
)

// probe is a call's state of being asked.
type probe struct {
	timer *transaction.Timer
	from  time.Time // not before
	last  time.Time
}

// startProbes asks both sides every few minutes, spread in time.
func (c *Call) startProbes() {
	c.probe.timer.Stop()
	c.probe.timer = c.table.shard.After(probeEvery-mathrand.N(probeEvery/4), func() {
		c.startProbes()
		c.probeNow()
	})
}

// probeNow asks both sides whether they are in the call: OPTIONS inside the dialog (RFC 3261 11, 12.2.1.1).
func (c *Call) probeNow() {
	now := c.table.shard.Now()
	if !c.Up() || c.leaving.byes > 0 || now.Before(c.probe.from) || now.Sub(c.probe.last) < probeGap {
		return
	}
	c.probe.last = now
	c.ask(CallerSide, &c.Caller, c.up)
	c.ask(CalleeSide, c.up, &c.Caller)
}

// inquiry is one side being asked. An agent that has registered from somewhere else is asked in both places: there may
// be another device of its account, which knows nothing of the call, while this one is on air.
type inquiry struct {
	call    *Call
	side    Side
	leg     *Leg
	open    int
	alive   bool // somebody answered
	own     bool // and it was the leg's own flow
	unknown bool // somebody said 481
	other   transport.Flow
}

// question is one OPTIONS on its way.
type question struct {
	*inquiry
	own bool
}

func (c *Call) ask(side Side, leg, other *Leg) {
	i := &inquiry{call: c, side: side, leg: leg}
	own := leg.Flow
	now, registered := c.table.calls.Flow(leg.Number, own)
	if !registered || !leg.Bound && c.table.shard.Connected(own) {
		now = own
	}
	i.open = 1
	if now != own {
		i.other = now
		if c.table.shard.Connected(own) {
			i.open = 2
			i.send(question{i, true}, own, other)
		}
	}
	i.send(question{i, now == own}, now, other)
}

func (i *inquiry) send(q question, f transport.Flow, other *Leg) {
	client := i.call.table.shard.NewClient(q)
	client.Send(f, sip.OPTIONS, i.call.request(client.AppendBranch(nil), f, sip.OPTIONS, i.leg, other, other.CSeq))
}

func (q question) Response(_ *transaction.Client, p *transport.Packet) {
	if p.Msg.Status < 200 {
		return
	}
	if p.Msg.Status == 481 {
		q.unknown = true
	} else {
		q.inquiry.alive, q.inquiry.own = true, q.inquiry.own || q.own
	}
	q.settle()
}

func (q question) Failed(*transaction.Client, error) { q.settle() }

// settle judges when every place has answered or failed.
func (i *inquiry) settle() {
	c, leg := i.call, i.leg
	cs, now := c.table.calls, c.table.shard.Now()
	if i.open--; i.open > 0 {
		return
	}
	cs.heard(now, i.alive || i.unknown)
	if !c.Up() || i.side == CalleeSide && leg != c.up {
		return
	}
	switch {
	case i.alive:
		leg.alive, leg.missed = now, nil
		c.up.media.heard(i.side)
		leg.stranger = transport.Flow{}
		if i.own {
			leg.stranger = i.other
		}
	case i.unknown:
		if c.leaving.byes > 0 {
			return // of course not: it has hung up
		}
		who := "caller"
		if i.side == CalleeSide {
			who = "callee"
		}
		c.Terminate("lost: the " + who + " does not know the call any more")
	default:
		leg.missed = append(leg.missed, now)
		if len(leg.missed) > 64 {
			leg.missed = leg.missed[1:]
		}
		if now.Sub(leg.alive) < deadAfter { // a start of the service counts as a sign of life
			return
		}
		if _, registered := cs.Flow(leg.Number, leg.Flow); registered || !cs.othersAnswer(now, leg.missed) {
			return
		}
		c.Terminate("lost: " + string(leg.Number) + " has not answered for 15 minutes and is not registered")
	}
}

// request builds a request of our own inside a dialog, to one side in the name of the other.
func (c *Call) request(branch []byte, f transport.Flow, m sip.Method, to, from *Leg, cseq uint32) []byte {
	target := to.Target
	if target == "" {
		target = "sip:" + string(to.Number) + "@" + f.Remote.String()
	}
	b := sip.AppendRequestLine(make([]byte, 0, 640), m, target)
	b = append(b, "Via: SIP/2.0/"+f.Proto.String()+" "+c.table.calls.Announced(f)+";branch="...)
	b = append(b, branch...)
	b = append(b, "\r\n"...)
	for _, r := range to.Routes {
		b = sip.AppendHeader(b, "Route", r)
	}
	b = sip.AppendHeader(b, "Max-Forwards", "70")
	b = sip.AppendHeader(b, "From", from.Party)
	b = sip.AppendHeader(b, "To", to.Party)
	b = sip.AppendHeader(b, "Call-ID", c.Record.CallID)
	b = sip.AppendHeader(b, "CSeq", strconv.FormatUint(uint64(cseq), 10)+" "+string(m))
	return sip.AppendBody(b, "", nil)
}

// Terminate ends a call for the service: BYE to both sides of each dialog, each in the name of the other.
func (c *Call) Terminate(cause string) {
	c.WhenUp(func() {
		if !c.Up() {
			return
		}
		for _, l := range c.Callees {
			if l.answered {
				c.bye(&c.Caller, l, l.CSeq+1)
				c.bye(l, &c.Caller, c.Caller.CSeq+1)
			}
		}
		c.end(cause, ByService, func() {})
	})
}

func (c *Call) bye(to, from *Leg, cseq uint32) {
	client, f := c.table.shard.NewClient(parting{}), c.Flow(to)
	client.Send(f, sip.BYE, c.request(client.AppendBranch(nil), f, sip.BYE, to, from, cseq))
}

// dismiss takes a 2xx that nobody waits for any more: ACK, so that the agent stops sending it, and BYE.
func (c *Call) dismiss(l *Leg, cseq uint32) {
	f := c.Flow(l)
	var b [12]byte
	rand.Read(b[:])
	branch := hex.AppendEncode([]byte(sip.Cookie), b[:])
	c.table.shard.Send(f, c.request(branch, f, sip.ACK, l, &c.Caller, cseq))
	if !l.answered { // the 2xx may come again
		l.answered = true
		c.bye(l, &c.Caller, max(cseq, c.Caller.CSeq)+1)
	}
}

// parting is a BYE of ours on its way: whatever comes back, the call has ended.
type parting struct{}

func (parting) Response(*transaction.Client, *transport.Packet) {}
func (parting) Failed(*transaction.Client, error)               {}
