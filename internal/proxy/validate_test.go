package proxy

import (
	"fmt"
	"strings"
	"testing"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// RFC 3261 16.3: what is refused before anybody is asked for a password, and without state.
func TestRequestsAreValidated(t *testing.T) {
	for _, row := range []struct {
		name, method, uri string
		lines             []string
		want              string
	}{
		{"a telephone number is no SIP URI", "INVITE", "tel:+33123456789", []string{"To: <tel:+33123456789>"}, "416"},
		{"there is no TLS here", "INVITE", "sips:45675002@sip.example.org", nil, "416"},
		{"a Request-URI without host", "INVITE", "sip:45675002@", []string{"To: <sip:x@y>"}, "400"},
		{"no hop is left", "INVITE", "sip:45675002@sip.example.org", []string{"Max-Forwards: 0"}, "483"},
		{"Max-Forwards is no number", "INVITE", "sip:45675002@sip.example.org", []string{"Max-Forwards: many"}, "400"},
		{"Max-Forwards is larger than can be", "INVITE", "sip:45675002@sip.example.org", []string{"Max-Forwards: 256"}, "400"},
		{"an extension that we do not know", "INVITE", "sip:45675002@sip.example.org", []string{"Proxy-Require: foo, bar", "Proxy-Require: baz"}, "420"},
		{"a Route that is no address", "INVITE", "sip:45675002@sip.example.org", []string{"Route: <sip:a"}, "400"},
		{"no hop is left, and none is needed", "OPTIONS", "sip:sip.example.org", []string{"Max-Forwards: 0"}, "200"},
		{"nor to register", "REGISTER", "sip:sip.example.org", []string{"Max-Forwards: 0"}, "401"},
		{"a call to nobody", "INVITE", "sip:sip.example.org", nil, "405"},
		{"the service knows no MESSAGE", "MESSAGE", "sip:sip.example.org", nil, "405"},
		{"a request in a dialog that nobody knows", "INFO", "sip:45675002@sip.example.org", []string{"To: <sip:45675002@sip.example.org>;tag=x"}, "481"},
		{"one to the service", "OPTIONS", "sip:sip.example.org", []string{"To: <sip:sip.example.org>;tag=x"}, "481"},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				a := b.agent("45675001", "udp 198.51.100.1:5060")
				a.send(a.request(row.method, row.uri, row.lines...))
				m := a.gets(row.want)
				if row.want == "420" {
					b.want("Unsupported", m.line("Unsupported"), "foo, bar, baz")
				}
				if m.To.Tag() == nil {
					t.Errorf("no To tag in\n%s", m.text)
				}
				b.shard.Post(func() {
					if servers, _, timers := b.shard.Open(); servers != 0 || timers != 0 {
						t.Errorf("%d transactions, %d timers", servers, timers)
					}
				})
			})
		})
	}
}

func TestOptionsToUsTellWhatWeCan(t *testing.T) {
	run(t, func(b *bench) {
		a := b.agent("45675001", "udp 198.51.100.1:5060")
		a.send(a.request("OPTIONS", "sip:192.0.2.1:5070"))
		m := a.gets("200")
		b.want("Allow", m.line("Allow"), allowed)
		b.want("Supported", m.line("Supported"), "path, outbound")
	})
}

// A request that comes back as it was goes round for ever (RFC 5393); one that comes back for somebody else does not.
func TestLoops(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		i := a.invites("45675002", offer)
		out := c.gets("INVITE")
		back := func(via []string, uri string) string {
			lines := []string{"From: " + out.line("From"), "To: " + out.line("To"), "Call-ID: " + out.line("Call-ID"), "CSeq: " + out.line("CSeq"), "Via:"}
			for _, v := range via {
				lines = append(lines, "Via: "+v)
			}
			return c.request("INVITE", uri, lines...)
		}
		hop := "SIP/2.0/UDP 203.0.113.2:5060;branch=z9hG4bKhop"
		vias := out.lines("Via")
		original := "sip:45675002@sip.example.org"
		for _, row := range []struct {
			name, uri string
			vias      []string
			want      string
		}{
			{"through another proxy", original, append([]string{hop}, vias...), "482"},
			{"straight back", original, vias, "482"},
			{"all Vias in one line", original, []string{hop + ", " + strings.Join(vias, ",")}, "482"},
			{"a spiral: for somebody else", "sip:45675003@sip.example.org", append([]string{hop}, vias...), "407"},
			{"a Via of somebody who writes branches as we do", original, []string{hop, strings.Replace(vias[0], "192.0.2.1", "192.0.2.9", 1), vias[1]}, "407"},
			{"a Via of ours from another request", original, []string{hop, vias[0][:len(vias[0])-1] + "x", vias[1]}, "407"},
		} {
			b.sendFrom(c.flow, back(row.vias, row.uri))
			got := ""
			switch {
			case len(c.inbox) == 1:
				got = c.starts()
			case len(b.lost) == 1: // the answer to a topmost Via of ours without rport goes to its port at the source
				got = fmt.Sprint(b.lost[0].Status)
				b.lost = nil
			}
			b.want(row.name, got, row.want)
		}
		c.respond(out, 486)
		b.settle()
		i.isRefused("486")
		c.gets("ACK")
	})
}

