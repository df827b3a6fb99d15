package stun

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSockets(t *testing.T) {
	for _, row := range []struct {
		name       string
		listen     string
		alternates []Alternate
		want       string
	}{
		{"one address of each family", ":3478 v4 and v6", nil, "0.0.0.0:3478 [::]:3478"},
		{"two addresses: every combination", a1p1, []Alternate{{Address: addr(a2p2)}},
			"192.0.2.1:3478 192.0.2.2:3478 192.0.2.2:3479 192.0.2.1:3479"},
		{"only IPv4 has a second address", a1p1 + " [::]:3478", []Alternate{{Address: addr(a2p2)}},
			"192.0.2.1:3478 [::]:3478 192.0.2.2:3478 192.0.2.2:3479 192.0.2.1:3479"},
		{"three addresses", a1p1 + " 192.0.2.9:3478", []Alternate{{Address: addr(a2p2)}},
			"192.0.2.1:3478 192.0.2.9:3478 192.0.2.2:3478 192.0.2.2:3479 192.0.2.1:3479 192.0.2.9:3479"},
		{"behind a 1:1 NAT the addresses of the machine", "10.0.0.1:3478", []Alternate{{Address: addr(a2p2), Bind: netip.MustParseAddr("10.0.0.2")}},
			"10.0.0.1:3478 10.0.0.2:3478 10.0.0.2:3479 10.0.0.1:3479"},
	} {
		t.Run(row.name, func(t *testing.T) {
			listen := addrs(strings.Fields(strings.Replace(row.listen, ":3478 v4 and v6", "0.0.0.0:3478 [::]:3478", 1))...)
			topology, err := NewTopology(listen, row.alternates...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range topology.Sockets() {
				got = append(got, a.String())
			}
			if s := strings.Join(got, " "); s != row.want {
				t.Errorf("%s, want %s", s, row.want)
			}
		})
	}
}

func TestAlternatesThatCannotBe(t *testing.T) {
	for _, row := range []struct {
		name, listen string
		alternates   []Alternate
		want         string
	}{
		{"the same address", a1p1, []Alternate{{Address: addr(a1p2)}}, "stun.alternate 192.0.2.1:3479 has to differ from stun.listen 192.0.2.1:3478 in address and in port"},
		{"the same port", a1p1, []Alternate{{Address: addr(a2p1)}}, "stun.alternate 192.0.2.2:3478 has to differ from stun.listen 192.0.2.1:3478 in address and in port"},
		{"every address", "0.0.0.0:3478", []Alternate{{Address: addr(a2p2)}}, "stun.listen has to name its IPv4 address, such as 192.0.2.1:3478, because stun.alternate 192.0.2.2:3479 answers for it"},
		{"another family", "[::]:3478", []Alternate{{Address: addr(a2p2)}}, "stun.alternate 192.0.2.2:3479 has no IPv4 address in stun.listen beside it: add one"},
		{"two of them", a1p1, []Alternate{{Address: addr(a2p2)}, {Address: addr("192.0.2.3:3479")}}, "stun.alternate names two IPv4 addresses: one of each family is enough"},
		{"no port", a1p1, []Alternate{{Address: addr("192.0.2.2:0")}}, "stun.alternate 192.0.2.2:0 is not one address with a port: write one, such as 192.0.2.2:3479"},
		{"two ports", a1p1 + " 192.0.2.9:5000", []Alternate{{Address: addr(a2p2)}}, "stun.listen has to name one IPv4 port, because stun.alternate 192.0.2.2:3479 answers for it"},
		{"IPv6 behind IPv4", a1p1, []Alternate{{Address: addr(a2p2), Bind: netip.MustParseAddr("2001:db8::2")}}, "stun.alternate 192.0.2.2:3479 and the address 2001:db8::2 behind it are not of one family: write two of the same"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := NewTopology(addrs(strings.Fields(row.listen)...), row.alternates...)
			if err == nil || err.Error() != row.want {
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}

// Behind a 1:1 NAT agents are told the public addresses, and those on the LAN the ones that work there.
func TestAnnouncedAddresses(t *testing.T) {
	topology, err := NewTopology(addrs("10.0.0.1:3478"), Alternate{Address: addr(a2p2), Bind: netip.MustParseAddr("10.0.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	topology.Announced = func(local, remote netip.AddrPort) netip.AddrPort {
		if remote.Addr().IsPrivate() {
			return local
		}
		return netip.AddrPortFrom(addr(a1p1).Addr(), local.Port())
	}
	for _, row := range []struct{ name, from, to, flags, leaves, origin, other string }{
		{"from outside", client4, "10.0.0.1:3478", "00000000", "10.0.0.1:3478", a1p1, a2p2},
		{"from outside, changed", client4, "10.0.0.1:3478", "00000006", "10.0.0.2:3479", a2p2, a2p2},
		{"from outside, at the second address", client4, "10.0.0.2:3479", "00000000", "10.0.0.2:3479", a2p2, a1p1},
		{"from the LAN", "10.0.0.9:4000", "10.0.0.1:3478", "00000004", "10.0.0.2:3478", "10.0.0.2:3478", "10.0.0.2:3479"},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := wire(t, "0001 0008"+cookie+id+"0003 0004"+row.flags)
			answer, leaves, _ := Respond(nil, request, addr(row.from), addr(row.to), topology)
			if leaves != addr(row.leaves) {
				t.Errorf("leaves from %v, want %s", leaves, row.leaves)
			}
			if got := addressIn(t, answer, responseOrigin); got != addr(row.origin) {
				t.Errorf("origin %v, want %s", got, row.origin)
			}
			if got := addressIn(t, answer, otherAddress); got != addr(row.other) {
				t.Errorf("other %v, want %s", got, row.other)
			}
		})
	}
}
