package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"liaison/internal/call"
)

// What belongs to a call passes, from either side, by its route set with ours taken off.
func TestRequestsPassInsideACall(t *testing.T) {
	for _, method := range []string{"INFO", "UPDATE", "OPTIONS", "MESSAGE", "REFER", "NOTIFY", "SUBSCRIBE", "UNHEARD-OF"} {
		run(t, func(b *bench) {
			a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
			d := b.call(a, c)
			for side := range 2 {
				d.exchanges(side, method)
			}
			for side := range 2 {
				m := d.does(side, method)
				d.ends[1-side].respond(m, 420, "Unsupported: x")
				d.ends[side].gets("420")
			}
			d.hangUp(callee)
		})
	}
}

func TestReINVITE(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		for side := range 2 {
			m := d.does(side, "INVITE", offer, "Contact: <"+d.target[side]+">")
			d.ends[1-side].respond(m, 180)
			d.ends[side].gets("180")
			d.ends[1-side].respond(m, 200, answer)
			d.ends[side].gets("200")
			d.ends[1-side].respond(m, 200, answer) // until the ACK is there
			d.ends[side].gets("200")
			d.does(side, "ACK")
			// One that the other side refuses, and one that is taken back.
			i := &invitation{d.ends[side], d.request(side, "INVITE", offer)}
			i.send(i.text)
			i.gets("100")
			d.ends[1-side].respond(d.ends[1-side].gets("INVITE"), 491)
			d.ends[1-side].gets("ACK")
			i.isRefused("491")
			i = &invitation{d.ends[side], d.request(side, "INVITE", offer)}
			i.send(i.text)
			i.gets("100")
			m = d.ends[1-side].gets("INVITE")
			d.ends[1-side].respond(m, 180)
			i.gets("180")
			i.cancels()
			d.ends[1-side].respond(d.ends[1-side].gets("CANCEL"), 200)
			d.ends[1-side].respond(m, 487)
			d.ends[1-side].gets("ACK")
			i.isRefused("487")
			b.want("record", b.ended(), "still up")
		}
		d.hangUp(caller)
	})
}

// A new Contact is the remote target from then on (RFC 3261 12.2), also for who keeps writing the number.
func TestTheRemoteTarget(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		number := "sip:45675002@sip.example.org"
		for i, want := range []string{c.contact, "sip:moved@203.0.113.2", "sip:again@203.0.113.2"} {
			switch i {
			case 1: // by a request of its own
				m := d.does(callee, "UPDATE", "Contact: <"+want+">")
				a.respond(m, 200)
				c.gets("200")
			case 2: // by an answer
				m := d.does(caller, "INVITE", offer)
				c.respond(m, 200, "Contact: <"+want+">", answer)
				a.gets("200")
				d.does(caller, "ACK")
			}
			d.target[callee] = number
			m := d.does(caller, "INFO")
			b.want("Request-URI", string(m.URI), want)
			c.respond(m, 200)
			a.gets("200")
			b.want("Request-URI of the ACK", string(d.does(caller, "ACK").URI), want)
		}
		d.hangUp(caller)
	})
}

