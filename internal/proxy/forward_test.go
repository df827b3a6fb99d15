package proxy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// ours are the parts of a forwarded message that chance makes.
var ours = regexp.MustCompile(`branch=z9hG4bK[0-9a-f]{24}(\.[0-9a-f]{8})?`)

// What must change is written anew, everything else passes as it came and in order.
func TestAForwardedRequestIsItselfButForWhatMustChange(t *testing.T) {
	const body = "v=0\r\na=ebuacip:qosrec 2\r\na=fmtp:97 5006 IN IP4 192.0.2.7 \t\r\n\r\nwhatever: follows"
	run(t, func(b *bench) {
		a, c := b.agent("45675001", "udp 198.51.100.1:1024"), b.agent("45675002", "udp 203.0.113.2:1025")
		c.contact = "sip:line2@10.0.0.2:5060;transport=udp;ob"
		c.register()
		a.send(strings.Join([]string{
			"INVITE sip:45675002@sip.example.org SIP/2.0",
			"v: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKabc , SIP/2.0/UDP inside.example;branch=z9hG4bK1",
			"X-First: 1",
			"f:\"Studio, 1\" <sip:45675001@sip.example.org>;tag=1",
			"t: <sip:45675002@sip.example.org>",
			"i: call-1",
			"CSeq: 7 INVITE",
			"Route: <sip:192.0.2.1;lr>",
			"P-Asserted-Identity: <sip:boss@sip.example.org>",
			"P-Preferred-Identity: <sip:boss@sip.example.org>",
			"remote-party-id: <sip:boss@sip.example.org>",
			"Diversion: <sip:boss@sip.example.org>",
			a.credentials("INVITE", "sip:45675002@sip.example.org"),
			`Authorization: Digest username="a", realm="elsewhere", nonce="n", uri="sip:x", response="00000000000000000000000000000000"`,
			`authorization: Digest username="45675001", realm="lia\ison", nonce="n", uri="sip:x", response="00000000000000000000000000000000"`,
			`Authorization: Digest realm="liaison"`,
			"Max-Forwards: 20",
			"Record-Route: <sip:site.example;lr>",
			"m: <sip:a@10.0.0.1>",
			"Supported: 100rel,timer",
			"X-Folded: one",
			"  two",
			"x-LAST:   spaced   ",
			"c: application/sdp",
			"",
			body}, "\r\n"))
		a.gets("100")
		m := c.gets("INVITE")
		b.want("the flow", m.flow.Remote.String(), "203.0.113.2:1025")
		b.want("what the callee gets", ours.ReplaceAllString(m.text, "branch=OURS"), strings.Join([]string{
			"INVITE sip:line2@10.0.0.2:5060;transport=udp;ob SIP/2.0",
			"Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=OURS",
			"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKabc;received=198.51.100.1;rport=1024 , SIP/2.0/UDP inside.example;branch=z9hG4bK1",
			"Record-Route: <sip:192.0.2.1:5060;lr>",
			"Max-Forwards: 19",
			"X-First: 1",
			"f: \"Studio, 1\" <sip:45675001@sip.example.org>;tag=1",
			"t: <sip:45675002@sip.example.org>",
			"i: call-1",
			"CSeq: 7 INVITE",
			`Authorization: Digest username="a", realm="elsewhere", nonce="n", uri="sip:x", response="00000000000000000000000000000000"`,
			"Record-Route: <sip:site.example;lr>",
			"m: <sip:a@10.0.0.1>",
			"Supported: 100rel,timer",
			"X-Folded: one    two",
			"x-LAST: spaced",
			"c: application/sdp",
			fmt.Sprintf("Content-Length: %d", len(body)),
			"",
			body}, "\r\n"))

		c.send(strings.Join([]string{
			"SIP/2.0 183 Bonjour \xc3\xa0 tous",
			"X-First: 1",
			"v: " + m.lines("Via")[0] + ", " + m.lines("Via")[1],
			"Record-Route: <sip:192.0.2.1:5060;lr>, <sip:site.example;lr>",
			"From: \"Studio, 1\" <sip:45675001@sip.example.org>;tag=1",
			"To: <sip:45675002@sip.example.org>;tag=2",
			"Call-ID: call-1",
			"CSeq: 7 INVITE",
			"RSeq: 1",
			"P-Asserted-Identity: <sip:45675002@sip.example.org>",
			"",
			body}, "\r\n"))
		b.want("what the caller gets", a.gets("183").text, strings.Join([]string{
			"SIP/2.0 183 Bonjour \xc3\xa0 tous",
			"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKabc;received=198.51.100.1;rport=1024 , SIP/2.0/UDP inside.example;branch=z9hG4bK1",
			"X-First: 1",
			"Record-Route: <sip:192.0.2.1:5060;lr>, <sip:site.example;lr>",
			"From: \"Studio, 1\" <sip:45675001@sip.example.org>;tag=1",
			"To: <sip:45675002@sip.example.org>;tag=2",
			"Call-ID: call-1",
			"CSeq: 7 INVITE",
			"RSeq: 1",
			"P-Asserted-Identity: <sip:45675002@sip.example.org>",
			fmt.Sprintf("Content-Length: %d", len(body)),
			"",
			body}, "\r\n"))
		c.respond(m, 486)
		b.settle()
		a.gets("486")
		a.send(strings.Replace(strings.Join([]string{
			"ACK sip:45675002@sip.example.org SIP/2.0", "Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKabc",
			"From: <sip:45675001@sip.example.org>;tag=1", "To: <sip:45675002@sip.example.org>;tag=2", "Call-ID: call-1", "CSeq: 7 ACK", "", ""}, "\r\n"), "\n\n", "\n", 1))
		c.gets("ACK")
	})
}

