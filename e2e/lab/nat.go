//go:build e2e

package lab

import (
	"fmt"
	"testing"
)

// NATKind is how a home's router translates addresses.
type NATKind string

const (
	// Masquerade keeps the port where it can and lets in only whom the host wrote to: what most
	// home routers do.
	Masquerade NATKind = "masquerade"
	// Symmetric takes another port for every destination, so what a STUN server saw is of no use
	// to anybody else: mobile networks and many company firewalls.
	Symmetric NATKind = "masquerade random,fully-random"
)

// Home is a network behind a translating router with one public address.
type Home struct {
	net  *Network
	name string
	ns   string
	lan  string // the first three bytes of the inner prefix
	next int
}

// Home plugs such a router into the wire.
func (n *Network) Home(t testing.TB, name, addr string, kind NATKind) *Home {
	t.Helper()
	n.homes++
	h := &Home{net: n, name: name, lan: fmt.Sprintf("192.168.%d", n.homes), next: 10}
	outside := n.Host(t, name, addr)
	h.ns = outside.ns
	run(t, fmt.Sprintf("link add lan address 02:00:00:00:00:fe type bridge\naddr add %s.1/24 dev lan\nlink set lan up\n", h.lan), "ip", "-n", h.ns, "-batch", "-")
	run(t, "", "ip", "netns", "exec", h.ns, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	run(t, fmt.Sprintf(`table ip home {
	chain out {
		type nat hook postrouting priority srcnat;
		oifname "eth0" %s
	}
	chain in {
		type filter hook forward priority filter; policy drop;
		iifname "lan" accept
		ct state established,related accept
	}
}
`, kind), "ip", "netns", "exec", h.ns, "nft", "-f", "-")
	return h
}

// Host puts a machine with a private address into the home.
func (h *Home) Host(t testing.TB, name string) *Host {
	t.Helper()
	h.next++
	return h.net.host(t, name, fmt.Sprintf("%s.%d", h.lan, h.next), h.lan+".1", h.ns, "lan")
}
