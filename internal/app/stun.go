package app

import (
	"net/netip"

	"liaison/internal/sip/transport"
	"liaison/internal/stun"
)

// usualSTUN is where agents look for a STUN server that they were told no port of.
const usualSTUN = 3478

// listenSTUN binds the STUN server, and has it answer on the ports of SIP too. The usual port is no reason not to start:
// another STUN server on this machine serves as well.
func (a *app) listenSTUN() error {
	listen := a.cfg.STUN.Listen
	asked := listen != nil
	if !asked {
		for _, x := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			listen = append(listen, netip.AddrPortFrom(x, usualSTUN))
		}
	}
	var alternates []stun.Alternate
	for _, x := range a.cfg.STUN.Alternate {
		alternates = append(alternates, stun.Alternate{Address: x})
	}
	topology, err := stun.NewTopology(listen, alternates...)
	if err != nil {
		return err
	}
	topology.Announced = func(local, remote netip.AddrPort) netip.AddrPort {
		return a.outer.Announced(transport.Flow{Proto: transport.UDP, Local: local, Remote: remote})
	}
	a.stun = stun.New(stun.Config{Topology: topology, Trusted: a.cfg.Limits.Trusted})
	a.outer.AnswerSTUN(a.stun)
	for _, x := range a.stun.Sockets() {
		err := a.bind(x, a.outer.ListenSTUN)
		switch {
		case err == nil:
		case asked:
			return err
		default:
			a.log.Warn("STUN is answered on the ports of SIP only", "error", err)
		}
	}
	return nil
}
