package proxy

import (
	"strings"
	"testing"
	"time"

	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// timerB, and a little for the grain of the timers.
const timerB = 64*transaction.T1 + 100*time.Millisecond

// Two contacts of equal q ring together; the first to answer has the call, the other is cancelled.
func TestContactsOfEqualQRingTogether(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		c, e := b.pair("45675002", "udp 203.0.113.2:5060", "", "")
		a.invites("45675002", offer)
		atC, atE := c.gets("INVITE"), e.gets("INVITE")
		c.respond(atC, 180)
		e.respond(atE, 180)
		b.want("the caller hears", a.starts(), "180 180")
		e.respond(atE, 200, answer)
		b.settle()
		d := b.dialog(a, e, atE, a.gets("200"))
		d.does(caller, "ACK")
		cancel := c.gets("CANCEL")
		b.want("CANCEL is of", cancel.line("CSeq")+" "+strings.SplitN(string(cancel.Via.Branch), ".", 2)[0], "1 CANCEL "+strings.SplitN(string(atC.Via.Branch), ".", 2)[0])
		c.respond(cancel, 200)
		c.respond(atC, 487)
		c.gets("ACK")
		a.getsNothing()
		d.hangUp(caller)
		c.getsNothing()
	})
}

func TestALowerQIsTriedWhenTheFirstHasFailed(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		c, e := b.pair("45675002", "udp 203.0.113.2:5060", ";q=0.5", ";q=0.9")
		a.invites("45675002", offer)
		first := e.gets("INVITE")
		c.getsNothing()
		e.respond(first, 486)
		e.gets("ACK")
		d := b.answer(a, c)
		e.getsNothing()
		d.hangUp(callee)
	})
}

// RFC 3261 16.7 step 6.
func TestTheBestRefusalGoesUpstream(t *testing.T) {
	for _, row := range []struct {
		name  string
		first int
		then  int
		lines []string // of then
		want  string
	}{
		{"busy before not available", 480, 486, nil, "486 busy by callee"},
		{"busy though the other came later", 486, 480, nil, "486 busy by callee"},
		{"a refusal before a failure", 500, 404, nil, "404 no such number by callee"},
		{"a redirection is passed on and not followed", 486, 302, []string{"Contact: <sip:elsewhere@example.com>"}, "302 Moved Temporarily by callee"},
		{"what the caller can mend comes first", 486, 415, nil, "415 no common codec by callee"},
		{"everywhere declined", 486, 603, nil, "603 declined by callee"},
		{"the agent's 503 says nothing of us", 503, 503, nil, "500 the agent is out of service by service"},
		{"a challenge for another realm passes", 486, 407, []string{`Proxy-Authenticate: Digest realm="elsewhere", nonce="1"`}, "407 password asked for by callee"},
		{"a challenge in our name does not", 500, 407, []string{`Proxy-Authenticate: Digest realm="liaison", nonce="1"`}, "500 Server Internal Error by callee"},
		{"nor in another spelling", 502, 401, []string{`WWW-Authenticate: Digest nonce="1", realm = "li\aison"`}, "502 Bad Gateway by callee"},
		{"nor beside another one", 502, 401, []string{`WWW-Authenticate: Digest realm="elsewhere", nonce="1"`, `WWW-Authenticate: Digest realm="liaison", algorithm=new, nonce="1"`}, "502 Bad Gateway by callee"},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a := b.registered("45675001", "udp 198.51.100.1:5060")
				c, e := b.pair("45675002", "udp 203.0.113.2:5060", "", "")
				i := a.invites("45675002", offer)
				atC, atE := c.gets("INVITE"), e.gets("INVITE")
				c.respond(atC, row.first)
				c.gets("ACK")
				a.getsNothing()
				e.respond(atE, row.then, row.lines...)
				e.gets("ACK")
				b.settle()
				m := i.isRefused(row.want[:3])
				if contains([]byte(m.text), `"li`) {
					t.Errorf("the caller is challenged:\n%s", m.text)
				}
				b.want("record", b.ended(), row.want)
				c.getsNothing()
				e.getsNothing()
			})
		})
	}
}

