package registrar

import (
	"strings"
	"testing"
	"time"
)

// One account, one agent: the newest has it, and a device is never taken for a second one.
func TestDevice(t *testing.T) {
	const (
		contact = "Contact: <sip:a@192.168.1.10:5060>"
		studioA = "udp 198.51.100.7:5060"
		portA   = "udp 198.51.100.7:31000"
		studioB = "udp 203.0.113.9:5060"
	)
	tests := []struct {
		sentence string
		turns    []turn
		takeover int
		bound    string
	}{
		{"another device takes the account over", []turn{
			{from: studioA, lines: do(contact)},
			{from: studioB, lines: do("Call-ID: two", "User-Agent: Phone/2", "Contact: <sip:b@10.0.0.1>"), want: "200\nContact: <sip:b@10.0.0.1>;expires=300"},
		}, 1, "sip:b@10.0.0.1 via udp 203.0.113.9:5060 unproven 5m0s"},
		{"all contacts of the other device go", []turn{
			{from: studioA, lines: do("Contact: <sip:a@10.0.0.7>, <sip:c@10.0.0.7>")},
			{from: studioB, lines: do("Call-ID: two", "Contact: <sip:b@10.0.0.1>"), want: "200\nContact: <sip:b@10.0.0.1>;expires=300"},
		}, 1, "sip:b@10.0.0.1 via udp 203.0.113.9:5060 unproven 5m0s"},
		{"the same model with the same settings in another studio is another device", []turn{
			{from: studioA, lines: do(contact)},
			{from: studioB, lines: do("Call-ID: two", contact)},
		}, 1, "sip:a@192.168.1.10:5060 via udp 203.0.113.9:5060 unproven 5m0s"},
		{"the same device after a restart, behind a NAT that gives it a new port", []turn{
			{from: studioA, lines: do(contact)},
			{from: portA, lines: do("Call-ID: two", contact)},
		}, 0, "sip:a@192.168.1.10:5060 via udp 198.51.100.7:31000 unproven 5m0s"},
		{"another product at the same address is another device", []turn{
			{from: studioA, lines: do(contact)},
			{from: portA, lines: do("Call-ID: two", "User-Agent: Phone/2", contact)},
		}, 1, "sip:a@192.168.1.10:5060 via udp 198.51.100.7:31000 unproven 5m0s"},
		{"the same Call-ID from another network is the same device, and its old place is left", []turn{
			{from: studioA, lines: do(contact)},
			{from: studioB, lines: do("CSeq: 2 REGISTER", "Contact: <sip:a@100.64.0.9:5060>"), want: "200\nContact: <sip:a@100.64.0.9:5060>;expires=300"},
		}, 0, "sip:a@100.64.0.9:5060 via udp 203.0.113.9:5060 unproven 5m0s"},
		{"the same instance from another network with another Call-ID is the same device", []turn{
			{from: studioA, lines: do(contact + `;+sip.instance="<urn:uuid:1>"`)},
			{from: studioB, lines: do("Call-ID: two", `Contact: <sip:a@100.64.0.9:5060>;+sip.instance="<urn:uuid:1>"`)},
		}, 0, "sip:a@100.64.0.9:5060 via udp 203.0.113.9:5060 unproven 5m0s"},
		{"another instance is another device, even with the same Call-ID", []turn{
			{from: studioA, lines: do(contact + `;+sip.instance="<urn:uuid:1>"`)},
			{from: studioA, lines: do("CSeq: 2 REGISTER", `Contact: <sip:b@192.168.1.10:5060>;+sip.instance="<urn:uuid:2>"`)},
		}, 1, "sip:b@192.168.1.10:5060 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a connection that was opened anew replaces the old one", []turn{
			{from: "tcp 198.51.100.7:40000 #1", lines: do("Contact: <sip:a@192.168.1.10:40000;transport=tcp>")},
			{from: "tcp 198.51.100.7:40001 #2", lines: do("CSeq: 2 REGISTER", "Contact: <sip:a@192.168.1.10:40001;transport=tcp>")},
		}, 0, "sip:a@192.168.1.10:40001;transport=tcp via tcp 198.51.100.7:40001 unproven 5m0s"},
		{"who only signs off takes nothing over", []turn{
			{from: studioA, lines: do(contact)},
			{from: studioB, lines: do("Call-ID: two", "Contact: <sip:b@10.0.0.1>;expires=0"), want: "200\nContact: <sip:a@192.168.1.10:5060>;expires=300"},
		}, 0, "sip:a@192.168.1.10:5060 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"who asks takes nothing over", []turn{
			{from: studioA, lines: do(contact)},
			{from: studioB, lines: do("Call-ID: two"), want: "200\nContact: <sip:a@192.168.1.10:5060>;expires=300"},
		}, 0, "sip:a@192.168.1.10:5060 via udp 198.51.100.7:5060 unproven 5m0s"},
		{"a device whose binding has run out is not taken over", []turn{
			{from: studioA, lines: do(contact + ";expires=60")},
			{from: studioB, wait: time.Minute, lines: do("Call-ID: two", "Contact: <sip:b@10.0.0.1>")},
		}, 0, "sip:b@10.0.0.1 via udp 203.0.113.9:5060 unproven 5m0s"},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				b.turns(test.turns)
				b.want(b.lookup(alice), test.bound)
				if n := strings.Count(b.log.String(), "msg=takeover"); n != test.takeover {
					b.Errorf("%d takeovers in the log, want %d\n%s", n, test.takeover, b.log)
				}
				if n := int(b.r.count.takeovers.Load()); n != test.takeover {
					b.Errorf("%d takeovers counted, want %d", n, test.takeover)
				}
				if rows := len(b.store.stored()); rows < 1 || rows > 2 {
					b.Errorf("%d rows stored", rows)
				}
			})
		})
	}
}

func TestTakeoverNamesBothDevices(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register("udp 198.51.100.7:5060", alice, "User-Agent: Codec/1", "Contact: <sip:a@10.0.0.7>")
		b.sleep(time.Minute)
		b.register("udp 203.0.113.9:5060", alice, "Call-ID: two", "User-Agent: Evil\x1b[2J\xe2\x80\xaePhone/2", "Contact: <sip:b@10.0.0.1>")
		for _, part := range []string{`agent=Evil[2JPhone/2 source=203.0.113.9:5060`, `old_agent=Codec/1 old_source=198.51.100.7:5060 old_since=`} {
			if !strings.Contains(b.log.String(), part) {
				b.Errorf("the log lacks %q:\n%s", part, b.log)
			}
		}
	})
}

func TestFresh(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Contact: <sip:a@10.0.0.7>")
		b.register(home, alice, "CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>")
		b.register("udp 198.51.100.7:9999", alice, "CSeq: 3 REGISTER", "Contact: <sip:a@10.0.0.7>")
		b.register(home, alice, "CSeq: 4 REGISTER")
		b.register(home, alice, "CSeq: 5 REGISTER", "Contact: <sip:a@10.0.0.7>;expires=0")
		b.want(strings.Join(b.fresh, ", "), "45675001 fresh=true, 45675001 fresh=false, 45675001 fresh=true")
	})
}
