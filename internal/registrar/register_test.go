package registrar

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	alice = "45675001"
	home  = "udp 198.51.100.7:5060"
)

// turn is one REGISTER and the answer that it gets.
type turn struct {
	from  string // "" is home
	lines []string
	wait  time.Duration // before it
	want  string
}

func do(lines ...string) []string { return lines }

func TestRegister(t *testing.T) {
	tests := []struct {
		sentence string
		turns    []turn
		bound    string // afterwards
	}{
		{"a contact without a period gets the default one", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7:5060>"), want: "200\nContact: <sip:a@10.0.0.7:5060>;expires=300"},
		}, "sip:a@10.0.0.7:5060 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"the contact's own period counts before the header's", []turn{
			{lines: do("Expires: 600", "Contact: <sip:a@10.0.0.7>;expires=120"), want: "200\nContact: <sip:a@10.0.0.7>;expires=120"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 2m0s"},
		{"the Expires header counts where the contact has none", []turn{
			{lines: do("Expires: 600", "Contact: sip:a@10.0.0.7"), want: "200\nContact: <sip:a@10.0.0.7>;expires=600"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 10m0s"},
		{"a period above the longest is shortened", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>;expires=99999999999"), want: "200\nContact: <sip:a@10.0.0.7>;expires=3600"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 1h0m0s"},
		{"a malformed period is an hour", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>;expires=soon"), want: "200\nContact: <sip:a@10.0.0.7>;expires=3600"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 1h0m0s"},
		{"a period below the shortest is refused with the shortest", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>;expires=59"), want: "423\nMin-Expires: 60"},
		}, ""},
		{"a query lists the bindings with what is left of them", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>;q=0.7, <sip:b@10.0.0.7>;expires=60")},
			{wait: 10 * time.Second, lines: do("CSeq: 2 REGISTER"), want: "200\nContact: <sip:a@10.0.0.7>;expires=290;q=0.700\nContact: <sip:b@10.0.0.7>;expires=50"},
		}, "sip:b@10.0.0.7 via udp 198.51.100.7:5060 unproven 50s\nsip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 4m50s"},
		{"a query without bindings lists nothing", []turn{{want: "200"}}, ""},
		{"a contact of period 0 is removed and the others stay", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>, <sip:b@10.0.0.7>")},
			{lines: do("CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>;expires=0"), want: "200\nContact: <sip:b@10.0.0.7>;expires=300"},
		}, "sip:b@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"removing what is not there succeeds", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>;expires=0"), want: "200"},
		}, ""},
		{"contacts registered one by one from one place add up", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>")},
			{lines: do("CSeq: 2 REGISTER", "Contact: <sip:b@10.0.0.7>"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300\nContact: <sip:b@10.0.0.7>;expires=300"},
		}, "sip:b@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s\nsip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"star with Expires 0 removes all", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>, <sip:b@10.0.0.7>")},
			{lines: do("CSeq: 2 REGISTER", "Expires: 0", "Contact: *"), want: "200"},
		}, ""},
		{"star from another Call-ID removes all too", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>", "CSeq: 7 REGISTER")},
			{lines: do("Call-ID: two", "Expires: 0", "Contact: *"), want: "200"},
		}, ""},
		{"star without Expires is refused", []turn{{lines: do("Contact: *"), want: "400"}}, ""},
		{"star with another period is refused", []turn{{lines: do("Contact: *", "Expires: 60"), want: "400"}}, ""},
		{"star beside a contact is refused", []turn{
			{lines: do("Expires: 0", "Contact: *, <sip:a@10.0.0.7>"), want: "400"},
			{lines: do("Expires: 0", "Contact: <sip:a@10.0.0.7>", "Contact: *"), want: "400"},
		}, ""},
		{"star with an old CSeq of the same Call-ID is refused", []turn{
			{lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>")},
			{lines: do("CSeq: 5 REGISTER", "Expires: 0", "Contact: *"), want: "500"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a lower CSeq of the same Call-ID is refused", []turn{
			{lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>")},
			{lines: do("CSeq: 4 REGISTER", "Contact: <sip:a@10.0.0.7>;expires=600"), want: "500"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"the same CSeq with another intention is refused", []turn{
			{lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>")},
			{lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>;expires=0"), want: "500"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a retransmission after its transaction is answered as before and changes nothing", []turn{
			{lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300"},
			{wait: 40 * time.Second, lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>"), want: "200\nContact: <sip:a@10.0.0.7>;expires=260"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 4m20s"},
		{"one contact out of order aborts the whole request", []turn{
			{lines: do("CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>")},
			{lines: do("CSeq: 4 REGISTER", "Contact: <sip:b@10.0.0.7>, <sip:a@10.0.0.7>"), want: "500"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"one contact too brief aborts the whole request", []turn{
			{lines: do("Contact: <sip:b@10.0.0.7>, <sip:a@10.0.0.7>;expires=5"), want: "423\nMin-Expires: 60"},
		}, ""},
		{"a contact named twice in one request is one binding", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>, <sip:a@10.0.0.7>"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a URI that is equal by RFC 3261 19.1.4 is the same binding", []turn{
			{lines: do("Contact: <sip:%61lice@HOST.example.net;transport=udp;x=1>")},
			{lines: do("CSeq: 2 REGISTER", "Contact: <sip:alice@host.example.net;Transport=UDP>;expires=60"), want: "200\nContact: <sip:alice@host.example.net;Transport=UDP>;expires=60"},
		}, "sip:alice@host.example.net;Transport=UDP via udp 198.51.100.7:5060 unproven 1m0s"},
		{"a URI of another port is another binding", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>")},
			{lines: do("CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7:5060>;expires=60"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300\nContact: <sip:a@10.0.0.7:5060>;expires=60"},
		}, "sip:a@10.0.0.7:5060 via udp 198.51.100.7:5060 unproven 1m0s\nsip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a binding that has run out is not listed", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>;expires=60")},
			{wait: time.Minute, lines: do("CSeq: 2 REGISTER"), want: "200"},
		}, ""},
		{"To of another number is refused", []turn{
			{lines: do("To: <sip:45675002@sip.example.org>", "Contact: <sip:a@10.0.0.7>"), want: "403"},
		}, ""},
		{"To with escapes is the same number", []turn{
			{lines: do("To: <sip:4567500%31@sip.example.org>", "Contact: <sip:a@10.0.0.7>"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"an unknown extension that is required is refused by name", []turn{
			{lines: do("Require: path, gruu", "Require: x-new", "Contact: <sip:a@10.0.0.7>"), want: "420\nUnsupported: gruu, x-new"},
		}, ""},
		{"an escaped header in a Contact is kept (RFC 4475 3.1.1.12)", []turn{
			{lines: do("Contact: <sip:a@example.com?Route=%3Csip:sip.example.com%3E>"), want: "200\nContact: <sip:a@example.com?Route=%3Csip:sip.example.com%3E>;expires=300"},
		}, "sip:a@example.com?Route=%3Csip:sip.example.com%3E via udp 198.51.100.7:5060 unproven 5m0s"},
		{"eleven contacts are too many", []turn{
			{lines: do("Contact: <sip:1@10.0.0.7>,<sip:2@10.0.0.7>,<sip:3@10.0.0.7>,<sip:4@10.0.0.7>,<sip:5@10.0.0.7>,<sip:6@10.0.0.7>,<sip:7@10.0.0.7>,<sip:8@10.0.0.7>,<sip:9@10.0.0.7>,<sip:10@10.0.0.7>,<sip:11@10.0.0.7>"), want: "403"},
		}, ""},
		{"the eleventh contact one by one is too many", []turn{
			{lines: do("Contact: <sip:1@10.0.0.7>,<sip:2@10.0.0.7>,<sip:3@10.0.0.7>,<sip:4@10.0.0.7>,<sip:5@10.0.0.7>,<sip:6@10.0.0.7>,<sip:7@10.0.0.7>,<sip:8@10.0.0.7>,<sip:9@10.0.0.7>")},
			{lines: do("CSeq: 2 REGISTER", "Contact: <sip:10@10.0.0.7>,<sip:11@10.0.0.7>"), want: "403"},
			{lines: do("CSeq: 3 REGISTER", "Expires: 0", "Contact: *"), want: "200"},
		}, ""},
		{"a Contact that is too long is refused", []turn{
			{lines: do("Contact: <sip:" + strings.Repeat("a", 510) + "@10.0.0.7>"), want: "403"},
		}, ""},
		{"a Contact that is no address is refused", []turn{
			{lines: do("Contact: <sip:a b@10.0.0.7>"), want: "400"},
			{lines: do("Contact: <sip:a@>"), want: "400"},
			{lines: do("Contact: <tel:123>"), want: "403"},
			{lines: do("Contact: <sip:a@10.0.0.7>;q=2"), want: "400"},
		}, ""},
		{"the granted period is told of an old binding too when another is refreshed", []turn{
			{lines: do("Contact: <sip:a@10.0.0.7>, <sip:b@10.0.0.7>")},
			{wait: 100 * time.Second, lines: do("CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300\nContact: <sip:b@10.0.0.7>;expires=200"},
		}, "sip:b@10.0.0.7 via udp 198.51.100.7:5060 unproven 3m20s\nsip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				b.turns(test.turns)
				b.want(b.lookup(alice), test.bound)
				if n := strings.Count(test.bound, " via "); n > 0 && b.r.Bindings() != n {
					b.Errorf("%d bindings counted, want %d", b.r.Bindings(), n)
				}
			})
		})
	}
}

func (b *bench) turns(turns []turn) {
	b.Helper()
	for i, turn := range turns {
		if turn.from == "" {
			turn.from = home
		}
		b.sleep(turn.wait)
		a := b.send(turn.from, alice, turn.lines...)
		synctest.Wait()
		for range 5 {
			if status, _ := a.get(); status != 0 {
				break
			}
			b.sleep(pace / 2)
		}
		if got := short(a); turn.want != "" && got != turn.want {
			b.Errorf("turn %d: got\n%s\nwant\n%s", i+1, got, turn.want)
		}
	}
}

func TestAnswerIsWhole(t *testing.T) {
	onBench(t, func(b *bench) {
		a := b.send(home, alice, "Via: SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK7;rport", "Contact: <sip:a@10.0.0.7>",
			"Supported: path, outbound", "Path: <sip:198.51.100.7;lr>")
		synctest.Wait()
		_, got := a.get()
		tag := got[strings.Index(got, "org>;tag=")+len("org>;tag="):]
		tag = tag[strings.Index(tag, "org>;tag=")+len("org>;tag="):] // the second one: To
		tag = tag[:12]
		b.want(strings.ReplaceAll(got, "\r\n", "\n"), `SIP/2.0 200 OK
Via: SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK7;received=198.51.100.7;rport=5060
From: <sip:45675001@sip.example.org>;tag=a
To: <sip:45675001@sip.example.org>;tag=`+tag+`
Call-ID: one@198.51.100.7
CSeq: 1 REGISTER
Contact: <sip:a@10.0.0.7>;expires=300
Path: <sip:198.51.100.7;lr>
Date: Sat, 01 Jan 2000 00:00:00 GMT
Content-Length: 0

`)
	})
}

func TestContactsThatNoAgentHas(t *testing.T) {
	tests := []struct{ sentence, from, contact, want string }{
		{"our own address", home, "<sip:a@192.0.2.1>", "403"},
		{"our own name", home, "<sip:a@sip.example.org:5060>", "403"},
		{"another port of our address is an agent beside us", home, "<sip:a@192.0.2.1:6000>", "200"},
		{"broadcast", home, "<sip:a@255.255.255.255>", "403"},
		{"reserved", home, "<sip:a@240.0.0.1>", "403"},
		{"multicast", home, "<sip:a@224.0.1.75>", "403"},
		{"IPv6 multicast", home, "<sip:a@[ff02::1]>", "403"},
		{"0.0.0.0", home, "<sip:a@0.0.0.0>", "403"},
		{"this network", home, "<sip:a@0.1.2.3>", "403"},
		{"IPv6 unspecified", home, "<sip:a@[::]>", "403"},
		{"link-local", home, "<sip:a@169.254.7.7>", "403"},
		{"IPv6 link-local", home, "<sip:a@[fe80::1]>", "403"},
		{"metadata service", home, "<sip:a@169.254.169.254>", "403"},
		{"metadata service by IPv6", home, "<sip:a@[fd00:ec2::254]>", "403"},
		{"loopback from elsewhere", home, "<sip:a@127.0.0.1>", "403"},
		{"loopback by name from elsewhere", home, "<sip:a@LocalHost>", "403"},
		{"mapped loopback from elsewhere", home, "<sip:a@[::ffff:127.0.0.1]>", "403"},
		{"loopback as a number", home, "<sip:a@2130706433>", "400"},
		{"loopback from loopback", "udp 127.0.0.1:5070", "<sip:a@127.0.0.1:5070>", "200"},
		{"a private address behind NAT", home, "<sip:a@192.168.1.7>", "200"},
		{"a name", home, "<sip:a@codec.studio.example>", "200"},
		{"an invalid name, as RFC 7118 has it", home, "<sip:a@df7jal23ls0d.invalid;transport=ws>", "200"},
		{"a forbidden one may be removed", home, "<sip:a@0.0.0.0>;expires=0", "200"},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				got, _, _ := strings.Cut(b.register(test.from, alice, "Contact: "+test.contact), "\n")
				b.want(got, test.want)
			})
		})
	}
}

func TestPath(t *testing.T) {
	const contact = "Contact: <sip:a@10.0.0.7>"
	tests := []struct {
		sentence string
		lines    []string
		want     string
		path     string
	}{
		{"is stored in order and echoed", do(contact, "Supported: path", "Path: <sip:198.51.100.7;lr>,<sip:edge@10.0.0.1;lr;ob>", "Path: <sip:10.0.0.2;lr>;x=1"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300\nPath: <sip:198.51.100.7;lr>, <sip:edge@10.0.0.1;lr;ob>, <sip:10.0.0.2;lr>;x=1",
			"<sip:198.51.100.7;lr>, <sip:edge@10.0.0.1;lr;ob>, <sip:10.0.0.2;lr>;x=1"},
		{"counts with Require: path too", do(contact, "Require: path", "Path: <sip:198.51.100.7;lr>"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300\nPath: <sip:198.51.100.7;lr>", "<sip:198.51.100.7;lr>"},
		{"is refused when the agent does not know it", do(contact, "Path: <sip:198.51.100.7;lr>"), "420\nUnsupported: path", ""},
		{"is refused when its first hop is not who sent it", do(contact, "Supported: path", "Path: <sip:203.0.113.9;lr>"), "403", ""},
		{"may begin with a name", do(contact, "Supported: path", "Path: <sip:sbc.studio.example;lr>"),
			"200\nContact: <sip:a@10.0.0.7>;expires=300\nPath: <sip:sbc.studio.example;lr>", "<sip:sbc.studio.example;lr>"},
		{"is refused without loose routing", do(contact, "Supported: path", "Path: <sip:198.51.100.7>"), "400", ""},
		{"is refused when it is no address", do(contact, "Supported: path", "Path: nonsense"), "400", ""},
		{"is bounded in hops", do(contact, "Supported: path", "Path: "+strings.Repeat("<sip:198.51.100.7;lr>,", 9)), "403", ""},
		{"is bounded in size", do(contact, "Supported: path", "Path: <sip:"+strings.Repeat("a", 1100)+"@198.51.100.7;lr>"), "403", ""},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				b.want(b.register(home, alice, test.lines...), test.want)
				path := ""
				for _, x := range b.r.Lookup(alice, nil) {
					path = x.Path
				}
				b.want(path, test.path)
			})
		})
	}
}

func TestOutbound(t *testing.T) {
	const one = `Contact: <sip:a@10.0.0.7>;reg-id=1;+sip.instance="<urn:uuid:1>"`
	const second = "udp 203.0.113.50:5060"
	tests := []struct {
		sentence string
		turns    []turn
		bound    string
	}{
		{"the answer requires what it used", []turn{
			{lines: do("Supported: outbound", one), want: "200\n" + `Contact: <sip:a@10.0.0.7>;expires=300;+sip.instance="<urn:uuid:1>";reg-id=1` + "\nRequire: outbound"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"the same instance and reg-id replaces, whatever its URI and Call-ID", []turn{
			{lines: do("Supported: outbound", one)},
			{from: second, lines: do("Supported: outbound", "Call-ID: two", `Contact: <sip:b@10.9.9.9>;reg-id=1;+sip.instance="<urn:uuid:1>"`),
				want: "200\n" + `Contact: <sip:b@10.9.9.9>;expires=300;+sip.instance="<urn:uuid:1>";reg-id=1` + "\nRequire: outbound"},
		}, "sip:b@10.9.9.9 via udp 203.0.113.50:5060 unproven 5m0s"},
		{"another reg-id is another flow of the same device", []turn{
			{lines: do("Supported: outbound", one)},
			{from: second, lines: do("Supported: outbound", "Call-ID: two", `Contact: <sip:a@10.0.0.7>;reg-id=2;+sip.instance="<urn:uuid:1>"`)},
		}, "sip:a@10.0.0.7 via udp 203.0.113.50:5060 unproven 5m0s\nsip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"reg-id without an instance is ignored", []turn{
			{lines: do("Supported: outbound", "Contact: <sip:a@10.0.0.7>;reg-id=1"), want: "200\nContact: <sip:a@10.0.0.7>;expires=300\nRequire: outbound"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"reg-id without Supported: outbound is ignored", []turn{
			{lines: do(one), want: "200\n" + `Contact: <sip:a@10.0.0.7>;expires=300;+sip.instance="<urn:uuid:1>"`},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a proxy between that does not know outbound is refused", []turn{
			{lines: do("Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK2, SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK1", "Supported: outbound, path", "Path: <sip:198.51.100.7;lr>", one), want: "439"},
			{lines: do("Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK2, SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK1", "Supported: outbound, path", one), want: "439"},
		}, ""},
		{"a proxy between that does is fine", []turn{
			{lines: do("Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK2, SIP/2.0/UDP 10.0.0.7;branch=z9hG4bK1", "Supported: outbound, path", "Path: <sip:198.51.100.7;lr;ob>", one),
				want: "200\n" + `Contact: <sip:a@10.0.0.7>;expires=300;+sip.instance="<urn:uuid:1>";reg-id=1` + "\nPath: <sip:198.51.100.7;lr;ob>\nRequire: outbound"},
		}, "sip:a@10.0.0.7 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"two contacts with reg-id in one request are refused", []turn{
			{lines: do("Supported: outbound", one, `Contact: <sip:b@10.0.0.7>;reg-id=2;+sip.instance="<urn:uuid:1>"`), want: "400"},
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				b.turns(test.turns)
				b.want(b.lookup(alice), test.bound)
			})
		})
	}
}