// Strict routers (RFC 2543) put the next hop into the Request-URI and the target behind the Route.
func TestStrictRouters(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "tcp 198.51.100.1:40000 #1"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		for _, method := range []string{"INFO", "ACK"} {
			// The caller is one: of our two elements the first is in the Request-URI.
			own := d.routes[caller]
			uri := strings.Trim(own[0], "<>")
			a.send(d.strict(caller, method, uri, "Route: "+own[1]+", <"+c.contact+">"))
			m := c.gets(method)
			b.want(method+" from a strict router", m.start()+" | "+m.line("Route"), method+" "+c.contact+" SIP/2.0 | ")
			if method == "INFO" {
				c.respond(m, 200)
				a.gets("200")
			}
			// And the next hop is one, behind which there is a loose one.
			lines := []string{"Route: " + own[0], "Route: " + own[1], "Route: <sip:strict.example>", "Route: <sip:loose.example;lr>"}
			a.send(d.request(caller, method, lines...))
			m = c.gets(method)
			b.want(method+" to a strict router", m.start()+" | "+m.line("Route"),
				method+" sip:strict.example SIP/2.0 | <sip:loose.example;lr> | <"+c.contact+">")
			if method == "INFO" {
				c.respond(m, 200)
				a.gets("200")
			}
		}
		// What lies behind a foreign hop stays, even if it is us.
		m := d.does(caller, "INFO", "Route: "+d.routes[caller][0], "Route: "+d.routes[caller][1], "Route: <sip:far.example;lr>, <sip:192.0.2.1;lr>")
		b.want("Route", m.line("Route"), "<sip:far.example;lr> | <sip:192.0.2.1;lr>")
		c.respond(m, 200)
		a.gets("200")
		// One that writes the number as the target, of which nothing is left.
		a.send(d.strict(caller, "INFO", strings.Trim(d.routes[caller][0], "<>"), "Route: "+d.routes[caller][1]+", <sip:45675002@sip.example.org>"))
		m = c.gets("INFO")
		b.want("Request-URI", string(m.URI), c.contact)
		c.respond(m, 200)
		a.gets("200")
		d.hangUp(callee)
	})
}

func (d *dialog) strict(side int, method, uri string, lines ...string) string {
	target := d.target[1-side]
	defer func() { d.target[1-side] = target }()
	d.target[1-side] = uri
	return d.request(side, method, lines...)
}

// Before the 2xx there are early dialogs, one for each To tag.
func TestEarlyDialogs(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		c, e := b.pair("45675002", "udp 203.0.113.2:5060", "", "")
		a.invites("45675002", offer)
		atC, atE := c.gets("INVITE"), e.gets("INVITE")
		var dialogs []*dialog
		for _, x := range []struct {
			*agent
			invite *msg
		}{{c, atC}, {e, atE}} {
			x.respond(x.invite, 183, "Require: 100rel", "RSeq: 1", answer)
			d := b.dialog(a, x.agent, x.invite, a.gets("183"))
			d.exchanges(caller, "PRACK")
			d.exchanges(caller, "UPDATE", offer)
			d.exchanges(callee, "UPDATE", offer)
			d.exchanges(callee, "INFO")
			dialogs = append(dialogs, d)
		}
		dialogs[0].exchanges(caller, "INFO") // still, now that there is another one
		e.respond(atE, 200)
		b.settle()
		d := b.dialog(a, e, atE, a.gets("200"))
		d.cseq = dialogs[1].cseq
		d.does(caller, "ACK")
		c.respond(c.gets("CANCEL"), 200)
		c.respond(atC, 487)
		c.gets("ACK")
		b.want("codecs of an answer that came early", b.record().Agreed, "PCMA/8000/1")
		d.hangUp(callee)
	})
}

// RFC 3261 15: a caller may end an early dialog with BYE; the INVITE is answered all the same.
func TestBYEInAnEarlyDialog(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		i := a.invites("45675002", offer)
		m := c.gets("INVITE")
		c.respond(m, 180)
		d := b.dialog(a, c, m, a.gets("180"))
		d.hangUp(caller)
		if len(b.recorder.latest()) != 0 {
			t.Error("the record was closed before the INVITE was")
		}
		c.respond(m, 487)
		c.gets("ACK")
		b.settle()
		i.isRefused("487")
		b.want("record", b.ended(), "487 cancelled by callee")
	})
}

