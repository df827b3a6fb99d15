package app

import (
	"fmt"
	"net/netip"
	"slices"

	"liaison/internal/config"
	"liaison/internal/relay"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// buildRelay makes the relay unless the policy never wants one. Its addresses are those that are announced, else all of
// this machine: an agent is given the one at which it reaches us. The test codec is on loopback.
func (a *app) buildRelay() error {
	if a.cfg.Media.Policy == config.PolicyDirect {
		return nil
	}
	own := interfaceAddrs()
	a.relayed = slices.Clone(a.cfg.Address)
	if len(a.relayed) == 0 {
		a.relayed = slices.DeleteFunc(slices.Clone(own), func(x netip.Addr) bool { return x.IsLinkLocalUnicast() })
	}
	if !slices.Contains(a.relayed, loopback) {
		a.relayed = append(a.relayed, loopback)
	}
	pool := relay.Pool{Name: "default"}
	bound := make(map[netip.Addr]bool)
	a.relayed = slices.DeleteFunc(a.relayed, func(x netip.Addr) bool {
		at := relay.Address{Announce: x, Bind: x}
		if !slices.Contains(own, x) { // 1:1 NAT: what is announced is not ours, and comes to the one that is
			i := slices.IndexFunc(own, func(o netip.Addr) bool { return o.Is4() == x.Is4() && !o.IsLoopback() && !o.IsLinkLocalUnicast() })
			if i < 0 {
				return true
			}
			at.Bind = own[i]
		}
		if bound[at.Bind] {
			return true
		}
		bound[at.Bind] = true
		pool.Addresses = append(pool.Addresses, at)
		return false
	})
	var err error
	a.relay, err = relay.New(relay.Config{
		Pools: []relay.Pool{pool}, Logger: a.log,
		Notify: func(n relay.Notice) { a.calls.Heard(n) },
	})
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}
