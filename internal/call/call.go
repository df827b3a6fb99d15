// Package call knows the calls that pass through the service: their dialogs, so that only their parties get through;
// their records; and whether they still live. A call belongs to the shard of its Call-ID.
package call

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"liaison/internal/account"
	"liaison/internal/sdp"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// maxLegs bounds the dialogs of one INVITE: forks downstream of a callee could otherwise make any number.
const maxLegs = 16

// Call is one INVITE of a caller and the dialogs that come of it.
//
//	begun --1xx--> begun (early dialogs) --2xx--> answered --BYE, 481, operator--> ended
//	  \---- refusal, CANCEL, no answer ---------------------------------------------/
type Call struct {
	Record Record
	Caller Leg
	// Callees has a leg for each dialog (To tag): several where an INVITE was forked.
	Callees []Leg

	table  *Table
	up     int // the leg in Callees that the record speaks of; -1 until a 2xx
	saving bool
	probe  probe
	ended  bool
}

// Leg is one side of a dialog, as we see it.
type Leg struct {
	Number account.Number `json:"number"`
	Party  string         `json:"party"`  // its From or To header, with tag
	Tag    string         `json:"tag"`    //
	Target string         `json:"target"` // remote target: its Contact
	Routes []string       `json:"routes"` // route set between us and it, in order
	Flow   transport.Flow `json:"flow"`
	CSeq   uint32         `json:"cseq"` // the last seen from it
	Alive  time.Time      `json:"-"`    // last sign of life in this dialog
	missed []time.Time    // probes since then that nobody answered
}

// Side is one end of a call.
type Side uint8

// The two ends.
const (
	CallerSide Side = iota
	CalleeSide
)

func (s Side) endedBy() EndedBy {
	if s == CallerSide {
		return ByCaller
	}
	return ByCallee
}

// Begin takes up the call that an INVITE asks for.
func (t *Table) Begin(p *transport.Packet, caller *account.Account, dialled string, callee *account.Account) *Call {
	m, now := &p.Msg, t.shard.Now()
	c := &Call{
		table: t,
		up:    -1,
		Record: Record{
			ID: newID(now), CallID: string(m.CallID),
			Caller: caller.Number, CallerSubscriber: caller.Subscriber,
			Dialled: dialled, Started: now.UTC(),
			CallerAgent: text(m.Header(sip.HeaderUserAgent)), CallerAddr: p.Flow.Remote,
			Offered: offered(m.Body),
		},
		Caller: Leg{Number: caller.Number, Party: text(m.Header(sip.HeaderFrom)), Tag: string(m.From.Tag()),
			Flow: p.Flow, CSeq: m.CSeq, Alive: now},
	}
	if callee != nil {
		c.Record.Callee, c.Record.CalleeSubscriber = callee.Number, callee.Subscriber
	}
	c.Caller.Target = contact(m)
	for r := range m.Values(sip.HeaderRecordRoute) { // RFC 3261 12.1.1, as the callee would see it behind us
		c.Caller.Routes = append(c.Caller.Routes, string(r))
	}
	t.add(c)
	return c
}

// Ringing notes the dialog of a provisional response, so that what belongs to it gets through (PRACK, UPDATE). flow is
// the path to the agent, ours tells our own elements of a route set.
func (c *Call) Ringing(m *sip.Message, number account.Number, flow transport.Flow, ours func(uri []byte) bool) {
	if m.To.Tag() != nil {
		c.leg(m, number, flow, ours)
	}
}

// Answered notes a 2xx; done runs in the shard when the record is durable (see save): then the 2xx may be forwarded. It runs at
// once for a 2xx that comes again, and for one of a further branch. While the record is being written it is not run:
// the callee sends its 2xx again.
func (c *Call) Answered(m *sip.Message, number account.Number, flow transport.Flow, ours func(uri []byte) bool, done func()) {
	leg := c.leg(m, number, flow, ours)
	if c.saving {
		return
	}
	if c.up >= 0 || leg < 0 || c.ended {
		done()
		return
	}
	now := c.table.shard.Now()
	c.up = leg
	r := &c.Record
	r.Answered, r.Status, r.Cause = now.UTC(), m.Status, ""
	r.Callee = number
	r.CalleeAgent, r.CalleeAddr = text(m.Header(sip.HeaderUserAgent)), flow.Remote
	if r.CalleeAgent == "" {
		r.CalleeAgent = text(m.Header(sip.HeaderServer))
	}
	c.agree(m.Body)
	c.saving = true
	c.table.calls.answered(c)
	c.startProbes()
	c.save(func() {
		c.saving = false
		done()
	})
}

// agree notes the codecs: of the answer; with a delayed offer the 2xx offers and the ACK answers.
func (c *Call) agree(body []byte) {
	if c.Record.Offered == "" {
		c.Record.Offered = offered(body)
	} else {
		c.Record.Agreed = agreed(body)
	}
}

