package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"liaison/internal/relay"
	"liaison/internal/sdp"
)

// Media that is relayed: what becomes of descriptions, and that every port comes back.

// relayPool has so many pairs of ports.
func relayPool(pairs uint16) *relay.Pool {
	return &relay.Pool{Name: "default", Addresses: []relay.Address{{
		Announce: netip.MustParseAddr("192.0.2.1"), Bind: netip.MustParseAddr("127.7.2.1"), First: 55004, Last: 55004 + 2*pairs - 1,
	}}}
}

// relays runs a test with a relay, of which nothing may be in use at the end.
func relays(t *testing.T, pairs uint16, test func(b *bench, a, c *agent)) {
	t.Helper()
	runWith(t, relayPool(pairs), func(b *bench) {
		test(b, b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060"))
		if n := b.portsUsed(); n != 0 {
			t.Errorf("%d ports are still in use", n)
		}
	})
}

func (b *bench) portsUsed() int {
	u, err := b.relay.Usage("")
	if err != nil {
		b.Fatal(err)
	}
	return u.Used
}

// isRelayed wants a body that is what was sent but for addresses and ports, and every stream on a port of the relay. It
// gives the ports of the media lines.
func (b *bench) isRelayed(m *msg, sent string) (ports []uint16) {
	b.Helper()
	if got, want := m.line("Content-Length"), fmt.Sprint(len(m.Body)); got != want {
		b.Errorf("Content-Length %s of a body of %s", got, want)
	}
	d, err := sdp.Parse(m.Body)
	if err != nil {
		b.Fatal(err)
	}
	ours := func(a netip.AddrPort) bool {
		return a.Addr() == netip.MustParseAddr("192.0.2.1") && a.Port() >= 55004 && a.Port() <= 55999
	}
	for s := range d.Streams() {
		if !ours(s.Addr) && !s.Addr.Addr().IsUnspecified() {
			b.Errorf("a stream at %s\n%s", s.Addr, m.Body)
		}
	}
	// Both with the same addresses and ports put in must be one.
	was, err := sdp.Parse([]byte(sent))
	if err != nil {
		b.Fatal(err)
	}
	same := sdp.Rewrite{Addr: netip.MustParseAddr("192.0.2.9"), Origin: true, Port: func(sdp.Stream) uint16 { return 9 }}
	b.want("all but addresses and ports", string(d.AppendRewritten(nil, same)), string(was.AppendRewritten(nil, same)))
	for _, x := range d.Media {
		ports = append(ports, x.Port)
	}
	return ports
}

const (
	rich = "v=0\r\no=- 1 2 IN IP4 198.51.100.1\r\ns=a \"name\" of=its own\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\na=x-unheard-of:198.51.100.1 4000\r\n" +
		"m=audio 4000 RTP/AVP 97 8 101\r\na=rtcp:4005 IN IP4 198.51.100.1\r\na=fmtp:97 profile=2;bitrate=128000\r\na=ptime:4\r\n" +
		"m=audio 4100 RTP/AVP 8 98\r\nc=IN IP4 198.51.100.7\r\na=fmtp:98 4110 IN IP4 198.51.100.1\r\na=rtcp-mux\r\n"
	richAnswer = "v=0\no=x 1 1 IN IP4 203.0.113.2\ns=-\nc=IN IP4 203.0.113.2\nm=audio 5000 RTP/AVP 97\na=sendonly\nm=audio 0 RTP/AVP 8\n"
)

func TestDescriptionsAreRelayedInEveryKindOfMessage(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		a.invites("45675002", rich)
		invite := c.gets("INVITE")
		out := b.isRelayed(invite, rich)
		if out[0] == out[1] {
			t.Errorf("both lines at port %d", out[0])
		}
		c.respond(invite, 180)
		if m := a.gets("180"); len(m.Body) != 0 {
			t.Errorf("180 with a body: %s", m.Body)
		}
		c.respond(invite, 183, richAnswer)
		early := a.gets("183")
		b.isRelayed(early, richAnswer)
		d := b.dialog(a, c, invite, early)
		m := d.does(caller, "PRACK")
		c.respond(m, 200)
		a.gets("200")
		m = d.does(caller, "UPDATE", rich)
		if again := b.isRelayed(m, rich); fmt.Sprint(again) != fmt.Sprint(out) {
			t.Errorf("UPDATE gives ports %v, INVITE gave %v", again, out)
		}
		c.respond(m, 200, richAnswer)
		b.isRelayed(a.gets("200"), richAnswer)
		c.respond(invite, 200, richAnswer)
		b.settle()
		answered := a.gets("200")
		b.want("the 200 after the 183", string(answered.Body), string(early.Body))
		c.respond(invite, 200, richAnswer)
		b.want("the 200 again", string(a.gets("200").Body), string(early.Body))
		d.does(caller, "ACK")
		m = d.does(callee, "INVITE", richAnswer)
		b.want("the re-INVITE of the callee", string(m.Body), string(early.Body))
		a.respond(m, 200, rich)
		if back := b.isRelayed(c.gets("200"), rich); fmt.Sprint(back) != fmt.Sprint(out) {
			t.Errorf("the answer has ports %v, the offer had %v", back, out)
		}
		d.does(callee, "ACK")
		d.hangUp(caller)
		b.want("record", b.record().Media, "relayed: direct is not proven")
	})
}