func TestOnlyThePartiesGetThrough(t *testing.T) {
	for _, row := range []struct {
		name string
		edit func(text string) string
		want string
	}{
		{"another Call-ID", replace("Call-ID: 45675001-1", "Call-ID: 45675001-2"), "481"},
		{"another From tag", replace("tag=from45675001", "tag=guess"), "481"},
		{"another To tag", replace("To: <sip:45675002@sip.example.org>;tag=", "To: <sip:45675002@sip.example.org>;tag=x"), "481"},
		{"no From tag", replace(";tag=from45675001", ""), "481"},
		{"the callee's tags", func(s string) string {
			s = strings.Replace(s, "From: ", "Swap: ", 1)
			s = strings.Replace(s, "To: ", "From: ", 1)
			return strings.Replace(s, "Swap: ", "To: ", 1)
		}, "407"},
		{"from a third address", func(s string) string { return s }, "407"},
	} {
		for _, method := range []string{"BYE", "INVITE", "INFO", "MESSAGE", "ACK"} {
			t.Run(row.name+" "+method, func(t *testing.T) {
				run(t, func(b *bench) {
					a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
					stranger := b.registered("45675003", "udp 192.0.2.66:5060")
					d := b.call(a, c)
					text := row.edit(d.request(caller, method, stranger.credentials(method, "sip:x")))
					b.sendFrom(stranger.flow, strings.Replace(text, "198.51.100.1", "192.0.2.66", 1))
					if method == "ACK" {
						if b.proxy.StrayAck.Load() != 1 {
							t.Error("not counted")
						}
					} else {
						want := row.want
						if want == "407" { // asked, it has a good password of its own, which is not that of the call
							want = "403"
						}
						m := stranger.gets(want)
						if b.proxy.NotInDialog.Load() != 1 {
							t.Error("not counted")
						}
						_ = m
					}
					stranger.getsNothing()
					a.getsNothing()
					c.getsNothing()
					d.hangUp(callee)
				})
			})
		}
	}
}

func replace(old, with string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, with, 1) }
}

// An agent that has changed its network proves with its password that it is the one, if it has not registered yet.
func TestANewSource(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		old := a.flow
		a.flow = path("udp 198.51.100.77:1024")
		a.send(d.request(caller, "INFO"))
		challenge := a.gets("407").line("Proxy-Authenticate")
		c.getsNothing()
		uri := d.target[callee]
		m := d.does(caller, "INFO", "Proxy-Authorization: "+a.answers(challenge, "INFO", uri))
		b.want("the credentials stay here", m.line("Proxy-Authorization"), "")
		c.respond(m, 200)
		a.gets("200")
		d.exchanges(caller, "INFO") // known from now on
		// An ACK cannot be challenged: from the agent's address it passes, from a third one it does not.
		a.flow = path("udp 198.51.100.77:9999")
		d.does(caller, "ACK")
		a.flow = path("udp 198.51.100.78:1024")
		a.send(d.request(caller, "ACK"))
		c.getsNothing()

		// It registers in a third network: that is proof enough, and what is for it goes there.
		a.flow = path("udp 198.51.100.79:1024")
		a.register()
		d.exchanges(caller, "INFO")
		d.exchanges(callee, "INFO")
		// And in a fourth, from which it has sent nothing in the call.
		a.flow = path("udp 198.51.100.80:1024")
		a.register()
		b.sleep(5 * time.Second)
		d.exchanges(callee, "INFO")
		a.flow = path("udp 198.51.100.80:1024 @192.0.2.1:5070") // another of our ports
		d.exchanges(caller, "INFO")
		if len(b.lost) > 0 { // to the old places it was only asked whether it is there
			for _, m := range b.lost {
				if m.Method != "OPTIONS" {
					t.Errorf("%s was sent to %s", m.start(), m.flow.Remote)
				}
			}
		}
		a.flow.Local = old.Local
		d.hangUp(callee)
	})
}

// A second device of an account, which calls without a registration, is where it called from, and not where the first is.
func TestWhoCallsWithoutARegistration(t *testing.T) {
	for _, at := range []string{"udp 198.51.100.2:5070", "tcp 198.51.100.2:40000 #5"} {
		run(t, func(b *bench) {
			first, a := b.registered("45675001", "udp 198.51.100.1:5060"), b.agent("45675001", at)
			c := b.registered("45675002", "udp 203.0.113.2:5060")
			d := b.call(a, c)
			d.exchanges(callee, "INFO")
			d.exchanges(caller, "INFO")
			b.sleep(10 * time.Minute)
			if a.probed == 0 || first.probed != 0 {
				t.Errorf("the caller was asked %d times, the other device %d times", a.probed, first.probed)
			}
			d.hangUp(callee)
			first.getsNothing()
		})
	}
}

