package call

import (
	"math/rand/v2"
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
)

// probe is a call's state of being asked.
type probe struct {
	timer *transaction.Timer
	last  time.Time
}

// startProbes asks both sides every few minutes, spread in time.
func (c *Call) startProbes() {
	c.probe.timer.Stop()
	c.probe.timer = c.table.shard.After(probeEvery-time.Duration(rand.Int64N(int64(probeEvery/4))), c.probeNow)
}

// probeNow asks both sides whether they are in the call: OPTIONS inside the dialog (RFC 3261 11, 12.2.1.1).
func (c *Call) probeNow() {
	now := c.table.shard.Now()
	if !c.Up() || now.Sub(c.probe.last) < probeGap {
		return
	}
	c.probe.last = now
	c.startProbes()
	for _, s := range [...]Side{CallerSide, CalleeSide} {
		client := c.table.shard.NewClient(&asked{c, s})
		leg := c.Leg(s)
		f := c.Flow(leg)
		client.Send(f, sip.OPTIONS, c.request(client, f, sip.OPTIONS, s, c.Leg(1-s).CSeq))
	}
}

// Flow is the path to a leg's agent now.
func (c *Call) Flow(l *Leg) transport.Flow {
	if l.Flow.Proto == transport.Link {
		return l.Flow
	}
	if f, ok := c.table.calls.Flow(l.Number, l.Flow); ok {
		return f
	}
	return l.Flow
}

// request builds a request of our own inside the dialog, to one side in the name of the other.
func (c *Call) request(client *transaction.Client, f transport.Flow, m sip.Method, to Side, cseq uint32) []byte {
	leg, other := c.Leg(to), c.Leg(1-to)
	target := leg.Target
	if target == "" {
		target = "sip:" + string(leg.Number) + "@" + f.Remote.String()
	}
	b := sip.AppendRequestLine(make([]byte, 0, 640), m, target)
	b = append(b, "Via: SIP/2.0/"+f.Proto.String()+" "+c.table.calls.Announced(f)+";branch="...)
	b = client.AppendBranch(b)
	b = append(b, "\r\n"...)
	for _, r := range leg.Routes {
		b = sip.AppendHeader(b, "Route", r)
	}
	b = sip.AppendHeader(b, "Max-Forwards", "70")
	b = sip.AppendHeader(b, "From", other.Party)
	b = sip.AppendHeader(b, "To", leg.Party)
	b = sip.AppendHeader(b, "Call-ID", c.Record.CallID)
	b = sip.AppendHeader(b, "CSeq", strconv.FormatUint(uint64(cseq), 10)+" "+string(m))
	return sip.AppendBody(b, "", nil)
}

// asked is one probe on its way.
type asked struct {
	call *Call
	side Side
}

func (a *asked) Response(_ *transaction.Client, p *transport.Packet) {
	if p.Msg.Status < 200 {
		return
	}
	c := a.call
	now := c.table.shard.Now()
	c.table.calls.heard(now, true)
	if !c.Up() {
		return
	}
	if p.Msg.Status == 481 {
		who := "caller"
		if a.side == CalleeSide {
			who = "callee"
		}
		c.Terminate("lost: the " + who + " does not know the call any more")
		return
	}
	leg := c.Leg(a.side)
	leg.Alive, leg.missed = now, nil
}

func (a *asked) Failed(_ *transaction.Client, _ error) {
	c := a.call
	now := c.table.shard.Now()
	cs := c.table.calls
	cs.heard(now, false)
	if !c.Up() {
		return
	}
	leg := c.Leg(a.side)
	leg.missed = append(leg.missed, now)
	if len(leg.missed) > 64 {
		leg.missed = leg.missed[1:]
	}
	if now.Sub(leg.Alive) < deadAfter || now.Sub(cs.started) < deadAfter {
		return
	}
	if _, registered := cs.Flow(leg.Number, leg.Flow); registered || !cs.othersAnswer(now, leg.missed) {
		return
	}
	c.Terminate("lost: " + string(leg.Number) + " has not answered for 15 minutes and is not registered")
}

// Terminate ends a call for the service: BYE to both sides, each in the name of the other.
func (c *Call) Terminate(cause string) {
	if !c.Up() {
		return
	}
	for _, s := range [...]Side{CallerSide, CalleeSide} {
		client := c.table.shard.NewClient(parting{})
		f := c.Flow(c.Leg(s))
		client.Send(f, sip.BYE, c.request(client, f, sip.BYE, s, c.Leg(1-s).CSeq+1))
	}
	c.end(cause, ByService, func() {})
}

// parting is a BYE of ours on its way: whatever comes back, the call has ended.
type parting struct{}

func (parting) Response(*transaction.Client, *transport.Packet) {}
func (parting) Failed(*transaction.Client, error)               {}

// jury remembers how the probes of the last quarter of an hour went, minute by minute.
type jury [15]struct {
	at               int64
	answered, missed int
}

func (cs *Calls) heard(now time.Time, answered bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	at := now.Unix() / 60
	m := &cs.jury[at%int64(len(cs.jury))]
	if m.at != at {
		m.at, m.answered, m.missed = at, 0, 0
	}
	if answered {
		m.answered++
	} else {
		m.missed++
	}
}

// othersAnswer tells that nine tenths of the other probes of the last quarter of an hour were answered. own are the
// missed ones of the leg in question. Without other probes there is no telling whose outage it is, and the call stands.
func (cs *Calls) othersAnswer(now time.Time, own []time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	oldest := now.Unix()/60 - int64(len(cs.jury)) + 1
	answered, missed := 0, 0
	for _, m := range cs.jury {
		if m.at >= oldest {
			answered, missed = answered+m.answered, missed+m.missed
		}
	}
	for _, t := range own {
		if t.Unix()/60 >= oldest {
			missed--
		}
	}
	return answered > 0 && answered*10 >= (answered+missed)*9
}
