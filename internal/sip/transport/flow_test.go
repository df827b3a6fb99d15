package transport

import (
	"net/netip"
	"testing"
)

func TestAnnounced(t *testing.T) {
	for _, row := range []struct {
		name          string
		announce      []string
		local, remote string
		want          string
	}{
		{"nothing configured: the local address", nil, "192.0.2.1:5060", "198.51.100.7:5060", "192.0.2.1:5060"},
		{"behind a 1:1 NAT, from outside", []string{"203.0.113.1"}, "10.0.0.5:5060", "198.51.100.7:5060", "203.0.113.1:5060"},
		{"behind a 1:1 NAT, from the LAN", []string{"203.0.113.1"}, "10.0.0.5:5060", "10.0.0.9:5060", "10.0.0.5:5060"},
		{"behind a 1:1 NAT, on the machine itself", []string{"203.0.113.1"}, "127.0.0.1:5060", "127.0.0.1:6000", "127.0.0.1:5060"},
		{"two addresses, asked at the second", []string{"203.0.113.1", "203.0.113.2"}, "203.0.113.2:5070", "198.51.100.7:5060", "203.0.113.2:5070"},
		{"the first of the same family", []string{"2001:db8::1", "203.0.113.1", "203.0.113.2"}, "10.0.0.5:5070", "198.51.100.7:5060", "203.0.113.1:5070"},
		{"none of the same family", []string{"203.0.113.1"}, "[2001:db8::5]:5060", "[2001:db8:1::7]:5060", "[2001:db8::5]:5060"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := Config{}
			for _, a := range row.announce {
				c.Announce = append(c.Announce, netip.MustParseAddr(a))
			}
			f := Flow{Proto: UDP, Local: netip.MustParseAddrPort(row.local), Remote: netip.MustParseAddrPort(row.remote)}
			if got := New(c).Announced(f); got.String() != row.want {
				t.Errorf("%v, want %s", got, row.want)
			}
		})
	}
}

func TestProto(t *testing.T) {
	for p := UDP; p <= WSS; p++ {
		if got, ok := ParseProto(p.String()); !ok || got != p {
			t.Errorf("%v reads as %v", p, got)
		}
	}
	if _, ok := ParseProto("link"); ok {
		t.Error("a stranger can name a link")
	}
	if _, ok := ParseProto(""); ok {
		t.Error("nothing is a transport")
	}
}