// Record-Route keeps us in the dialog's path: one per line, and one for each side where transport or address differ.
func TestRecordRoute(t *testing.T) {
	for _, row := range []struct{ name, caller, callee, want string }{
		{"both over UDP at one address", "udp 198.51.100.1:5060", "udp 203.0.113.2:5060", "<sip:192.0.2.1:5060;lr>"},
		{"both over TCP", "tcp 198.51.100.1:40000 #1", "tcp 203.0.113.2:40000 #2", "<sip:192.0.2.1:5060;transport=tcp;lr>"},
		{"from UDP to TCP", "udp 198.51.100.1:5060", "tcp 203.0.113.2:40000 #2", "<sip:192.0.2.1:5060;transport=tcp;lr> | <sip:192.0.2.1:5060;lr>"},
		{"from TCP to UDP", "tcp 198.51.100.1:40000 #1", "udp 203.0.113.2:5060", "<sip:192.0.2.1:5060;lr> | <sip:192.0.2.1:5060;transport=tcp;lr>"},
		{"from one of our ports to another", "udp 198.51.100.1:5060 @192.0.2.1:5070", "udp 203.0.113.2:5060", "<sip:192.0.2.1:5060;lr> | <sip:192.0.2.1:5070;lr>"},
		{"from IPv4 to IPv6", "udp 198.51.100.1:5060", "udp [2001:db8::9]:5060 @[2001:db8::1]:5060", "<sip:[2001:db8::1]:5060;lr> | <sip:192.0.2.1:5060;lr>"},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a, c := b.registered("45675001", row.caller), b.registered("45675002", row.callee)
				d := b.call(a, c)
				b.want("Record-Route", strings.Join(d.routes[callee], " | "), row.want)
				// And with these route sets everything finds its way, and leaves us out of it.
				for side := range 2 {
					d.exchanges(side, "INVITE", offer)
					if m := d.does(side, "ACK"); m.line("Route") != "" || string(m.URI) != d.target[1-side] {
						t.Errorf("the ACK is\n%s", m.text)
					}
					m := d.does(side, "INFO")
					if m.line("Route") != "" || m.line("Record-Route") != "" || string(m.URI) != d.target[1-side] {
						t.Errorf("the INFO is\n%s", m.text)
					}
					if via := m.lines("Via")[0]; !strings.HasPrefix(via, fmt.Sprintf("SIP/2.0/%s %s;rport;branch=z9hG4bK", d.ends[1-side].flow.Proto, d.ends[1-side].flow.Local)) {
						t.Errorf("the Via is %s", via)
					}
					d.ends[1-side].respond(m, 200)
					d.ends[side].gets("200")
				}
				d.hangUp(callee)
			})
		})
	}
}