// Another device takes the account over: the one on air stays in its call.
func TestATakeoverDoesNotEndACall(t *testing.T) {
	for _, status := range []int{481, 200} {
		run(t, func(b *bench) {
			a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
			d := b.call(a, c)
			other := b.agent("45675001", "udp 198.51.100.99:5060")
			other.asked = true
			other.registers("To: <sip:45675001@sip.example.org>", "Call-ID: another", "Contact: <"+other.contact+">", "Expires: 80000")
			other.respond(other.gets("OPTIONS"), status)
			if a.probed != 1 {
				t.Error("the one on air was not asked")
			}
			d.exchanges(callee, "INFO") // to the one on air
			d.exchanges(caller, "INFO")
			b.want("record", b.ended(), "still up")
			other.getsNothing()
			d.hangUp(callee)
		})
	}
}

// Who calls again may have lost its other call.
func TestACallAsksAfterTheCallersOthers(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		b.call(a, c)
		b.sleep(time.Minute)
		b.settle()
		a.asked = true
		b.agents[1].asked = true
		e := b.registered("45675003", "udp 203.0.113.3:5060")
		a.send(a.request("INVITE", "sip:45675003@sip.example.org", a.credentials("INVITE", "sip:45675003@sip.example.org"), "Contact: <"+a.contact+">", offer))
		a.gets("100")
		a.respond(a.gets("OPTIONS"), 481) // it was switched off and on
		c.respond(c.gets("OPTIONS"), 200)
		b.settle()
		c.respond(c.gets("BYE"), 200)
		a.respond(a.gets("BYE"), 481)
		b.want("record", b.ended(), "200 lost: the caller does not know the call any more by service")
		a.asked = false
		b.answer(a, e).hangUp(caller)
	})
}

func TestGoneCallsAreNotKnown(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		d.hangUp(caller)
		for side := range 2 {
			d.ends[side].send(d.request(side, "BYE"))
			d.ends[side].gets("481")
			d.ends[side].send(d.request(side, "ACK"))
			d.ends[1-side].getsNothing()
		}
	})
}

// Both hang up at the same time.
func TestBYEGlare(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		byCallee := d.does(callee, "BYE")
		byCaller := d.does(caller, "BYE")
		c.respond(byCaller, 200)
		b.settle()
		a.gets("200")
		b.want("who was first", b.ended(), "200 hung up by callee")
		a.respond(byCallee, 481)
		c.gets("481")
		if n := len(b.recorder.latest()); n != 1 {
			t.Errorf("%d records", n)
		}
	})
}

func TestBYEThatNobodyAnswers(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		b.sleep(10 * time.Second)
		d.does(caller, "BYE")
		a.asked = true
		b.calls.Fresh("45675001") // no question while it is on its way: the caller has forgotten the call
		b.sleep(timerB)
		a.gets("408")
		c.inbox = nil
		r := b.record()
		b.want("record", b.ended(), "200 hung up by caller")
		b.want("duration", r.Ended.Sub(r.Answered).Round(time.Second).String(), "10s")
		if len(b.recorder.latest()) != 1 {
			t.Error("more than one record")
		}
	})
}

// A callee that wants a password for the BYE: it comes again.
func TestBYEWithAPassword(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		c.respond(d.does(caller, "BYE"), 401, `WWW-Authenticate: Digest realm="door", nonce="1"`)
		a.gets("401")
		b.want("record", b.ended(), "still up")
		probed := c.probed
		b.sleep(10 * time.Minute)
		if c.probed < probed+3 {
			t.Errorf("the callee was asked %d times in ten minutes", c.probed-probed)
		}
		m := d.does(caller, "BYE", `Authorization: Digest username="a", realm="door", nonce="1", uri="sip:x", response="00000000000000000000000000000000"`)
		if m.line("Authorization") == "" {
			t.Error("credentials for somebody else did not pass")
		}
		c.respond(m, 200)
		b.settle()
		a.gets("200")
		b.want("record", b.ended(), "200 hung up by caller")
	})
}

