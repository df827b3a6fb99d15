package call

import (
	"slices"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Dialog is one dialog of a call as it looks from the side that sends a request in it.
type Dialog struct {
	*Call
	Side   Side // of the sender
	Callee *Leg // which of the call's dialogs this is
}

// From is the sender's leg.
func (d Dialog) From() *Leg {
	if d.Side == CallerSide {
		return &d.Caller
	}
	return d.Callee
}

// To is the leg on the other side.
func (d Dialog) To() *Leg {
	if d.Side == CallerSide {
		return d.Callee
	}
	return &d.Caller
}

// Pass takes a message of the sender's side, or with answer of the other's, and gives the body that goes on instead;
// nil: what came.
func (d Dialog) Pass(p *transport.Packet, answer bool) []byte {
	from := d.Side
	if answer {
		from = 1 - from
	}
	return d.Callee.media.Pass(from, p)
}

// Offer is Pass for a request that may be refused: then undo takes back what it said.
func (d Dialog) Offer(p *transport.Packet) (body []byte, undo func()) {
	m := d.Callee.media
	if m == nil {
		return nil, func() {}
	}
	was := m.said[d.Side]
	body = m.Pass(d.Side, p)
	if body == nil {
		return nil, func() {}
	}
	return body, func() { m.unsay(d.Side, was) }
}

// Seen notes a request that was let through: where it came from, its CSeq, a new remote target (RFC 3261 12.2.2,
// RFC 3311 5.2).
func (d Dialog) Seen(p *transport.Packet) {
	c, from, m := d.Call, d.From(), &p.Msg
	spoken := d.Callee == c.up // the record speaks of this dialog
	from.alive = c.table.shard.Now()
	changed := from.Flow != p.Flow
	if changed {
		from.Flow, from.stranger = p.Flow, transport.Flow{}
	}
	if !from.Bound || changed {
		from.Bound = c.table.bound(from.Number, p.Flow)
	}
	switch m.Method {
	case sip.ACK:
		if spoken {
			c.probe.from = from.alive
			if list := agreed(m.Body); c.delayed && list != "" {
				c.Record.Agreed, c.delayed, changed = list, false, true
			}
			changed = d.Callee.media.news() || changed
		}
	case sip.INVITE, sip.UPDATE:
		if u := contact(m); u != "" {
			from.Target = u
		}
	case sip.BYE:
		if spoken {
			if c.leaving.byes == 0 {
				c.leaving.by, c.leaving.at = d.Side, c.now()
			}
			c.leaving.byes++
		}
	}
	if m.CSeq > from.CSeq && m.Method != sip.ACK {
		from.CSeq, changed = m.CSeq, true
	}
	if changed && spoken && c.Up() && m.Method != sip.BYE {
		c.save(nil)
	}
}

// Renegotiated notes the 2xx to a re-INVITE or UPDATE: a new target, other codecs. offer: the request had one.
func (d Dialog) Renegotiated(m *sip.Message, offer bool) {
	c, by := d.Call, d.To()
	by.alive = c.table.shard.Now()
	changed := false
	if u := contact(m); u != "" && u != by.Target {
		by.Target, changed = u, true
	}
	spoken := d.Callee == c.up && c.Up()
	if spoken && m.Method == sip.INVITE {
		c.delayed = !offer
	}
	if list := agreed(m.Body); offer && list != "" {
		d.Callee.early = list
		if spoken && list != c.Record.Agreed {
			c.Record.Agreed, changed = list, true
		}
	}
	if spoken && (d.Callee.media.news() || changed) {
		c.save(nil)
	}
}

// HungUp ends the dialog after a BYE; the call ends with its last one. done runs when the record is durable: then the
// answer to the BYE may be forwarded.
func (d Dialog) HungUp(done func()) {
	c := d.Call
	if c.ended || d.Callee != c.up {
		// The record speaks of another one, or of none yet: RFC 3261 15, after a BYE in an early dialog the INVITE is
		// still to be answered.
		c.forget(d.Callee)
		done()
		return
	}
	for _, l := range c.Callees {
		if l.answered && l != c.up { // several answered, and the caller keeps another
			c.forget(c.up)
			c.leaving = leaving{}
			c.speakOf(l)
			c.save(done)
			return
		}
	}
	by := d.Side
	if c.leaving.byes > 0 {
		by = c.leaving.by
	}
	c.end("hung up", by.endedBy(), done)
}

// StaysUp notes that a BYE ended nothing: it will come again with a password.
func (d Dialog) StaysUp() {
	if d.Callee == d.up && d.leaving.byes > 0 {
		d.leaving.byes--
	}
}

func (c *Call) forget(l *Leg) {
	c.Callees = slices.DeleteFunc(c.Callees, func(x *Leg) bool { return x == l })
	// An early dialog's INVITE is still to be answered, and a fork behind the agent may have made another of the branch.
	if l.answered && !slices.ContainsFunc(c.Callees, func(x *Leg) bool { return x.media == l.media }) {
		l.media.Close()
	}
}
