//go:build e2e

package lab

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is the name server of a network. It knows addresses only: every other question about a
// known name gets an empty answer, which sends a SIP agent on from NAPTR and SRV to the address
// (RFC 3263 4.1, 4.2).
type Names struct {
	mu    sync.Mutex
	addrs map[string]netip.Addr
}

// Set makes name resolve to addr.
func (n *Names) Set(name string, addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[strings.ToLower(name)+"."] = addr
}

func (n *Names) addr(name string) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.addrs[strings.ToLower(name)]
	return a, ok
}

func serveNames(t testing.TB, ns, addr string) *Names {
	t.Helper()
	n := &Names{addrs: map[string]netip.Addr{}}
	var conn *net.UDPConn
	err := inNamespace(ns, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(addr), Port: 53})
		return err
	})
	if err != nil {
		t.Fatalf("name server: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if b := n.answer(buf[:size]); b != nil {
				_, _ = conn.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return n
}

func (n *Names) answer(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	addr, known := n.addr(q.Name.String())
	h.Response, h.Authoritative, h.RecursionAvailable = true, true, true
	if !known {
		h.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, h)
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil
	}
	if known && q.Type == dnsmessage.TypeA && addr.Is4() {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
		if b.AResource(rh, dnsmessage.AResource{A: addr.As4()}) != nil {
			return nil
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}
