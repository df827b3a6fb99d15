package proxy

import (
	"strings"
	"testing"
	"time"
)

// A restart costs no call: what is in it passes, and it ends and has its record like any other.
func TestCallsLiveOverARestart(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "tcp 198.51.100.1:40000 #1"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		d.exchanges(callee, "INFO")
		b.sleep(time.Minute)
		b.restart()
		if b.calls.Up() != 1 {
			t.Fatal("the call is not known")
		}
		// The caller's connection has gone with the process. It comes back, but has not registered yet.
		a.flow = path("tcp 198.51.100.1:40001 #1")
		a.send(d.request(caller, "INFO"))
		challenge := a.gets("407").line("Proxy-Authenticate")
		m := d.does(caller, "INFO", "Proxy-Authorization: "+a.answers(challenge, "INFO", d.target[callee]))
		c.respond(m, 200)
		a.gets("200")
		d.exchanges(callee, "INFO")
		a.register()
		d.exchanges(callee, "INVITE", offer)
		d.does(callee, "ACK")
		stranger := b.agent("45675003", "udp 192.0.2.66:5060")
		b.sendFrom(stranger.flow, strings.Replace(d.request(caller, "BYE"), "198.51.100.1:40001", "192.0.2.66:5060", 1))
		stranger.gets("407")
		d.hangUp(callee)
		b.want("record", b.ended(), "200 hung up by callee")
		b.want("duration", b.record().Ended.Sub(b.record().Answered).Round(time.Minute).String(), "1m0s")
	})
}

// A call that was ringing when the service stopped is nobody's: its parties try again.
func TestACallThatRangAtARestart(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		a.invites("45675002", offer)
		m := c.gets("INVITE")
		b.restart()
		c.respond(m, 200, answer)
		a.getsNothing()
		if n := b.proxy.StrayResponse.Load(); n != 1 {
			t.Errorf("%d stray responses", n)
		}
	})
}
