//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"liaison/e2e/lab"
)

// places are a network with an agent's host behind each kind of router.
func places(t *testing.T, n *lab.Network) map[string]*lab.Host {
	t.Helper()
	return map[string]*lab.Host{
		"open":       n.Host(t, "open", "203.0.113.11"),
		"masquerade": n.Home(t, "masq", "203.0.113.21", lab.Masquerade).Host(t, "m"),
		"symmetric":  n.Home(t, "sym", "203.0.113.31", lab.Symmetric).Host(t, "s"),
	}
}

// Clients of both generations find out what kind of router they are behind: coturn's speaks RFC 5780, and the first
// public client, from which many codecs' descends, RFC 3489.
func TestSTUNClientsLearnTheirNAT(t *testing.T) {
	lab.Need(t, "turnutils_natdiscovery", "stun")
	t.Parallel()
	n := lab.NewNetwork(t)
	server := n.Host(t, "server", serverAddr)
	const second = "203.0.113.2"
	if _, errs, code := runHere(t, server.Command("ip", "addr", "add", second+"/24", "dev", "eth0")); code != 0 {
		t.Fatal(errs)
	}
	NewLiaison(t, server, `stun: {listen: ["`+serverAddr+`:3478"], alternate: ["`+second+`:3479"]}`+"\n").Start(t)
	hosts := places(t, n)
	for _, row := range []struct{ place, command, finds string }{
		{"open", "turnutils_natdiscovery -m " + serverAddr, "NAT with Endpoint Independent Mapping!"},
		{"open", "turnutils_natdiscovery -f " + serverAddr, "NAT with Endpoint Independent Filtering!"},
		{"open", "stun " + serverAddr, "Primary: Open"},
		{"masquerade", "turnutils_natdiscovery -m " + serverAddr, "NAT with Endpoint Independent Mapping!"},
		{"masquerade", "turnutils_natdiscovery -f " + serverAddr, "NAT with Address and Port Dependent Filtering!"},
		{"masquerade", "stun " + serverAddr, "Primary: Independent Mapping, Port Dependent Filter, preserves ports"},
		{"symmetric", "turnutils_natdiscovery -m " + serverAddr, "NAT with Address and Port Dependent Mapping!"},
		{"symmetric", "turnutils_natdiscovery -f " + serverAddr, "NAT with Address and Port Dependent Filtering!"},
		{"symmetric", "stun " + serverAddr, "Primary: Dependent Mapping, random port"},
		// What makes answers large is refused in words.
		{"open", "turnutils_natdiscovery -m -P " + serverAddr, "error 420 (Unknown Attribute"},
	} {
		t.Run(row.place+" "+row.command, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(row.command)
			out, errs, _ := runHere(t, hosts[row.place].Command(words[0], words[1:]...))
			if !strings.Contains(out+errs, row.finds) {
				t.Errorf("does not find %q:\n%s%s", row.finds, out, errs)
			}
		})
	}
}

// A service that was told nothing answers at 3478 and, for agents that keep their path open, on the SIP ports.
func TestSTUNOnOneAddress(t *testing.T) {
	lab.Need(t, "turnutils_stunclient", "stun")
	t.Parallel()
	n := lab.NewNetwork(t)
	server := n.Host(t, "server", serverAddr)
	NewLiaison(t, server, "").Start(t)
	hosts := places(t, n)
	for _, row := range []struct{ place, command, finds string }{
		{"open", "turnutils_stunclient " + serverAddr, "UDP reflexive addr: 203.0.113.11:"},
		{"open", "turnutils_stunclient -p 5060 " + serverAddr, "UDP reflexive addr: 203.0.113.11:"},
		{"masquerade", "turnutils_stunclient -p 5070 " + serverAddr, "UDP reflexive addr: 203.0.113.21:"},
		// No answer from a second address: whoever asks for one must not believe that its router is open.
		{"open", "stun " + serverAddr, "Primary: Firewall"},
		{"masquerade", "stun " + serverAddr, "Port Dependent Filter"},
		{"masquerade", "stun " + serverAddr + ":5060", "Port Dependent Filter"},
	} {
		t.Run(row.place+" "+row.command, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(row.command)
			out, errs, _ := runHere(t, hosts[row.place].Command(words[0], words[1:]...))
			if !strings.Contains(out+errs, row.finds) {
				t.Errorf("does not find %q:\n%s%s", row.finds, out, errs)
			}
		})
	}
}
