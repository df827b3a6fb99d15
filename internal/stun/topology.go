package stun

import (
	"fmt"
	"net/netip"
	"slices"
)

// Alternate is the second address and port of a family (RFC 5780 6). Address is what agents are told; Bind is the
// address of this machine behind it, where a 1:1 NAT stands between; the port is the same on both.
type Alternate struct {
	Address netip.AddrPort
	Bind    netip.Addr // none: Address's own
}

// Topology is where a server is reached. With an alternate, every address of that family answers on both ports, so
// that a client can ask for any of the four combinations.
type Topology struct {
	// Announced is what agents are told instead of one of our bound addresses; nil: that address itself.
	Announced func(local, remote netip.AddrPort) netip.AddrPort

	sockets []netip.AddrPort
	pairs   [2]pair // IPv4 and IPv6
}

// pair is what one family has twice.
type pair struct {
	first     []netip.Addr // the addresses that it listens on by itself; none: there is no alternate
	alternate netip.Addr
	ports     [2]uint16 // theirs, and the alternate's
	told      netip.Addr
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

var familyNames = [2]string{"IPv4", "IPv6"}

// NewTopology checks addresses against each other. The errors name the lines of the configuration.
func NewTopology(listen []netip.AddrPort, alternates ...Alternate) (*Topology, error) {
	t := &Topology{}
	for _, l := range listen {
		t.addSocket(l)
	}
	for _, a := range alternates {
		if !a.Bind.IsValid() {
			a.Bind = a.Address.Addr()
		}
		if err := t.addAlternate(a, listen); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Topology) addSocket(a netip.AddrPort) {
	if !slices.Contains(t.sockets, a) {
		t.sockets = append(t.sockets, a)
	}
}

func (t *Topology) addAlternate(a Alternate, listen []netip.AddrPort) error {
	which := family(a.Bind)
	p := &t.pairs[which]
	switch {
	case family(a.Address.Addr()) != which:
		return fmt.Errorf("stun.alternate %v and the address %v behind it are not of one family: write two of the same", a.Address, a.Bind)
	case a.Bind.IsUnspecified() || a.Address.Addr().IsUnspecified() || a.Address.Port() == 0:
		return fmt.Errorf("stun.alternate %v is not one address with a port: write one, such as 192.0.2.2:3479", a.Address)
	case p.first != nil:
		return fmt.Errorf("stun.alternate names two %s addresses: one of each family is enough", familyNames[which])
	}
	for _, l := range listen {
		if family(l.Addr()) != which {
			continue
		}
		switch {
		case l.Addr().IsUnspecified():
			return fmt.Errorf("stun.listen has to name its %s address, such as 192.0.2.1:3478, because stun.alternate %v answers for it", familyNames[which], a.Address)
		case l.Addr() == a.Bind || l.Port() == a.Address.Port():
			return fmt.Errorf("stun.alternate %v has to differ from stun.listen %v in address and in port", a.Address, l)
		case len(p.first) > 0 && l.Port() != p.ports[0]:
			return fmt.Errorf("stun.listen has to name one %s port, because stun.alternate %v answers for it", familyNames[which], a.Address)
		}
		p.first = append(p.first, l.Addr())
		p.ports[0] = l.Port()
	}
	if len(p.first) == 0 {
		return fmt.Errorf("stun.alternate %v has no %s address in stun.listen beside it: add one", a.Address, familyNames[which])
	}
	p.alternate, p.told, p.ports[1] = a.Bind, a.Address.Addr(), a.Address.Port()
	for _, addr := range append([]netip.Addr{p.alternate}, p.first...) {
		for _, port := range p.ports {
			t.addSocket(netip.AddrPortFrom(addr, port))
		}
	}
	return nil
}

// Sockets are the addresses to bind.
func (t *Topology) Sockets() []netip.AddrPort { return t.sockets }

// other is the address and port that differ both from those that were asked: Ca:Cp of RFC 5780 6.1. There is none on
// ports that have no alternate, as those of SIP.
func (t *Topology) other(to netip.AddrPort) (netip.AddrPort, bool) {
	p := &t.pairs[family(to.Addr())]
	if p.first == nil {
		return netip.AddrPort{}, false
	}
	port := p.ports[0]
	switch to.Port() {
	case p.ports[0]:
		port = p.ports[1]
	case p.ports[1]:
	default:
		return netip.AddrPort{}, false
	}
	addr := p.alternate
	if to.Addr() == p.alternate {
		addr = p.first[0]
	}
	return netip.AddrPortFrom(addr, port), true
}

// announced is what a client at remote is told of one of our addresses.
func (t *Topology) announced(local, remote netip.AddrPort) netip.AddrPort {
	if p := &t.pairs[family(local.Addr())]; p.first != nil && local.Addr() == p.alternate {
		if isInside(local.Addr()) && isInside(remote.Addr()) { // the public address may not work from there
			return local
		}
		return netip.AddrPortFrom(p.told, local.Port())
	}
	if t.Announced == nil {
		return local
	}
	return t.Announced(local, remote)
}

// isInside tells that an address means something on this site only.
func isInside(a netip.Addr) bool { return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() }