func TestA6xxEndsTheSearch(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		c, e := b.pair("45675002", "udp 203.0.113.2:5060", "", "")
		i := a.invites("45675002", offer)
		atC, atE := c.gets("INVITE"), e.gets("INVITE")
		e.respond(atE, 180)
		c.respond(atC, 603)
		c.gets("ACK")
		e.respond(e.gets("CANCEL"), 200)
		e.respond(atE, 183) // too late
		e.respond(atE, 487)
		e.gets("ACK")
		b.settle()
		a.gets("180")
		i.isRefused("603")
		b.want("record", b.ended(), "603 declined by callee")
	})
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		c, e := b.pair("45675002", "udp 203.0.113.2:5060", ";q=0.5", ";q=0.9")
		i := a.invites("45675002", offer)
		e.respond(e.gets("INVITE"), 600)
		e.gets("ACK")
		b.settle()
		i.isRefused("600")
		c.getsNothing()
		b.want("record", b.ended(), "600 busy by callee")
	})
}

// Every 2xx goes upstream, and each dialog is its own: the caller keeps the one that it likes.
func TestSeveralAnswer(t *testing.T) {
	for _, row := range []struct {
		name string
		keep int // the branch that the caller keeps
		by   int // who ends the other
	}{
		{"the caller keeps the first", 0, caller},
		{"the caller keeps the second", 1, caller},
		{"the second hangs up by itself", 0, callee},
		{"the first hangs up by itself", 1, callee},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a := b.registered("45675001", "udp 198.51.100.1:5060")
				c, e := b.pair("45675002", "udp 203.0.113.2:5060", "", "")
				a.invites("45675002", offer)
				atC, atE := c.gets("INVITE"), e.gets("INVITE")
				c.respond(atC, 180)
				e.respond(atE, 180)
				b.want("the caller hears", a.starts(), "180 180")
				b.recorder.set(50*time.Millisecond, nil)
				c.respond(atC, 200, "User-Agent: One/1", answer)
				e.gets("CANCEL")
				e.respond(atE, 200, "User-Agent: Two/1", answer) // it crosses the CANCEL, and waits with the first
				b.sleep(100 * time.Millisecond)
				ok := a.gets("200")
				a.getsNothing()
				e.respond(atE, 200, "User-Agent: Two/1", answer) // until it comes again
				dialogs := []*dialog{b.dialog(a, c, atC, ok), b.dialog(a, e, atE, a.gets("200"))}
				b.recorder.set(0, nil)
				for _, d := range dialogs {
					d.does(caller, "ACK")
				}
				dialogs[1].cseq[caller] = 1
				kept, other := dialogs[row.keep], dialogs[1-row.keep]
				other.hangUp(row.by)
				b.want("record", b.ended(), "still up")
				b.want("callee", b.record().CalleeAgent, []string{"One/1", "Two/1"}[row.keep])
				kept.cseq[caller] += 2
				kept.exchanges(caller, "INFO")
				kept.exchanges(callee, "INFO")
				other.ends[row.by].send(other.request(row.by, "INFO"))
				other.ends[row.by].gets("481")
				kept.hangUp(callee)
				b.want("record", b.ended(), "200 hung up by callee")
			})
		})
	}
}

