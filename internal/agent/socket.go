package agent

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
)

// Ports is a range of UDP ports for audio; the zero value leaves the choice to the system.
type Ports struct{ First, Last uint16 }

// openPair binds an even port for RTP and the odd one above it for RTCP (RFC 3550 11).
//
// The address should be one of the machine's, so that audio leaves from where it was asked for. One that is
// announced but not ours (1:1 NAT) is served from all addresses of its family.
func openPair(addr netip.Addr, ports Ports) (audio, control *net.UDPConn, err error) {
	if probe, err := listen(addr, 0); err == nil {
		probe.Close()
	} else if errors.Is(err, syscall.EADDRNOTAVAIL) {
		if addr.Is6() {
			addr = netip.IPv6Unspecified()
		} else {
			addr = netip.IPv4Unspecified()
		}
	}
	for range 200 {
		var port uint16
		if ports.Last > ports.First {
			port = (ports.First + uint16(rand.N(int(ports.Last-ports.First)))) &^ 1
			if port < ports.First {
				continue
			}
		}
		audio, err = listen(addr, port)
		if err != nil {
			continue
		}
		port = audio.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if port%2 == 0 {
			if control, err = listen(addr, port+1); err == nil {
				return audio, control, nil
			}
		}
		audio.Close()
	}
	if err == nil {
		err = errors.New("no even port is free")
	}
	return nil, nil, fmt.Errorf("no pair of ports for audio on %s: %w", addr, err)
}

func listen(addr netip.Addr, port uint16) (*net.UDPConn, error) {
	network := "udp4"
	if addr.Is6() {
		network = "udp6"
	}
	return net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
}