func TestTheAnswerInTheACKIsRelayed(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		a.invites("45675002")
		invite := c.gets("INVITE")
		c.respond(invite, 200, rich)
		b.settle()
		ok := a.gets("200")
		b.isRelayed(ok, rich)
		d := b.dialog(a, c, invite, ok)
		b.isRelayed(d.does(caller, "ACK", richAnswer), richAnswer)
		b.restart()
		m := d.does(callee, "INVITE", rich)
		b.want("ports after a restart", string(m.Body), string(ok.Body))
		a.respond(m, 200, richAnswer)
		c.gets("200")
		d.hangUp(callee)
	})
}

func TestWhatIsNoDescriptionPassesAsItCame(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		d := b.call(a, c)
		for _, row := range []struct{ method, kind, body string }{
			{"INFO", "application/dtmf-relay", "Signal=5\r\nc=IN IP4 198.51.100.1\r\n"},
			{"INFO", "application/sdp", offer},
			{"MESSAGE", "text/plain", offer},
			{"UPDATE", "application/x-own", offer},
		} {
			length := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(row.body))
			text := d.request(caller, row.method, "Content-Type: "+row.kind, "Content-Length:")
			a.send(strings.TrimSuffix(text, "\r\n") + length + row.body)
			m := c.gets(row.method)
			b.want(row.method+" "+row.kind, string(m.Body), row.body)
			c.respond(m, 200)
			a.gets("200")
		}
		// What an agent could do is no answer.
		before := b.kept()
		m := d.does(caller, "OPTIONS")
		c.respond(m, 200, answer)
		b.want("answer to OPTIONS", string(a.gets("200").Body), answer)
		b.want("what holds", said(b.kept()), said(before))
		d.hangUp(caller)
	})
}

func TestAMultipartOfferMakesTheCallDirect(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		body := "--x\r\nContent-Type: application/sdp\r\n\r\n" + offer + "\r\n--x--\r\n"
		uri := "sip:45675002@sip.example.org"
		text := a.request("INVITE", uri, a.credentials("INVITE", uri), "Contact: <"+a.contact+">",
			"Content-Type: Multipart/Mixed;boundary=x", "Content-Length:")
		a.send(strings.TrimSuffix(text, "\r\n") + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
		a.gets("100")
		invite := c.gets("INVITE")
		b.want("offer", string(invite.Body), body)
		c.respond(invite, 200, answer)
		b.settle()
		ok := a.gets("200")
		b.want("answer", string(ok.Body), answer)
		d := b.dialog(a, c, invite, ok)
		d.does(caller, "ACK")
		d.hangUp(caller)
		b.want("record", b.record().Media, "direct: the description is a part of a larger body")
	})
}

func TestLinesThatShareAPortMayBeAnsweredAtTwo(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		shared := offer + "m=audio 4000 RTP/AVP 96\r\n"
		a.invites("45675002", shared)
		invite := c.gets("INVITE")
		if p := b.isRelayed(invite, shared); p[0] != p[1] {
			t.Errorf("one port became %v", p)
		}
		two := answer + "m=audio 5002 RTP/AVP 96\r\n"
		c.respond(invite, 200, two)
		b.settle()
		ok := a.gets("200")
		if p := b.isRelayed(ok, two); p[0] == p[1] {
			t.Errorf("two ports became %v", p)
		}
		d := b.dialog(a, c, invite, ok)
		d.does(caller, "ACK")
		d.hangUp(caller)
	})
}

func TestHeldMediaStaysHeldAndARefusedHoldChangesNothing(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		d := b.call(a, c)
		agreed := b.kept()
		hold := strings.Replace(offer, "198.51.100.1", "0.0.0.0", 1)
		first, second := d.does(caller, "INVITE", hold), d.does(callee, "INVITE", answer) // both at once
		b.isRelayed(first, hold)
		if !contains(first.Body, "c=IN IP4 0.0.0.0") {
			t.Errorf("the hold is off:\n%s", first.Body)
		}
		c.respond(first, 491)
		a.respond(second, 491)
		b.settle()
		c.inbox, a.inbox = nil, nil
		d.does(caller, "UPDATE") // what comes next is written down
		b.settle()
		b.want("what holds after the refusals", said(b.kept()), said(agreed))
		d.exchanges(callee, "INVITE", strings.Replace(answer, "203.0.113.2", "0.0.0.0", 1))
		d.does(callee, "ACK")
		b.settle()
		if kept := said(b.kept()); !strings.Contains(kept, `"held":true`) || !strings.Contains(kept, `"RTP":"0.0.0.0:5000"`) {
			t.Errorf("a hold that was agreed: %s", kept)
		}
		c.inbox, a.inbox = nil, nil
		d.hangUp(callee)
	})
}

