package transport

import (
	"fmt"
	"net/netip"
	"strings"
)

// Proto is how messages travel on a flow. Zero is none.
type Proto uint8

// What a flow can be. Link is a pair of stacks inside the process.
const (
	UDP Proto = iota + 1
	TCP
	TLS
	WS
	WSS
	Link
)

var protoNames = [...]string{"", "UDP", "TCP", "TLS", "WS", "WSS", "LINK"}

// String is the name as in a Via: "UDP".
func (p Proto) String() string {
	if int(p) < len(protoNames) {
		return protoNames[p]
	}
	return fmt.Sprintf("Proto(%d)", uint8(p))
}

var protoParams = [...]string{"", "udp", "tcp", "tls", "ws", "wss", "link"}

// Param is the value of a URI's transport parameter: "udp".
func (p Proto) Param() string {
	if int(p) < len(protoParams) {
		return protoParams[p]
	}
	return ""
}

// Reliable tells that nothing needs to be sent twice (RFC 3261 17).
func (p Proto) Reliable() bool { return p != UDP }

// ParseProto reads a transport parameter, case-insensitively.
func ParseProto[T []byte | string](param T) (Proto, bool) {
	for p := UDP; p <= WSS; p++ {
		if strings.EqualFold(protoParams[p], string(param)) {
			return p, true
		}
	}
	return 0, false
}

// Flow is the path that a message took (RFC 5626). It is comparable, and what is sent on it goes back to where the
// message came from, leaving from the address that was asked.
type Flow struct {
	Proto         Proto
	Local, Remote netip.AddrPort
	Conn          uint32 // which connection; 0 for UDP
}

// String is for logs.
func (f Flow) String() string {
	return fmt.Sprintf("%s %s <- %s", f.Proto.Param(), f.Local, f.Remote)
}

// inSameSite tells that both ends are on a LAN or on this machine, where an announced public address is of no use.
func (f Flow) inSameSite() bool { return isInside(f.Local.Addr()) && isInside(f.Remote.Addr()) }

func isInside(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
}

// Announced is the address that Via and Record-Route give for a flow. A service may stand behind a 1:1 NAT and be
// reached from its LAN too: then what is announced is not what is bound.
func (t *Transport) Announced(f Flow) netip.AddrPort {
	if f.Proto == Link {
		return f.Local // the proxy chose it
	}
	local := f.Local.Addr()
	port := t.listenerPort(f)
	if len(t.config.Announce) == 0 || f.inSameSite() {
		return netip.AddrPortFrom(local, port)
	}
	sameFamily := netip.Addr{}
	for _, a := range t.config.Announce {
		if a == local {
			return netip.AddrPortFrom(local, port)
		}
		if !sameFamily.IsValid() && a.Is4() == local.Is4() {
			sameFamily = a
		}
	}
	if sameFamily.IsValid() {
		return netip.AddrPortFrom(sameFamily, port)
	}
	return netip.AddrPortFrom(local, port)
}

// listenerPort is the port on which the other side reaches us: of a connection that we opened ourselves it is not the
// connection's own.
func (t *Transport) listenerPort(f Flow) uint16 {
	if f.Proto == UDP {
		return f.Local.Port()
	}
	first := uint16(0)
	for _, l := range t.listeners {
		if l.Proto != f.Proto || l.Addr.Addr().Is4() != f.Local.Addr().Is4() {
			continue
		}
		if l.Addr.Port() == f.Local.Port() {
			return l.Addr.Port()
		}
		if first == 0 {
			first = l.Addr.Port()
		}
	}
	if first == 0 {
		return f.Local.Port()
	}
	return first
}