// The 2xx leaves when the record is safe, and once.
func TestTheAnswerWaitsForItsRecord(t *testing.T) {
	for _, row := range []struct {
		name    string
		delay   time.Duration
		err     error
		leaves  time.Duration // after the answer
		records int
	}{
		{"a database that takes its time", 300 * time.Millisecond, nil, 300 * time.Millisecond, 1},
		{"a database that takes too long", 5 * time.Second, nil, time.Second, 1},
		{"a database that fails", 300 * time.Millisecond, errors.New("disk full"), 300 * time.Millisecond, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
				a.invites("45675002", offer)
				m := c.gets("INVITE")
				b.recorder.set(row.delay, row.err)
				c.respond(m, 200, answer)
				b.sleep(row.leaves / 2)
				c.respond(m, 200, answer)
				b.sleep(row.leaves/2 - 10*time.Millisecond)
				a.getsNothing()
				b.sleep(50 * time.Millisecond)
				d := b.dialog(a, c, m, a.gets("200"))
				a.getsNothing()
				c.respond(m, 200, answer) // the ACK was lost: now it comes again
				a.gets("200")
				d.does(caller, "ACK")
				b.sleep(10 * time.Second)
				if n := len(b.recorder.latest()); n != row.records {
					t.Errorf("%d records", n)
				}
				b.recorder.set(0, nil)
				d.hangUp(caller)
				b.want("record", b.ended(), "200 hung up by caller")
				if failed := b.calls.Unrecorded.Load() > 0; failed != (row.err != nil) {
					t.Errorf("%d failures are counted", b.calls.Unrecorded.Load())
				}
			})
		})
	}
}

func TestARefusalWaitsForItsRecord(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		b.recorder.set(300*time.Millisecond, nil)
		i := a.invites("45675002", offer)
		c.respond(c.gets("INVITE"), 486)
		c.gets("ACK")
		a.getsNothing()
		i.cancels() // too late
		a.send(i.text)
		b.want("a retransmission meanwhile", a.starts(), "100")
		b.sleep(310 * time.Millisecond)
		i.isRefused("486")
		b.want("record", b.ended(), "486 busy by callee")
		c.getsNothing()
	})
}

// Whatever happens in the call while its record is written, nobody hears of it before the 2xx.
func TestRequestsWhileTheRecordIsWritten(t *testing.T) {
	for _, row := range []struct {
		name string
		side int
		what string
	}{
		{"the callee hangs up", callee, "BYE"},
		{"the callee has another offer", callee, "INVITE"},
		{"the caller has another offer", caller, "UPDATE"},
		{"the caller has another INVITE", caller, "INVITE"},
		{"the callee says something", callee, "INFO"},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
				a.invites("45675002", offer)
				m := c.gets("INVITE")
				c.respond(m, 180)
				d := b.dialog(a, c, m, a.gets("180"))
				b.recorder.set(300*time.Millisecond, nil)
				c.respond(m, 200, answer)
				d.ends[row.side].send(d.request(row.side, row.what))
				b.sleep(100 * time.Millisecond)
				if row.what == "INVITE" {
					d.ends[row.side].gets("100")
				}
				a.getsNothing()
				c.getsNothing()
				b.sleep(300 * time.Millisecond)
				a.gets("200")
				other := d.ends[1-row.side]
				request := other.gets(row.what)
				d.does(caller, "ACK")
				b.recorder.set(0, nil)
				other.respond(request, 200)
				b.settle()
				d.ends[row.side].gets("200")
				if row.what == "BYE" {
					b.want("record", b.ended(), "200 hung up by callee")
					return
				}
				if row.what == "INVITE" {
					d.does(row.side, "ACK")
				}
				d.hangUp(caller)
			})
		})
	}
	t.Run("the callee has another offer and takes it back", func(t *testing.T) {
		run(t, func(b *bench) {
			a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
			a.invites("45675002", offer)
			m := c.gets("INVITE")
			c.respond(m, 180)
			d := b.dialog(a, c, m, a.gets("180"))
			b.recorder.set(300*time.Millisecond, nil)
			c.respond(m, 200, answer)
			i := &invitation{c, d.request(callee, "INVITE", offer)}
			c.send(i.text)
			c.gets("100")
			i.cancels()
			b.sleep(400 * time.Millisecond)
			a.gets("200")
			a.getsNothing()
			i.isRefused("487")
			b.recorder.set(0, nil)
			d.does(caller, "ACK")
			d.hangUp(caller)
		})
	})
	t.Run("the operator ends it", func(t *testing.T) {
		run(t, func(b *bench) {
			a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
			a.invites("45675002", offer)
			m := c.gets("INVITE")
			b.recorder.set(300*time.Millisecond, nil)
			c.respond(m, 200, answer)
			b.proxy.Calls.End(b.only(), "ended by the operator")
			b.sleep(400 * time.Millisecond)
			a.gets("200")
			a.respond(a.gets("BYE"), 200)
			c.respond(c.gets("BYE"), 200)
			b.sleep(400 * time.Millisecond)
			b.want("record", b.ended(), "200 ended by the operator by service")
		})
	})
}