// said is what of kept the sides have said.
func said(kept string) string { return kept[strings.Index(kept, `"said"`):] }

// kept is what the record says of the media.
func (b *bench) kept() string {
	_, media, _ := strings.Cut(string(b.record().Dialog), `"media":`)
	return media
}

// Each side gets addresses of the family that it came by, and RTCP where it is expected.
func TestAnIPv6AgentAndAnIPv4One(t *testing.T) {
	pool := relayPool(20)
	six := netip.MustParseAddr("2001:db8::1")
	pool.Addresses = append(pool.Addresses, relay.Address{Announce: six, Bind: netip.IPv6Loopback(), First: 55004, Last: 55043})
	runWith(t, pool, func(b *bench) {
		a := b.registered("45675001", "udp [2001:db8::66]:5060 @[2001:db8::1]:5060")
		c := b.registered("45675002", "udp 203.0.113.2:5060")
		const offer = "v=0\r\no=- 1 1 IN IP6 2001:db8::66\r\nc=IN IP6 2001:db8::66\r\nm=audio 4000 RTP/AVP 8\r\na=rtcp:4000 IN IP6 2001:db8::66\r\na=rtcp-mux\r\n"
		a.invites("45675002", offer)
		invite := c.gets("INVITE")
		port := b.isRelayed(invite, offer)[0]
		if want := fmt.Sprintf("a=rtcp:%d IN IP4 192.0.2.1\r\n", port); !contains(invite.Body, want) {
			t.Errorf("offer without %s\n%s", want, invite.Body)
		}
		c.respond(invite, 200, answer)
		b.settle()
		ok := a.gets("200")
		if !contains(ok.Body, "c=IN IP6 2001:db8::1\r\n") {
			t.Errorf("answer:\n%s", ok.Body)
		}
		d := b.dialog(a, c, invite, ok)
		d.does(caller, "ACK")
		d.hangUp(callee)
		if n := b.portsUsed(); n != 0 {
			t.Errorf("%d ports are still in use", n)
		}
	})
}

// rtcp-mux in the offer alone changes nothing (RFC 5761 5.1.1): RTCP goes to the port above.
func TestMultiplexingThatWasNotAnswered(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		a.invites("45675002", offer+"a=rtcp-mux\r\n")
		invite := c.gets("INVITE")
		c.respond(invite, 200, answer+"a=rtcp:5007 IN IP4 203.0.113.9\r\n")
		b.settle()
		d := b.dialog(a, c, invite, a.gets("200"))
		d.does(caller, "ACK")
		kept := said(b.kept())
		for _, want := range []string{`"RTP":"198.51.100.1:4000","RTCP":""`, `"RTP":"203.0.113.2:5000","RTCP":"203.0.113.9:5007"`} {
			if !strings.Contains(kept, want) {
				t.Errorf("the relay was not told %s: %s", want, kept)
			}
		}
		d.hangUp(caller)
	})
}

func TestCandidatesOfICEGo(t *testing.T) {
	relays(t, 20, func(b *bench, a, c *agent) {
		a.invites("45675002", "v=0\r\nc=IN IP4 198.51.100.1\r\na=ice-ufrag:x\r\na=ice-pwd:y\r\nm=audio 4000 RTP/AVP 8\r\n"+
			"a=candidate:1 1 UDP 1 10.0.0.1 4000 typ host\r\na=end-of-candidates\r\na=label:1\r\n")
		m := c.gets("INVITE")
		port, _ := sdp.Parse(m.Body)
		b.want("offer", string(m.Body), fmt.Sprintf("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio %d RTP/AVP 8\r\na=label:1\r\n", port.Media[0].Port))
		b.want("Content-Length", m.line("Content-Length"), fmt.Sprint(len(m.Body)))
		c.respond(m, 486)
		b.settle()
		a.inbox = nil
	})
}