func TestMaxForwardsIsCountedDown(t *testing.T) {
	for _, row := range []struct{ name, line, want string }{
		{"one less", "Max-Forwards: 42", "41"},
		{"the last hop", "Max-Forwards: 1", "0"},
		{"none is added", "Max-Forwards:", "70"},
	} {
		run(t, func(b *bench) {
			a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
			uri := "sip:45675002@sip.example.org"
			a.send(a.request("OPTIONS", uri, a.credentials("OPTIONS", uri), row.line))
			m := c.gets("OPTIONS")
			b.want(row.name, m.line("Max-Forwards"), row.want)
			c.respond(m, 200)
			a.gets("200")
		})
	}
}

func TestNames(t *testing.T) {
	run(t, func(b *bench) {
		for uri, ours := range map[string]bool{
			"sip:x@sip.example.org":       true,
			"sip:x@SIP.EXAMPLE.ORG.":      true,
			"sip:x@radio.example:5099":    true, // a router in front may change the port
			"sip:x@192.0.2.1":             true,
			"sip:x@192.0.2.1:5070":        true,
			"sip:x@192.0.2.1:5071":        false, // somebody else on that machine
			"sip:x@[2001:db8::1]":         true,
			"sip:x@[2001:DB8:0:0::1]":     true,
			"sip:x@[2001:db8::2]":         false,
			"sip:x@127.0.0.1:5060":        true,
			"sip:x@127.0.0.1:5099":        false,
			"sip:x@example.org":           false,
			"sip:x@sip.example.org.evil":  false,
			"sip:x@192.0.2.10":            false,
			"tel:sip.example.org":         false,
			"sip:sip.example.org@example": false,
		} {
			u, err := sip.ParseURI([]byte(uri))
			if err != nil || b.proxy.Names.URI(&u) != ours {
				t.Errorf("%s: ours %v, %v", uri, !ours, err)
			}
		}
	})
}

func TestStraysGoNowhere(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		before := b.proxy.StrayResponse.Load()
		a.send(compose("SIP/2.0 200 OK", []string{
			"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK000000000000000000000000.00000000",
			"Via: SIP/2.0/UDP 203.0.113.2:5060;branch=z9hG4bKx", "From: <sip:a@b>;tag=1", "To: <sip:c@d>;tag=2", "Call-ID: 1", "CSeq: 1 INVITE"}, nil))
		a.send(a.request("ACK", "sip:45675002@sip.example.org", "To: <sip:45675002@sip.example.org>;tag=2"))
		a.send(a.request("ACK", c.contact, "Route: <sip:192.0.2.1;lr>"))
		a.send(a.request("ACK", c.contact, "Max-Forwards: 0"))
		a.getsNothing()
		c.getsNothing()
		if b.proxy.StrayResponse.Load() != before+1 || b.proxy.StrayAck.Load() != 3 || len(b.lost) != 0 {
			t.Errorf("%d stray responses, %d stray ACKs counted, %d messages sent", b.proxy.StrayResponse.Load()-before, b.proxy.StrayAck.Load(), len(b.lost))
		}
	})
}

// The ACK to a 407 is the end of that, not a stray.
func TestTheACKToAChallengeIsExpected(t *testing.T) {
	run(t, func(b *bench) {
		a := b.agent("45675001", "udp 198.51.100.1:5060")
		i := &invitation{a, a.request("INVITE", "sip:45675002@sip.example.org", offer)}
		a.send(i.text)
		i.isRefused("407")
		if n := b.proxy.StrayAck.Load(); n != 0 {
			t.Errorf("%d stray ACKs counted", n)
		}
	})
}

func TestPathReadsFlows(t *testing.T) {
	f := path("tcp 198.51.100.1:40000 #3 @192.0.2.1:5070")
	if f.Proto != transport.TCP || f.Conn != 3 || f.Local.Port() != 5070 || f.Remote.Port() != 40000 {
		t.Error(f)
	}
}