// Refused ends a call that was not answered; cause is in words. done runs when the record is durable: then the refusal
// may be forwarded.
func (c *Call) Refused(status int, cause string, by EndedBy, done func()) {
	if c.up >= 0 {
		done()
		return
	}
	c.Record.Status = status
	c.end(cause, by, done)
}

// leg finds or makes the leg of a response's To tag; -1 if there are too many.
func (c *Call) leg(m *sip.Message, number account.Number, flow transport.Flow, ours func([]byte) bool) int {
	tag := m.To.Tag()
	i := slices.IndexFunc(c.Callees, func(l Leg) bool { return l.Tag == string(tag) })
	if i < 0 {
		if len(c.Callees) == maxLegs {
			return -1
		}
		i = len(c.Callees)
		c.Callees = append(c.Callees, Leg{Number: number, Party: text(m.Header(sip.HeaderTo)), Tag: string(tag), Flow: flow})
	}
	l := &c.Callees[i]
	l.Alive = c.table.shard.Now()
	if u := contact(m); u != "" {
		l.Target = u
	}
	// RFC 3261 12.1.2: the route set is the Record-Route of the response, reversed; below the first of ours is what
	// lies on the caller's side.
	l.Routes = l.Routes[:0]
	for r := range m.Values(sip.HeaderRecordRoute) {
		a, err := sip.ParseAddress(r)
		if err != nil || ours(a.URI) {
			break
		}
		l.Routes = append(l.Routes, string(r))
	}
	slices.Reverse(l.Routes)
	return i
}

// Leg is the leg of a side; of the callees the one that answered.
func (c *Call) Leg(s Side) *Leg {
	switch {
	case s == CallerSide:
		return &c.Caller
	case c.up >= 0:
		return &c.Callees[c.up]
	}
	return nil
}

// Up tells that the call was answered and has not ended.
func (c *Call) Up() bool { return c.up >= 0 && !c.ended }

// Seen notes a request inside a dialog that was let through: where it came from, its CSeq, a new remote target
// (RFC 3261 12.2.2, RFC 3311).
func (c *Call) Seen(p *transport.Packet, from, to *Leg) {
	m := &p.Msg
	from.Alive = c.table.shard.Now()
	changed := from.Flow != p.Flow
	from.Flow = p.Flow
	if m.Method == sip.ACK {
		if c.Record.Agreed == "" && len(m.Body) > 0 {
			c.Record.Agreed = agreed(m.Body)
			changed = true
		}
	} else if m.CSeq > from.CSeq {
		from.CSeq = m.CSeq
		changed = true
	}
	if m.Method == sip.INVITE || m.Method == sip.UPDATE {
		if u := contact(m); u != "" {
			from.Target = u
		}
	}
	if changed && c.Up() && m.Method != sip.BYE {
		c.save(nil)
	}
}

// Renegotiated notes the answer to a re-INVITE or UPDATE: a new target, other codecs.
func (c *Call) Renegotiated(m *sip.Message, by *Leg) {
	by.Alive = c.table.shard.Now()
	if u := contact(m); u != "" {
		by.Target = u
	}
	if list := agreed(m.Body); list != "" && c.Up() && list != c.Record.Agreed {
		c.Record.Agreed = list
		c.save(nil)
	}
}

// HungUp ends the dialog that a BYE was about; the call ends with the dialog that its record speaks of. done runs when
// the record is durable: then the answer to the BYE may be forwarded.
func (c *Call) HungUp(by Side, leg *Leg, done func()) {
	for i := range c.Callees {
		if by == CallerSide && leg == &c.Callees[i] && c.up >= 0 && i != c.up {
			done() // one of several branches that answered: the caller keeps another
			return
		}
	}
	c.end("hung up", by.endedBy(), done)
}

func (c *Call) end(cause string, by EndedBy, done func()) {
	if c.ended {
		done()
		return
	}
	c.ended = true
	c.probe.timer.Stop()
	r := &c.Record
	r.Ended, r.Cause, r.EndedBy = c.table.shard.Now().UTC(), cause, by
	if r.Ended.Before(r.Started) {
		r.Ended = r.Started // the clock was set back
	}
	c.table.remove(c)
	c.table.calls.ended(c)
	c.save(done)
}

// contact is the URI of the first Contact.
func contact(m *sip.Message) string {
	for v := range m.Values(sip.HeaderContact) {
		if a, err := sip.ParseAddress(v); err == nil {
			return string(a.URI)
		}
		break
	}
	return ""
}

// text makes a header value fit to be kept: one line, bounded.
func text(b []byte) string {
	if len(b) > 256 {
		b = b[:256]
	}
	if bytes.IndexFunc(b, control) < 0 {
		return string(b)
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return -1
		}
		return r
	}, string(b))
}

func control(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd
}

// offered and agreed are the codecs of a body, for the record.
func offered(body []byte) string {
	if d, err := sdp.Parse(body); err == nil {
		return d.Offered()
	}
	return ""
}

func agreed(body []byte) string {
	if d, err := sdp.Parse(body); err == nil {
		return d.Agreed()
	}
	return ""
}