func TestAFurtherLineWithoutPortsIsRefusedAndTheCallGoesOn(t *testing.T) {
	relays(t, 2, func(b *bench, a, c *agent) { // both sides of one stream
		d := b.call(a, c)
		more := offer + "m=video 4002 RTP/AVP 96\r\n"
		m := d.does(caller, "INVITE", more)
		if !contains(m.Body, "m=video 0 RTP") || !contains(m.Body, "c=IN IP4 192.0.2.1") {
			t.Errorf("offer:\n%s", m.Body)
		}
		c.respond(m, 200, answer+"m=video 0 RTP/AVP 96\r\n")
		a.gets("200")
		d.does(caller, "ACK")
		if n := b.portsUsed(); n != 4 {
			t.Errorf("%d ports in use", n)
		}
		d.hangUp(caller)
	})
}

func TestACallWithoutPortsGoesDirectly(t *testing.T) {
	relays(t, 1, func(b *bench, a, c *agent) {
		a.invites("45675002", offer)
		invite := c.gets("INVITE")
		b.want("offer", string(invite.Body), offer)
		c.respond(invite, 200, answer)
		b.settle()
		ok := a.gets("200")
		b.want("answer", string(ok.Body), answer)
		d := b.dialog(a, c, invite, ok)
		d.does(caller, "ACK")
		d.hangUp(caller)
		if r := b.record().Media; !strings.HasPrefix(r, "direct: ") || !strings.Contains(r, "no ports left") {
			t.Errorf("record says %q", r)
		}
	})
}

func TestPortsComeBackHoweverACallEnds(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(b *bench, a, c *agent)
	}{
		{"refused", func(b *bench, a, c *agent) {
			i := a.invites("45675002", offer)
			c.respond(c.gets("INVITE"), 486)
			b.settle()
			i.isRefused("486")
		}},
		{"cancelled", func(b *bench, a, c *agent) {
			i := a.invites("45675002", offer)
			m := c.gets("INVITE")
			c.respond(m, 183, answer)
			a.gets("183")
			i.cancels()
			c.respond(c.gets("CANCEL"), 200)
			c.respond(m, 487)
			b.settle()
			i.isRefused("487")
		}},
		{"nobody answers", func(b *bench, a, c *agent) {
			i := a.invites("45675002", offer)
			b.sleep(10 * time.Minute)
			i.isRefused("408")
			c.inbox = nil
		}},
		{"the operator ends it", func(b *bench, a, c *agent) {
			d := b.call(a, c)
			b.calls.End(b.record().ID, "ended by the operator")
			b.settle()
			for _, x := range d.ends {
				x.respond(x.gets("BYE"), 200)
			}
		}},
		{"the loser of a fork gives its ports back before the call ends", func(b *bench, a, _ *agent) {
			c, e := b.pair("45675003", "udp 203.0.113.3:5060", "", "")
			a.invites("45675003", offer)
			m := c.gets("INVITE")
			lost := e.gets("INVITE")
			b.want("ports of two branches", fmt.Sprint(b.portsUsed()), "8")
			e.respond(lost, 180)
			a.gets("180")
			c.respond(m, 200, answer)
			b.settle()
			d := b.dialog(a, c, m, a.gets("200"))
			d.does(caller, "ACK")
			e.respond(e.gets("CANCEL"), 200)
			e.respond(lost, 487)
			e.gets("ACK")
			b.want("ports of the call", fmt.Sprint(b.portsUsed()), "4")
			d.hangUp(caller)
		}},
		{"two answer, and the caller keeps one", func(b *bench, a, _ *agent) {
			c, e := b.pair("45675003", "udp 203.0.113.3:5060", "", "")
			a.invites("45675003", offer)
			m, n := c.gets("INVITE"), e.gets("INVITE")
			c.respond(m, 200, answer)
			e.respond(n, 200, answer)
			b.settle()
			c.inbox, e.inbox = nil, nil
			d := b.dialog(a, c, m, a.gets("200"))
			e.respond(n, 200, answer)
			b.settle()
			if len(a.inbox) == 0 {
				b.Fatal("the second 2xx did not come")
			}
			f := b.dialog(a, e, n, a.gets("200"))
			a.inbox = nil
			d.does(caller, "ACK")
			f.does(caller, "ACK")
			f.cseq[caller] = 1
			f.hangUp(caller)
			b.want("ports of the call", fmt.Sprint(b.portsUsed()), "4")
			d.hangUp(caller)
		}},
		{"after a restart", func(b *bench, a, c *agent) {
			d := b.call(a, c)
			before := b.kept()
			b.restart()
			if n := b.portsUsed(); n != 4 {
				b.Errorf("%d ports in use after the restart", n)
			}
			m := d.does(caller, "INVITE", offer)
			b.isRelayed(m, offer)
			c.respond(m, 200, answer)
			a.gets("200")
			d.does(caller, "ACK")
			if before == "" {
				b.Error("the record keeps nothing of the media")
			}
			d.hangUp(callee)
		}},
	} {
		t.Run(row.name, func(t *testing.T) { relays(t, 20, row.test) })
	}
}
