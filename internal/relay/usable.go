package relay

import "net/netip"

// shared is the address space between a provider and its NAT (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// usable tells whether packets may be sent to an address that was only signalled, before anything came from there. from
// is where the signalling came from. It keeps whoever has an account from aiming media at machines of ours, or of our
// network, and spares the way to a private address that is not ours to reach.
func usable(to netip.AddrPort, from netip.Addr) bool {
	a := to.Addr()
	switch {
	case !to.IsValid() || to.Port() == 0:
		return false
	case a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast():
		return false // the metadata services of clouds are link-local
	case a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240):
		return false // "this network" (RFC 1122 3.2.1.3), class E and broadcast
	case a == from:
		return true
	case a.IsLoopback():
		return from.IsLoopback()
	case inside(a):
		return inside(from) || from.IsLoopback()
	}
	return true
}

// inside tells addresses that exist in many networks.
func inside(a netip.Addr) bool { return a.IsPrivate() || shared.Contains(a) }
