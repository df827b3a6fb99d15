//go:build e2e

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// echo answers datagrams on a host and tells where each came from.
func echo(t *testing.T, h *Host) (netip.AddrPort, <-chan netip.AddrPort) {
	t.Helper()
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Addr, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	from := make(chan netip.AddrPort, 16)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, a, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			from <- a
			_, _ = conn.WriteToUDPAddrPort(buf[:n], a)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), from
}

func send(t *testing.T, conn *net.UDPConn, to netip.AddrPort) {
	t.Helper()
	if _, err := conn.WriteToUDPAddrPort([]byte("here"), to); err != nil {
		t.Fatal(err)
	}
}

func received(conn net.Conn, within time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	_, err := conn.Read(make([]byte, 1500))
	return err == nil
}

func TestHostsReachEachOtherUntilOneIsCutOff(t *testing.T) {
	t.Parallel()
	n := NewNetwork(t)
	a, b := n.Host(t, "a", "203.0.113.11"), n.Host(t, "b", "203.0.113.12")
	addr, _ := echo(t, b)
	conn, err := a.Dial(context.Background(), "udp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func() bool {
		_, _ = conn.Write([]byte("here"))
		return received(conn, 200*time.Millisecond)
	}
	Eventually(t, 3*time.Second, "an answer from the other host", ask)
	b.Cut(t)
	if ask() {
		t.Error("a host whose cable is cut still answers")
	}
	b.Mend(t)
	Eventually(t, 5*time.Second, "an answer after mending", ask)
}

func TestHomeHidesItsHosts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		kind NATKind
		same bool // one outside port for every destination
	}{{Masquerade, true}, {Symmetric, false}} {
		t.Run(string(row.kind), func(t *testing.T) {
			t.Parallel()
			n := NewNetwork(t)
			s1, s2 := n.Host(t, "s1", "203.0.113.1"), n.Host(t, "s2", "203.0.113.2")
			in := n.Home(t, "home", "203.0.113.21", row.kind).Host(t, "reporter")
			a1, from1 := echo(t, s1)
			a2, from2 := echo(t, s2)
			var conn *net.UDPConn
			if err := in.Do(func() (err error) { conn, err = net.ListenUDP("udp4", nil); return err }); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			seen := func(to netip.AddrPort, from <-chan netip.AddrPort) (a netip.AddrPort) {
				t.Helper()
				Eventually(t, 3*time.Second, "an answer from outside", func() bool {
					send(t, conn, to)
					return received(conn, 200*time.Millisecond)
				})
				return <-from
			}
			p1, p2 := seen(a1, from1), seen(a2, from2)
			if p1.Addr().String() != "203.0.113.21" || p2.Addr() != p1.Addr() {
				t.Errorf("seen from %v and %v, want the home's address", p1, p2)
			}
			if (p1.Port() == p2.Port()) != row.same {
				t.Errorf("ports %d and %d: same should be %v", p1.Port(), p2.Port(), row.same)
			}
		})
	}
}

func TestNamesResolveInsideTheNetwork(t *testing.T) {
	t.Parallel()
	Need(t, "getent")
	n := NewNetwork(t)
	h := n.Host(t, "a", "203.0.113.11")
	n.Names.Set("sip.example.test", h.Addr)
	p := Start(t, "getent", h.Command("getent", "ahostsv4", "sip.example.test"))
	p.Line(t, 5*time.Second, `^203\.0\.113\.11 `)
	if code := Start(t, "getent", h.Command("getent", "ahostsv4", "no.example.test")).Ended(t, 5*time.Second); code == 0 {
		t.Error("an unknown name resolves")
	}
}

func TestCaptureSeesBothDirections(t *testing.T) {
	t.Parallel()
	n := NewNetwork(t)
	a, b := n.Host(t, "a", "203.0.113.11"), n.Host(t, "b", "203.0.113.12")
	c := a.Capture(t)
	addr, _ := echo(t, b)
	conn, err := a.Dial(context.Background(), "udp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	Eventually(t, 3*time.Second, "one packet each way", func() bool {
		_, _ = conn.Write([]byte("here"))
		out := c.Packets(func(p Packet) bool { return p.To == addr && string(p.Payload) == "here" })
		in := c.Packets(func(p Packet) bool { return p.From == addr && string(p.Payload) == "here" })
		return len(out) > 0 && len(in) > 0
	})
}

// A program's children do not outlive it.
func TestKillEndsAlsoWhatTheProgramStarted(t *testing.T) {
	t.Parallel()
	n := NewNetwork(t)
	p := Start(t, "parent", n.Host(t, "a", "203.0.113.11").Command("sh", "-c", "sleep 600 & echo child $!; wait"))
	child, err := strconv.Atoi(p.Line(t, 5*time.Second, `^child (\d+)$`)[1])
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	Eventually(t, 3*time.Second, "the child is gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		// A zombie is gone too: somebody else's business is to bury it.
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}
