// Package call knows the calls that pass through the service: their dialogs, so that only their parties get through;
// their records; and whether they still live. A call belongs to the shard of its Call-ID.
package call

import (
	"slices"
	"sync/atomic"
	"time"

	"liaison/internal/account"
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
	Callees []*Leg

	table   *Table
	numbers [2]account.Number // under which Calls lists it
	up      *Leg              // of Callees the one that the record speaks of; nil until a 2xx
	saving  bool              // the 2xx waits for the record
	held    []func()          // waits for the 2xx to have left: see WhenUp
	delayed bool              // the last INVITE had no offer, so the next ACK has the answer
	media   []*Media          // of its branches
	hushed  atomic.Int64      // unix ns: when the relay last told that nobody sends anything
	probe   probe
	leaving leaving
	ended   bool
}

// leaving is a BYE on its way: who sent it may not know the dialog any more.
type leaving struct {
	byes int
	by   Side // the first one's
	at   time.Time
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
func (t *Table) Begin(p *transport.Packet, caller *account.Account, dialled []byte, callee *account.Account) *Call {
	m := &p.Msg
	c := &Call{
		table:   t,
		delayed: len(m.Body) == 0,
		Record: Record{
			CallID: string(m.CallID),
			Caller: caller.Number, CallerSubscriber: caller.Subscriber,
			Dialled:     text(dialled),
			CallerAgent: text(m.Header(sip.HeaderUserAgent)), CallerAddr: p.Flow.Remote,
			Offered: offered(m.Body),
		},
		Caller: Leg{Number: caller.Number, Party: party(&m.From), Tag: string(m.From.Tag()), Target: contact(m),
			Flow: p.Flow, Bound: t.bound(caller.Number, p.Flow), CSeq: m.CSeq, alive: t.shard.Now()},
	}
	c.Record.Started = c.now()
	c.Record.ID = newID(c.Record.Started)
	if callee != nil {
		c.Record.Callee, c.Record.CalleeSubscriber = callee.Number, callee.Subscriber
	}
	for r := range m.Values(sip.HeaderRecordRoute) { // RFC 3261 12.1.1, as the callee would see it behind us
		c.Caller.Routes = append(c.Caller.Routes, string(r))
	}
	t.calls.Begun.Add(1)
	t.add(c)
	return c
}

// now is the time for the record: without the reading of the monotonic clock, so that what is written down compares
// as it was compared.
func (c *Call) now() time.Time { return c.table.shard.Now().UTC().Round(0) }

// Ringing notes the dialog of a provisional response, so that what belongs to it gets through (PRACK, UPDATE). flow is
// the path to the agent, ours tells our own elements of a route set.
func (c *Call) Ringing(m *sip.Message, number account.Number, flow transport.Flow, media *Media, ours func(uri []byte) bool) {
	if m.To.Tag() == nil || c.ended {
		return
	}
	if leg := c.leg(m, number, flow, media, ours); leg != nil && !c.delayed {
		if list := agreed(m.Body); list != "" {
			leg.early = list
		}
	}
}

// Answered notes a 2xx; done runs in the shard when the record is durable (see save): then the 2xx may be forwarded. It
// runs at once for a 2xx that comes again, and for one of a further branch. While the record is being written it is not
// run: the callee sends its 2xx again.
func (c *Call) Answered(m *sip.Message, number account.Number, flow transport.Flow, media *Media, ours func(uri []byte) bool, done func()) {
	leg := c.leg(m, number, flow, media, ours)
	switch {
	case c.saving:
		return
	case leg == nil:
		done()
		return
	case c.ended:
		// The caller has hung up another branch already, so nobody would end this one.
		c.dismiss(leg, m.CSeq)
		return
	case c.up != nil:
		leg.answered = true
		leg.note(m)
		done()
		return
	}
	leg.answered = true
	leg.note(m)
	c.Record.Answered, c.Record.Status = c.now(), m.Status
	if c.delayed {
		c.Record.Offered = offered(m.Body)
	} else if list := agreed(m.Body); list != "" {
		leg.early = list
	}
	if len(m.Body) == 0 { // the answer came in a 183, perhaps long ago
		leg.media.heard(CallerSide)
		leg.media.heard(CalleeSide)
	}
	c.speakOf(leg)
	c.table.calls.know(c)
	c.probe.from = c.table.shard.Now().Add(ackWait)
	c.startProbes()
	c.saving = true
	c.table.calls.Connected.Add(1)
	c.save(func() {
		c.saving = false
		done()
		for _, fn := range c.held {
			fn()
		}
		c.held = nil
	})
}

// WhenUp runs fn at once, or after the 2xx that waits for its record: the other side must not hear of a dialog that it
// does not know yet, least of all its end.
func (c *Call) WhenUp(fn func()) {
	if c.saving {
		c.held = append(c.held, fn)
		return
	}
	fn()
}

// speakOf makes a leg the one of which the record speaks.
func (c *Call) speakOf(l *Leg) {
	c.up = l
	r := &c.Record
	r.Callee, r.CalleeAgent, r.CalleeAddr = l.Number, l.agent, l.Flow.Remote
	if l.early != "" {
		r.Agreed = l.early
	}
}

// Refused ends a call that was not answered; cause is in words. done runs when the record is durable: then the refusal
// may be forwarded.
func (c *Call) Refused(status int, cause string, by EndedBy, done func()) {
	c.Record.Status = status
	c.end(cause, by, done)
}

// leg finds or makes the leg of a response's To tag; nil if there are too many.
func (c *Call) leg(m *sip.Message, number account.Number, flow transport.Flow, media *Media, ours func([]byte) bool) *Leg {
	tag := m.To.Tag()
	var l *Leg
	if i := slices.IndexFunc(c.Callees, func(l *Leg) bool { return l.Tag == string(tag) }); i >= 0 {
		l = c.Callees[i]
	} else {
		if len(c.Callees) == maxLegs {
			return nil
		}
		l = &Leg{Number: number, Party: party(&m.To), Tag: string(tag), Flow: flow, Bound: c.table.bound(number, flow), media: media}
		c.Callees = append(c.Callees, l)
	}
	l.alive = c.table.shard.Now()
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
	return l
}

// Up tells that the call was answered and has not ended.
func (c *Call) Up() bool { return c.up != nil && !c.ended }

// end ends the call; done runs when its record is durable.
func (c *Call) end(cause string, by EndedBy, done func()) {
	if c.ended {
		done()
		return
	}
	c.ended = true
	c.probe.timer.Stop()
	for _, m := range c.media {
		m.Close()
	}
	r := &c.Record
	r.Ended, r.Cause, r.EndedBy = c.now(), cause, by
	if at := c.leaving.at; c.leaving.byes > 0 && at.Before(r.Ended) {
		r.Ended = at // whoever did not answer the BYE made the call no longer
	}
	for _, since := range [...]time.Time{r.Started, r.Answered} {
		if r.Ended.Before(since) {
			r.Ended = since // the clock was set back
		}
	}
	c.table.remove(c)
	c.table.calls.ended(c)
	c.save(done)
}
