package proxy

import (
	"net/netip"
	"slices"

	"liaison/internal/sip"
)

// Names are what the service answers to: its domain names and its addresses are all the same service.
type Names struct {
	domains map[string]bool // lower case
	addrs   map[netip.Addr]bool
	ports   []uint16
}

// NewNames takes the domain names, the addresses (announced ones and those of the interfaces) and the listening ports.
func NewNames(domains []string, addrs []netip.Addr, ports []uint16) *Names {
	n := &Names{domains: make(map[string]bool), addrs: make(map[netip.Addr]bool), ports: ports}
	for _, d := range domains {
		n.domains[string(fold(nil, []byte(d)))] = true
	}
	for _, a := range addrs {
		n.addrs[a.Unmap()] = true
	}
	return n
}

// Host tells whether a host, as in a URI, is us. A name is us at any port, as a router in front may change that; an
// address without port too; with another port it is somebody else on that machine.
func (n *Names) Host(host []byte, port uint16) bool {
	var buf [64]byte
	if n.domains[string(fold(buf[:0], host))] {
		return true
	}
	a, ok := sip.URI{Host: host}.Addr()
	if !ok {
		return false
	}
	return (n.addrs[a] || a.IsLoopback()) && (port == 0 || slices.Contains(n.ports, port))
}

// URI tells whether a URI is at our service.
func (n *Names) URI(u *sip.URI) bool { return u.IsSIP() && n.Host(u.Host, u.Port) }

// fold writes a name in lower case, without the dot of the root.
func fold(dst, name []byte) []byte {
	if l := len(name); l > 1 && name[l-1] == '.' {
		name = name[:l-1]
	}
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
