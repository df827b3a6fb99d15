package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
)

// Dial is a call to make.
type Dial struct {
	Number string        // or user@host
	Codecs []Codec       // to offer; nil: those of the agent
	For    time.Duration // from the answer; 0: until the other side hangs up
	File   string        // where to write what is received: WAV, but MPEG Layer II as its bare frames; empty: nowhere
	Late   bool          // a delayed offer: the INVITE has no description, the ACK has the answer
}

// Call makes a call, waits for its end and tells what was measured. Ending ctx hangs up. What went wrong stands
// in the report.
func (a *Agent) Call(ctx context.Context, d Dial) Report {
	c := &call{a: a, state: calling, began: time.Now()}
	c.report.Number = d.Number
	if d.File != "" {
		// Now, and not after a long call for nothing.
		f, err := os.Create(d.File)
		if err != nil {
			c.fail(err)
			return c.report
		}
		f.Close()
	}
	done := make(chan struct{})
	c.whenEnded = append(c.whenEnded, func() { close(done) })
	a.shard.Post(func() { c.dial(d) })
	select {
	case <-done:
	case <-a.ended:
	case <-ctx.Done():
		a.shard.Post(c.stop)
		select {
		case <-done:
		case <-a.ended:
		case <-time.After(farewell):
			a.shard.Post(c.end)
			select {
			case <-done:
			case <-a.ended:
			}
		}
	}
	if c.state != ended {
		c.fail(errStopped)
	}
	if c.media != nil {
		<-c.media.ended
		c.fail(c.media.into(&c.report))
	}
	if c.report.Answered && c.report.Received.Packets == 0 {
		c.fail(errors.New("no audio came back"))
	}
	return c.report
}

// stop ends the call because the user wants it.
func (c *call) stop() {
	if c.state == calling {
		c.fail(errors.New("stopped before the call was answered"))
	}
	c.hangUp("")
}

// fail notes what went wrong; the first is what counts.
func (c *call) fail(err error) {
	if err != nil && c.report.Error == nil {
		s := err.Error()
		c.report.Error = &s
	}
}

// giveUpCall ends a call that did not come up.
func (c *call) giveUpCall(err error) {
	c.fail(err)
	c.end()
}

func (c *call) dial(d Dial) {
	a := c.a
	c.callID, c.localTag = newToken(), newToken()
	c.report.CallID = c.callID
	if a.stopping {
		c.giveUpCall(errStopped)
		return
	}
	a.calls[c.localTag] = c
	a.reach(func(err error) {
		switch {
		case c.state == ended:
		case err != nil:
			c.giveUpCall(err)
		case c.wanted:
			c.end()
		default:
			c.sendInvite(d)
		}
	})
}

func (c *call) sendInvite(d Dial) {
	a := c.a
	c.flow = a.flow
	user, domain, ok := strings.Cut(d.Number, "@")
	if !ok {
		domain = a.config.Domain
	}
	host := hostOf(domain)
	uri := "sip:" + user + "@" + host
	c.localURI = "<sip:" + a.config.Number + "@" + hostOf(a.config.Domain) + ">"
	c.remoteURI, c.target = "<"+uri+">", uri
	if d.Codecs == nil {
		d.Codecs = a.config.Codecs
	}
	if err := c.open(c.flow.Local.Addr(), d.Codecs, true, d.File); err != nil {
		c.giveUpCall(err)
		return
	}
	_, head := c.lines()
	head = sip.AppendHeader(head, "Contact", a.contact(c.flow))
	head = sip.AppendHeader(head, "Allow", allowed)
	c.invite = &request{a: a, method: sip.INVITE, uri: uri, flow: c.flow, head: head, next: c.cseq.next,
		provisional: c.provisional,
		final:       func(m *sip.Message) { c.final(d, m) },
		failed: func(err error) {
			switch {
			case c.state != calling:
				return
			case errors.Is(err, transaction.ErrTimeout):
				err = fmt.Errorf("the server %s does not answer: look at the address, the port and the firewall", a.remote)
			default:
				err = fmt.Errorf("the server %s: %w", a.remote, err)
			}
			c.giveUpCall(err)
		},
	}
	if !d.Late {
		c.invite.body, c.offered = c.local.Offer(), true
	}
	c.invite.send()
}

// provisional: early audio is played and measured from then on.
func (c *call) provisional(m *sip.Message) {
	if c.state != calling || m.Status == 100 {
		return
	}
	if len(m.Body) > 0 && c.offered {
		if err := c.accept(m.Body); err != nil {
			c.a.log.Debug("early media is not understood", "error", err)
			return
		}
		// RFC 6337 3.1.1: the 200 has an answer too, perhaps that of another agent.
		c.early, c.offered = true, true
	}
}

// final takes each final answer; after a 2xx more may come, again or from other agents (RFC 3261 13.2.2.4).
func (c *call) final(d Dial, m *sip.Message) {
	if m.Status/100 == 2 {
		c.picked(d, m)
		return
	}
	if c.state != calling {
		return
	}
	r := refused(m)
	c.report.Status, c.report.Reason = r.Status, r.Reason
	switch {
	case m.Status == 487 && c.wanted:
		c.end()
	case m.Status == 401 || m.Status == 407:
		c.giveUpCall(fmt.Errorf("%w: the account number or the password is wrong", r))
	default:
		c.giveUpCall(r)
	}
}

// picked takes a 2xx.
func (c *call) picked(d Dial, m *sip.Message) {
	tag := string(m.To.Tag())
	if c.acked != nil {
		if tag == c.remoteTag {
			c.a.shard.Send(c.flow, c.acked)
			return
		}
		c.dismiss(m)
		return
	}
	if c.state == ended { // given up while the answer was on its way
		c.dismiss(m)
		return
	}
	c.fromResponse(m)
	var answer []byte
	var err error
	if d.Late {
		var refusal *sip.Error
		if answer, refusal = c.answerTo(m.Body); refusal != nil {
			err = refusal
		}
	} else if len(m.Body) > 0 || !c.early {
		err = c.accept(m.Body)
	}
	c.ackFor = m.CSeq
	c.acked = c.a.ack(&c.dialog, m.CSeq, answer)
	c.a.shard.Send(c.flow, c.acked)
	c.report.Answered, c.report.Status, c.report.Reason = true, m.Status, refused(m).Reason
	c.report.Setup = c.a.shard.Now().Sub(c.began).Milliseconds()
	c.established()
	switch {
	case err != nil:
		c.fail(fmt.Errorf("the answer to our offer is not usable: %w", err))
		c.bye("")
	case c.wanted:
		c.bye("")
	case d.For > 0:
		c.a.shard.After(d.For, func() {
			if c.state == up {
				c.bye("")
			}
		})
	}
}

// dismiss hangs up on a second agent that picked up.
func (c *call) dismiss(m *sip.Message) {
	other := c.dialog
	other.routes = nil
	other.fromResponse(m)
	c.a.shard.Send(c.flow, c.a.ack(&other, m.CSeq, nil))
	uri, head := other.lines()
	r := &request{a: c.a, method: sip.BYE, uri: uri, flow: c.flow, head: head, next: other.cseq.next,
		final: func(*sip.Message) {}, failed: func(error) {}}
	r.send()
}

// hostOf writes a host into a URI: an IPv6 address gets its brackets.
func hostOf(domain string) string {
	if strings.Count(domain, ":") > 1 && !strings.HasPrefix(domain, "[") {
		return "[" + domain + "]"
	}
	return domain
}
