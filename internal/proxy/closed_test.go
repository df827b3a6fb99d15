package proxy

import (
	"strings"
	"testing"
	"time"

	"liaison/internal/account"
)

// Callers prove who they are, with one 407 in between.
func TestCallersAreAskedForTheirPassword(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		uri := "sip:45675002@sip.example.org"
		a.send(a.request("INVITE", uri, "Call-ID: 1", offer))
		challenge := a.gets("407").line("Proxy-Authenticate")
		if !strings.HasPrefix(challenge, `Digest realm="liaison", nonce="`) {
			t.Errorf("challenged with %s", challenge)
		}
		c.getsNothing()
		if len(b.recorder.latest()) != 0 || b.table.Len() != 0 {
			t.Error("a stranger's INVITE left a call")
		}
		i := &invitation{a, a.request("INVITE", uri, "Call-ID: 1", "CSeq: 2 INVITE", "Proxy-Authorization: "+a.answers(challenge, "INVITE", uri), offer)}
		a.send(i.text)
		a.gets("100")
		c.respond(c.gets("INVITE"), 486)
		b.settle()
		i.isRefused("486")
		c.gets("ACK")
	})
}

func TestTheServiceIsClosed(t *testing.T) {
	for _, row := range []struct {
		name  string
		lines []string // instead of good credentials
		uri   string
		state func(*account.Account) // of the caller
		want  string
	}{
		{name: "no password", lines: []string{"Proxy-Authorization:"}, want: "407"},
		{name: "a wrong password", lines: []string{`Proxy-Authorization: Digest username="45675001", realm="liaison", nonce="x", uri="sip:x", response="00000000000000000000000000000000"`}, want: "407"},
		{name: "a locked account", state: func(a *account.Account) { a.Locked = true }, want: "403 Account Locked"},
		{name: "an account that has run out", state: func(a *account.Account) { a.ValidUntil = time.Unix(1, 0) }, want: "403 Account Expired"},
		{name: "in the name of another number", lines: []string{"From: <sip:45675003@sip.example.org>;tag=x"}, want: "403 Forbidden - From must be your own number"},
		{name: "in the name of nobody", lines: []string{`From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=x`}, want: "403 Forbidden - From must be your own number"},
		{name: "in the name of a telephone number", lines: []string{`From: <tel:45675001>;tag=x`}, want: "403 Forbidden - From must be your own number"},
		{name: "in one's own name, escaped", lines: []string{"From: <sip:%345675001@elsewhere.example>;tag=x"}, want: "200"},
		{name: "to somebody else's domain", uri: "sip:45675002@example.com", want: "403 Forbidden - this service reaches its own numbers only"},
		{name: "to another port of our machine", uri: "sip:45675002@192.0.2.1:5099", want: "403 Forbidden - this service reaches its own numbers only"},
		{name: "through us to a proxy elsewhere", lines: []string{"Route: <sip:192.0.2.1;lr>, <sip:198.51.100.99;lr>"}, want: "200"},
		{name: "to a number that there is not", uri: "sip:45675099@sip.example.org", want: "404 Not Found"},
		{name: "to a number that is not registered", uri: "sip:45675003@sip.example.org", want: "480 Temporarily Unavailable"},
		{name: "to a locked number", uri: "sip:45675004@sip.example.org", want: "480 Temporarily Unavailable"},
		{name: "by address", want: "200"},
		{name: "by short number", uri: "sip:5002@sip.example.org", want: "200"},
		{name: "by another of our names, in any case", uri: "sip:45675002@RADIO.example", want: "200"},
		{name: "by our address", uri: "sip:45675002@192.0.2.1", want: "200"},
		{name: "by our other address and port", uri: "sip:45675002@192.0.2.2:5070", want: "200"},
		{name: "by IPv6 address", uri: "sip:45675002@[2001:DB8::1]:5060", want: "200"},
		{name: "escaped", uri: "sip:%345675002@sip.example.org", want: "200"},
		{name: "with parameters", uri: "sip:45675002@sip.example.org;transport=udp;user=phone", want: "200"},
		{name: "the short number of another group", uri: "sip:0001@sip.example.org", want: "404 Not Found"},
	} {
		for _, method := range []string{"INVITE", "MESSAGE"} {
			t.Run(row.name+" "+method, func(t *testing.T) {
				run(t, func(b *bench) {
					b.account("45675004", func(a *account.Account) { a.Locked = true })
					a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
					other := b.registered("99990001", "udp 203.0.113.9:5060") // also ends in four digits that somebody may dial
					uri := row.uri
					if uri == "" {
						uri = "sip:45675002@sip.example.org"
					}
					credentials := a.credentials(method, uri)
					b.account("45675001", row.state)
					i := &invitation{a, a.request(method, uri, append([]string{credentials}, row.lines...)...)}
					if len(row.lines) > 0 && strings.HasPrefix(row.lines[0], "Proxy-Authorization:") {
						i.text = a.request(method, uri, row.lines...)
					}
					a.send(i.text)
					if row.want == "200" {
						m := c.gets(method)
						b.want("Request-URI", string(m.URI), c.contact)
						c.respond(m, 200)
						b.settle()
						if method == "INVITE" {
							a.gets("100")
							d := b.dialog(a, c, m, a.gets("200"))
							d.does(caller, "ACK")
							d.hangUp(caller)
						} else {
							a.gets("200")
						}
						return
					}
					b.settle()
					if len(a.inbox) > 1 {
						a.gets("100")
					}
					m := a.gets(row.want[:3])
					if len(row.want) > 3 {
						b.want("status line", m.start(), "SIP/2.0 "+row.want)
					}
					if method == "INVITE" {
						i.send(i.derived("ACK", m.line("To")))
					}
					c.getsNothing()
					other.getsNothing()
				})
			})
		}
	}
}