// only is the ID of the one call that is up, before its record is there.
func (b *bench) only() string {
	b.Helper()
	id := ""
	b.recorder.mu.Lock()
	defer b.recorder.mu.Unlock()
	if b.recorder.given == nil {
		b.Fatal("no record was given to the recorder")
	}
	id = b.recorder.given.ID
	return id
}

// A caller that hangs up before its ACK, and one whose BYE is lost until the answer comes again.
func TestBYEBeforeACK(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		a.invites("45675002", offer)
		m := c.gets("INVITE")
		c.respond(m, 200, answer)
		b.settle()
		d := b.dialog(a, c, m, a.gets("200"))
		d.hangUp(caller)
		b.want("record", b.ended(), "200 hung up by caller")
		a.send(d.request(caller, "ACK")) // it comes too late
		c.getsNothing()
		c.respond(m, 200, answer) // and would be missed: so the service acknowledges
		c.gets("ACK")
		a.getsNothing()
	})
}

func TestRecordIDsSortByStart(t *testing.T) {
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 198.51.100.1:5060")
		last := ""
		for range 5 {
			i := a.invites("45675099")
			b.settle()
			i.isRefused("404")
			if id := b.record().ID; id <= last {
				t.Errorf("%s is after %s", id, last)
			} else {
				last = id
			}
		}
	})
}