// The caller has hung up before the second one answers: nobody would end that.
func TestAnAnswerToACallThatHasEnded(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		c, e := b.pair("45675002", "udp 203.0.113.2:5060", "", "")
		a.invites("45675002", offer)
		atC, atE := c.gets("INVITE"), e.gets("INVITE")
		e.respond(atE, 100)
		c.respond(atC, 200, answer)
		b.settle()
		d := b.dialog(a, c, atC, a.gets("200"))
		d.does(caller, "ACK")
		d.hangUp(caller)
		e.gets("CANCEL")
		e.respond(atE, 200, answer)
		ack, bye := e.gets("ACK"), e.gets("BYE")
		b.want("ACK", ack.line("To")+" "+ack.line("CSeq"), "<sip:45675002@sip.example.org>;tag="+e.tag+" 1 ACK")
		b.want("BYE", bye.line("From")+" "+bye.line("CSeq"), "<sip:45675001@sip.example.org>;tag=from45675001 3 BYE")
		e.respond(atE, 200, answer)
		e.gets("ACK")
		e.respond(bye, 200)
		e.getsNothing()
		a.getsNothing()
		b.want("record", b.ended(), "200 hung up by caller")
	})
}

// RFC 5626 5.3: the flows of one device are alternatives; the second is used when the first fails.
func TestFlowsOfOneDeviceAreAlternatives(t *testing.T) {
	run(t, func(b *bench) {
		const instance = `;+sip.instance="<urn:uuid:1>";reg-id=`
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		second := b.registered("45675002", "tcp 203.0.113.2:40001 #1", instance+"1")
		first := b.registered("45675002", "tcp 203.0.113.2:40002 #2", instance+"2")
		a.invites("45675002", offer)
		first.gets("INVITE")
		second.getsNothing()
		b.disconnect(first)
		d := b.answer(a, second)
		first.getsNothing()
		d.hangUp(callee)

		a.invites("45675002", offer) // the first is known to be gone
		b.answer(a, second).hangUp(caller)
		i := a.invites("45675002", offer)
		second.gets("INVITE")
		b.disconnect(second)
		b.settle()
		i.isRefused("480")
		b.want("record", b.ended(), "480 connection lost by service")
		i = a.invites("45675002", offer)
		b.settle()
		i.isRefused("480")
		b.want("record", b.ended(), "480 not registered by service")
	})
}

func TestNoFurtherFlowAfterACancel(t *testing.T) {
	run(t, func(b *bench) {
		const instance = `;+sip.instance="<urn:uuid:1>";reg-id=`
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		second := b.registered("45675002", "tcp 203.0.113.2:40001 #1", instance+"1")
		first := b.registered("45675002", "tcp 203.0.113.2:40002 #2", instance+"2")
		i := a.invites("45675002", offer)
		first.gets("INVITE")
		i.cancels()
		b.disconnect(first)
		b.settle()
		i.isRefused("487")
		second.getsNothing()
		b.want("record", b.ended(), "487 cancelled by caller")
	})
}

func TestAConnectionThatIsLostIsNoAnswer(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "tcp 203.0.113.2:40001 #1")
		i := a.invites("45675002", offer)
		c.respond(c.gets("INVITE"), 180)
		a.gets("180")
		b.disconnect(c)
		b.settle()
		i.isRefused("480")
		b.want("record", b.ended(), "480 connection lost by service")
	})
}

func TestAnAgentThatStoppedAnsweringKeepsNobodyWaiting(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		b.sleep(26 * time.Second) // it is pinged within 25 s
		c.pong()
		b.sleep(90 * time.Second) // three pings that it does not answer
		i := a.invites("45675002", offer)
		b.sleep(doubt + 100*time.Millisecond)
		if c.inbox = nil; len(a.inbox) == 0 {
			t.Fatal("the caller is still waiting")
		}
		i.isRefused("480")
		b.want("record", b.ended(), "480 the agent does not answer any more by service")
		for _, status := range []int{180, 100} { // and if it is there after all, it may take its time
			i = a.invites("45675002", offer)
			m := c.gets("INVITE")
			c.respond(m, status)
			b.sleep(2 * time.Minute)
			c.getsNothing()
			c.respond(m, 486)
			c.gets("ACK")
			b.settle()
			if status == 180 {
				a.gets("180")
			}
			i.isRefused("486")
		}
	})
}