// RFC 3327: what stands between us and the agent becomes the Route, and the request goes where the REGISTER came from.
func TestPath(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.agent("45675002", "udp 203.0.113.2:5060")
		c.contact = "sip:45675002@10.0.0.2"
		c.registers("To: <sip:45675002@sip.example.org>", "Contact: <sip:45675002@10.0.0.2>", "Supported: path", "Path: <sip:203.0.113.2;lr>, <sip:inner.example;lr>;x=y")
		a.invites("45675002", offer)
		m := c.gets("INVITE")
		b.want("Route", m.line("Route"), "<sip:203.0.113.2;lr>, <sip:inner.example;lr>;x=y")
		b.want("Request-URI", string(m.URI), "sip:45675002@10.0.0.2")
		// The site's proxy stays in the path, and is in the route of what we send and pass on.
		rr := []string{"Record-Route: <sip:203.0.113.2;lr>", "Record-Route: <sip:192.0.2.1:5060;lr>"}
		m.text = strings.Replace(m.text, "Record-Route:", rr[0]+"\r\nRecord-Route:", 1)
		m.Parse([]byte(m.text))
		c.respond(m, 200, answer)
		b.settle()
		d := b.dialog(a, c, m, a.gets("200"))
		b.want("Route of the ACK", d.does(caller, "ACK").line("Route"), "<sip:203.0.113.2;lr>")
		m = d.does(caller, "INFO")
		b.want("Route of what passes", m.line("Route"), "<sip:203.0.113.2;lr>")
		c.respond(m, 200)
		a.gets("200")
		b.calls.End(b.record().ID, "ended by the operator")
		b.settle()
		bye := c.gets("BYE")
		b.want("Route of our own", bye.line("Route"), "<sip:203.0.113.2;lr>")
		c.respond(bye, 200)
		a.respond(a.gets("BYE"), 200)
	})
}

// A request over 1,300 bytes takes the connection that its agent has; without one it goes out over UDP.
func TestLargeRequests(t *testing.T) {
	large := strings.Replace(offer, "m=", "a="+strings.Repeat("x", 2000)+"\r\nm=", 1)
	run(t, func(b *bench) {
		a := b.registered("45675001", "udp 203.0.113.2:5061") // behind the same NAT, with a connection of its own
		b.registered("45675001", "tcp 203.0.113.2:40001 #1", ";q=0.1")
		c := b.agent("45675002", "udp 203.0.113.2:5060")
		instance := `;+sip.instance="<urn:uuid:1>";reg-id=`
		c.register(instance + "1")
		a.invites("45675002", large)
		c.respond(c.gets("INVITE"), 486)
		b.settle()
		a.gets("486")
		c.gets("ACK")

		stream := b.agent("45675002", "tcp 203.0.113.2:40000 #2")
		stream.contact = "sip:45675002@203.0.113.2:5060;transport=tcp"
		stream.register(instance + "2;q=0.5")
		a.invites("45675002", large)
		m := stream.gets("INVITE")
		b.want("Via", strings.SplitN(m.line("Via"), ";", 2)[0], "SIP/2.0/TCP 192.0.2.1:5060")
		b.want("Record-Route", m.line("Record-Route"), "<sip:192.0.2.1:5060;transport=tcp;lr> | <sip:192.0.2.1:5060;lr>")
		stream.respond(m, 486)
		b.settle()
		a.gets("486")
		stream.gets("ACK")

		// In a dialog over UDP too, and it is the receiver's connection.
		a.invites("45675002", offer)
		d := b.answer(a, c)
		a.send(d.request(caller, "INVITE", large))
		a.gets("100")
		again := stream.gets("INVITE")
		stream.respond(again, 488)
		a.gets("488")
		stream.gets("ACK")
		d.hangUp(caller)
	})
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 203.0.113.2:5061"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		m := d.does(caller, "INVITE", large)
		b.want("the flow", m.flow.Proto.String(), "UDP")
		c.respond(m, 488)
		a.gets("488")
		c.gets("ACK")
		d.hangUp(caller)
	})
}