func TestCredentialsServeOnce(t *testing.T) {
	run(t, func(b *bench) {
		a := b.agent("45675001", "udp 198.51.100.1:5060")
		uri := "sip:45675002@sip.example.org"
		credentials := a.credentials("MESSAGE", uri)
		a.send(a.request("MESSAGE", uri, credentials))
		a.gets("480")
		a.send(a.request("MESSAGE", uri, credentials))
		if m := a.gets("407"); !strings.HasSuffix(m.line("Proxy-Authenticate"), "stale=true") {
			t.Error(m.text)
		}
	})
}

// What has no meaning outside a call is refused before anybody is asked for a password.
func TestMethodsOutsideADialog(t *testing.T) {
	for method, want := range map[string]string{
		"SUBSCRIBE": "405", "PUBLISH": "405", "NOTIFY": "481", "BYE": "481", "UPDATE": "481", "PRACK": "481",
		"MESSAGE": "407", "OPTIONS": "407", "INFO": "407", "REFER": "407", "UNHEARD-OF": "407",
	} {
		run(t, func(b *bench) {
			a, c := b.agent("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
			a.send(a.request(method, "sip:45675002@sip.example.org"))
			m := a.gets(want)
			if want == "405" {
				b.want("Allow", m.line("Allow"), allowed)
			}
			c.getsNothing()
		})
	}
}

func TestRegisterIsForOurNames(t *testing.T) {
	run(t, func(b *bench) {
		a := b.agent("45675001", "udp 198.51.100.1:5060")
		a.send(a.request("REGISTER", "sip:example.com"))
		a.gets("403")
		a.send(a.request("REGISTER", "sip:radio.example"))
		a.gets("401")
		if b.proxy.Foreign.Load() != 1 || b.proxy.Challenged.Load() != 1 {
			t.Error("not counted")
		}
	})
}

// The service's own number is always there, on a path inside the process.
func TestTheTestNumberNeedsNoRegistration(t *testing.T) {
	run(t, func(b *bench) {
		a, codec := b.agent("45675001", "udp 198.51.100.1:5060 @192.0.2.2:5070"), b.agent("15000", "link 192.0.2.2:5070")
		a.invites("15000", offer)
		m := codec.gets("INVITE")
		b.want("Request-URI", string(m.URI), "sip:15000@192.0.2.2:5070")
		if !strings.HasPrefix(m.line("Via"), "SIP/2.0/LINK 192.0.2.2:5070;") {
			t.Errorf("Via %s", m.line("Via"))
		}
		codec.respond(m, 200, answer)
		b.settle()
		d := b.dialog(a, codec, m, a.gets("200"))
		d.does(caller, "ACK")
		d.hangUp(callee)
		b.want("record", b.ended(), "200 hung up by callee")

		b.account("15000", func(a *account.Account) { a.Off = true })
		i := a.invites("15000", offer)
		b.settle()
		i.isRefused("480")
		codec.getsNothing()
	})
}

func TestDraining(t *testing.T) {
	run(t, func(b *bench) {
		a, c := b.registered("45675001", "udp 198.51.100.1:5060"), b.registered("45675002", "udp 203.0.113.2:5060")
		d := b.call(a, c)
		a.invites("45675002", offer)
		ringing := c.gets("INVITE")
		if n := b.proxy.Pending(); n != 1 {
			t.Errorf("%d calls wait for their answer", n)
		}
		b.proxy.Drain()
		late := a.invites("45675002", offer)
		b.want("Retry-After", late.isRefused("503").line("Retry-After"), "10")
		c.getsNothing()
		d.exchanges(callee, "INVITE", offer)
		d.does(callee, "ACK")
		b.recorder.set(100*time.Millisecond, nil)
		c.respond(ringing, 200, answer)
		if n := b.proxy.Pending(); n != 1 {
			t.Errorf("%d calls wait while the answer has not left", n)
		}
		b.sleep(time.Second)
		if n := b.proxy.Pending(); n != 0 {
			t.Errorf("%d calls wait for nothing", n)
		}
		e := b.dialog(a, c, ringing, a.gets("200"))
		e.does(caller, "ACK")
		b.recorder.set(0, nil)
		e.hangUp(callee)
		d.hangUp(caller)
	})
}