// RFC 3261 16.6 step 11, 16.8: a callee that rings for ever, or a network that swallows its answer.
func TestNobodyAnswers(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		i := a.invites("45675002", offer)
		b.sleep(timerB) // timer B
		if n := len(c.inbox); n != 7 {
			t.Errorf("the INVITE was sent %d times", n)
		}
		c.inbox = nil
		i.isRefused("408")
		b.want("record", b.ended(), "408 no answer from the agent by service")
	})
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		i := a.invites("45675002", offer)
		m := c.gets("INVITE")
		c.respond(m, 180)
		b.sleep(3 * time.Minute)
		c.respond(m, 180) // each starts timer C anew
		b.sleep(3 * time.Minute)
		c.respond(m, 100) // but for this
		b.want("the caller hears", a.starts(), "180 180")
		b.sleep(5*time.Second + 100*time.Millisecond)
		c.respond(c.gets("CANCEL"), 200)
		c.respond(m, 487)
		c.gets("ACK")
		b.settle()
		i.isRefused("408")
		b.want("record", b.ended(), "408 no answer by service")
	})
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "tcp 203.0.113.2:5060 #1")
		i := a.invites("45675002", offer)
		c.respond(c.gets("INVITE"), 180)
		b.sleep(3*time.Minute + 5*time.Second + 100*time.Millisecond)
		c.gets("CANCEL")
		b.sleep(timerB) // nor to the CANCEL
		a.gets("180")
		i.isRefused("408")
	})
	run(t, func(b *bench) { // what is no INVITE
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		uri := "sip:45675002@sip.example.org"
		a.send(a.request("MESSAGE", uri, a.credentials("MESSAGE", uri)))
		b.sleep(timerB)
		a.gets("408")
		if n := len(c.inbox); n != 11 {
			t.Errorf("sent %d times", n)
		}
		c.inbox = nil
	})
}

func TestTheCallerGivesUp(t *testing.T) {
	cancel := func(name string, test func(b *bench, a, c *agent)) {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
				test(b, a, c)
				if !t.Failed() {
					b.want("record", b.ended(), "487 cancelled by caller")
				}
				a.getsNothing()
				c.getsNothing()
			})
		})
	}
	cancel("while it rings", func(b *bench, a, c *agent) {
		i := a.invites("45675002", offer)
		m := c.gets("INVITE")
		c.respond(m, 180)
		a.gets("180")
		i.cancels()
		i.cancels() // a retransmission
		c.respond(c.gets("CANCEL"), 200)
		c.respond(m, 487)
		c.respond(m, 487)
		b.want("the callee gets", c.starts(), "ACK ACK")
		b.settle()
		i.isRefused("487")
	})
	cancel("before there is an answer (RFC 3261 9.1)", func(b *bench, a, c *agent) {
		i := a.invites("45675002", offer)
		m := c.gets("INVITE")
		i.cancels()
		c.getsNothing()
		c.respond(m, 180)
		c.respond(c.gets("CANCEL"), 200)
		a.getsNothing() // no 180 after a CANCEL
		c.respond(m, 487)
		c.gets("ACK")
		b.settle()
		i.isRefused("487")
	})
	cancel("though nobody is there", func(b *bench, a, c *agent) {
		i := a.invites("45675002", offer)
		i.cancels()
		b.sleep(timerB)
		i.isRefused("487")
		c.inbox = nil
	})
	cancel("and one of two was busy", func(b *bench, a, _ *agent) {
		c, e := b.pair("45675003", "udp 203.0.113.3:5060", "", "")
		i := a.invites("45675003", offer)
		atC, atE := c.gets("INVITE"), e.gets("INVITE")
		c.respond(atC, 486)
		c.gets("ACK")
		e.respond(atE, 180)
		a.gets("180")
		i.cancels()
		e.respond(e.gets("CANCEL"), 200)
		e.respond(atE, 487)
		e.gets("ACK")
		b.settle()
		i.isRefused("487")
	})
	cancel("and the next is not tried", func(b *bench, a, _ *agent) {
		c, e := b.pair("45675003", "udp 203.0.113.3:5060", ";q=0.9", ";q=0.5")
		i := a.invites("45675003", offer)
		m := c.gets("INVITE")
		c.respond(m, 180)
		a.gets("180")
		i.cancels()
		c.respond(c.gets("CANCEL"), 200)
		c.respond(m, 487)
		c.gets("ACK")
		b.settle()
		i.isRefused("487")
		e.getsNothing()
	})
	cancel("and the callee forgets the INVITE", func(b *bench, a, c *agent) {
		i := a.invites("45675002", offer)
		c.respond(c.gets("INVITE"), 180)
		a.gets("180")
		i.cancels()
		c.respond(c.gets("CANCEL"), 200)
		b.sleep(timerB)
		i.isRefused("487")
	})
}