func TestTheRecord(t *testing.T) {
	sentence := func(r call.Record) string {
		d := func(x time.Time) string {
			if x.IsZero() {
				return "-"
			}
			return x.Sub(r.Started).Round(time.Second).String()
		}
		return fmt.Sprintf("%s (group %d, %s, %s) dialled %s, reached %q (group %d, %q, %s); answered %s, ended %s; %d %s by %s; offered %q, agreed %q",
			r.Caller, r.CallerSubscriber, r.CallerAgent, r.CallerAddr, r.Dialled, r.Callee, r.CalleeSubscriber, r.CalleeAgent, r.CalleeAddr,
			d(r.Answered), d(r.Ended), r.Status, r.Cause, r.EndedBy, r.Offered, r.Agreed)
	}
	const who = "45675001 (group 1, Caller/1, 198.51.100.1:5060) dialled "
	const nobody = `, reached "45675002" (group 1, "", invalid AddrPort); answered -, ended `
	for _, row := range []struct {
		name string
		test func(b *bench, a, c *agent)
		want string
	}{
		{"answered", func(b *bench, a, c *agent) {
			a.invites("5002", offer)
			b.sleep(5 * time.Second)
			for len(c.inbox) > 1 { // retransmissions
				c.inbox = c.inbox[1:]
			}
			d := b.answer(a, c)
			b.sleep(7 * time.Second)
			d.hangUp(callee)
		}, who + `5002, reached "45675002" (group 1, "Callee/1", 203.0.113.2:5060); answered 5s, ended 12s; 200 hung up by callee; offered "G722/8000/1,PCMA/8000/1", agreed "PCMA/8000/1"`},
		{"a delayed offer", func(b *bench, a, c *agent) {
			a.invites("45675002")
			m := c.gets("INVITE")
			c.respond(m, 200, "Server: Callee/2", offer)
			b.settle()
			d := b.dialog(a, c, m, a.gets("200"))
			d.does(caller, "ACK", answer)
			d.hangUp(caller)
		}, who + `45675002, reached "45675002" (group 1, "Callee/2", 203.0.113.2:5060); answered 0s, ended 0s; 200 hung up by caller; offered "G722/8000/1,PCMA/8000/1", agreed "PCMA/8000/1"`},
		{"another codec", func(b *bench, a, c *agent) {
			d := b.call(a, c)
			m := d.does(callee, "INVITE", offer)
			a.respond(m, 200, strings.Replace(answer, "AVP 8", "AVP 9", 1))
			c.gets("200")
			d.does(callee, "ACK")
			d.hangUp(caller)
		}, who + `45675002, reached "45675002" (group 1, "Callee/1", 203.0.113.2:5060); answered 0s, ended 0s; 200 hung up by caller; offered "G722/8000/1,PCMA/8000/1", agreed "G722/8000/1"`},
		{"another codec by a delayed offer", func(b *bench, a, c *agent) {
			d := b.call(a, c)
			m := d.does(caller, "INVITE")
			c.respond(m, 200, offer)
			a.gets("200")
			b.want("not yet", b.record().Agreed, "PCMA/8000/1")
			d.does(caller, "ACK", strings.Replace(answer, "AVP 8", "AVP 9", 1))
			d.hangUp(caller)
		}, who + `45675002, reached "45675002" (group 1, "Callee/1", 203.0.113.2:5060); answered 0s, ended 0s; 200 hung up by caller; offered "G722/8000/1,PCMA/8000/1", agreed "G722/8000/1"`},
		{"cancelled", func(b *bench, a, c *agent) {
			i := a.invites("45675002", offer)
			m := c.gets("INVITE")
			c.respond(m, 180)
			b.sleep(9 * time.Second)
			a.gets("180")
			i.cancels()
			c.respond(c.gets("CANCEL"), 200)
			c.respond(m, 487)
			b.settle()
			i.isRefused("487")
			c.gets("ACK")
		}, who + "45675002" + nobody + `9s; 487 cancelled by caller; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"busy", refusedWith(486), who + "45675002" + nobody + `0s; 486 busy by callee; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"declined", refusedWith(603), who + "45675002" + nobody + `0s; 603 declined by callee; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"not available, says the agent", refusedWith(480), who + "45675002" + nobody + `0s; 480 not available by callee; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"no common codec", refusedWith(488), who + "45675002" + nobody + `0s; 488 no common codec by callee; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"no answer", func(b *bench, a, c *agent) {
			i := a.invites("45675002", offer)
			b.sleep(timerB)
			i.isRefused("408")
			c.inbox = nil
		}, who + "45675002" + nobody + `32s; 408 no answer from the agent by service; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"unknown", func(b *bench, a, c *agent) {
			i := a.invites("x%0d%0aEvil%3a%201%1b[2J%e2%80%ae", offer)
			b.settle()
			i.isRefused("404")
		}, who + `xEvil: 1[2J, reached "" (group 0, "", invalid AddrPort); answered -, ended 0s; 404 no such number by service; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
		{"not registered", func(b *bench, a, c *agent) {
			i := a.invites("45675003", offer)
			b.settle()
			i.isRefused("480")
		}, who + strings.Replace("45675003"+nobody, `"45675002"`, `"45675003"`, 1) + `0s; 480 not registered by service; offered "G722/8000/1,PCMA/8000/1", agreed ""`},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
				row.test(b, a, c)
				b.want("the record", sentence(b.record()), row.want)
				if r := b.record(); r.CallID != "45675001-1" || r.Dialog != nil || r.ID == "" {
					t.Errorf("Call-ID %q, ID %q, dialog %s", r.CallID, r.ID, r.Dialog)
				}
			})
		})
	}
}

func refusedWith(status int) func(b *bench, a, c *agent) {
	return func(b *bench, a, c *agent) {
		i := a.invites("45675002", offer)
		c.respond(c.gets("INVITE"), status)
		b.settle()
		i.isRefused(fmt.Sprint(status))
		c.gets("ACK")
	}
}