func TestAStrangersCancelDoesNothing(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		i := a.invites("45675002", offer)
		m := c.gets("INVITE")
		c.respond(m, 180)
		stranger := b.agent("45675003", "udp 203.0.113.66:5060")
		b.sendFrom(stranger.flow, i.derived("CANCEL", ""))
		stranger.gets("481")
		c.getsNothing()
		c.respond(m, 486)
		b.settle()
		a.gets("180")
		i.isRefused("486")
		c.gets("ACK")
	})
}

// A CANCEL and a 200 that cross: the 200 wins, and the caller has a call to end.
func TestCancelCrossesTheAnswer(t *testing.T) {
	for _, row := range []struct {
		name  string
		delay time.Duration // of the record
	}{
		{"the 200 comes after the CANCEL", 0},
		{"the CANCEL comes while the record is written", 300 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.recorder.set(row.delay, nil)
				a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
				i := a.invites("45675002", offer)
				m := c.gets("INVITE")
				c.respond(m, 180)
				a.gets("180")
				if row.delay > 0 {
					c.respond(m, 200, answer)
					i.cancels()
				} else {
					i.cancels()
					c.respond(m, 200, answer)
					c.respond(c.gets("CANCEL"), 200)
				}
				b.sleep(time.Second)
				d := b.dialog(a, c, m, a.gets("200"))
				a.getsNothing()
				d.does(caller, "ACK")
				b.recorder.set(0, nil)
				d.hangUp(caller)
				b.want("record", b.ended(), "200 hung up by caller")
			})
		})
	}
}

func TestProvisionalResponsesOfOthers(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		i := a.invites("45675002", offer)
		m := c.gets("INVITE")
		c.respond(m, 100)
		a.getsNothing() // RFC 3261 16.7 step 5: 100 is from hop to hop
		c.respond(m, 181)
		c.respond(m, 183, answer)
		b.want("the caller hears", a.starts(), "181 183")
		a.send(i.text) // it has lost that
		b.want("the caller hears again", a.starts(), "183")
		c.respond(m, 486)
		b.settle()
		i.isRefused("486")
		c.gets("ACK")
	})
}

func TestACalleeAtTheCallersPlace(t *testing.T) {
	run(t, func(b *bench) { // one calls itself
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		i := a.invites("45675001", offer)
		m := a.gets("INVITE")
		a.respond(m, 486)
		b.settle()
		a.gets("ACK")
		i.isRefused("486")
	})
}

// The answer to a request goes where it came from, whatever the Via says.
func TestFlowsAreNotMixedUp(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060 @192.0.2.2:5070")
		c := b.registered("45675002", "udp 203.0.113.2:5060 @192.0.2.1:5070")
		d := b.call(a, c)
		m := d.does(caller, "INFO")
		if m.flow != c.flow {
			t.Errorf("the request went through %v", m.flow)
		}
		c.respond(m, 200)
		if r := a.gets("200"); r.flow != (transport.Flow{Proto: transport.UDP, Local: a.flow.Local, Remote: a.flow.Remote}) {
			t.Errorf("the answer went through %v", r.flow)
		}
		d.hangUp(caller)
	})
}
