package relay

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"liaison/internal/rtp"
)

// agent is what stands at the far end: a socket of a loopback address.
type agent struct {
	t    *testing.T
	conn *net.UDPConn
	addr netip.AddrPort
}

func newAgent(t *testing.T, addr string) *agent {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		if ip(addr).Is6() {
			t.Skipf("SKIPPED: no IPv6 here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &agent{t, conn, netip.AddrPortFrom(local.Addr().Unmap(), local.Port())}
}

func (a *agent) send(to netip.AddrPort, b []byte) {
	a.t.Helper()
	if _, err := a.conn.WriteToUDPAddrPort(b, to); err != nil {
		a.t.Fatal(err)
	}
}

// receive waits for a datagram.
func (a *agent) receive() (b []byte, from netip.AddrPort) {
	a.t.Helper()
	b = make([]byte, datagramSize)
	if err := a.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		a.t.Fatal(err)
	}
	n, from, err := a.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		a.t.Fatalf("nothing came to %s: %v", a.addr, err)
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// expect waits for a certain datagram and fails on any other.
func (a *agent) expect(want []byte, from netip.AddrPort) {
	a.t.Helper()
	b, source := a.receive()
	if !bytes.Equal(b, want) || source != from {
		a.t.Fatalf("%x from %s came to %s, want %x from %s", b, source, a.addr, want, from)
	}
}

// empty fails if anything has come and was not received.
func (a *agent) empty() {
	a.t.Helper()
	raw, err := a.conn.SyscallConn()
	if err != nil {
		a.t.Fatal(err)
	}
	b := make([]byte, datagramSize)
	err = raw.Control(func(fd uintptr) {
		if n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			a.t.Errorf("%x came to %s, want nothing", b[:max(n, 0)], a.addr)
		}
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

// cmpAddr compares addresses, which cmp cannot look into.
var cmpAddr = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// packet of RTP with a payload that tells it from others.
func packet(ssrc uint32, sequence uint16, payload string) []byte {
	h := rtp.Header{PayloadType: 8, Sequence: sequence, Timestamp: 160 * uint32(sequence), SSRC: ssrc}
	return append(h.AppendTo(nil), payload...)
}

func controlPacket(ssrc uint32) []byte { return rtp.AppendBye(nil, ssrc) }

// clock is the time of a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// The ports of tests. Each relay of a test has a loopback address to itself, so that tests do not meet.
const (
	testFirst = 20000
	testLast  = 20999
)

func poolAt(addresses ...string) []Pool {
	p := Pool{Name: "house"}
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, Address{Announce: ip(a), First: testFirst, Last: testLast})
	}
	return []Pool{p}
}

// still makes a Relay that forwards only when a test says so, in a time that stands still but for pass.
func still(t *testing.T, config Config) (*Relay, *clock) {
	t.Helper()
	c := &clock{now: epoch}
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.now = c.read
	t.Cleanup(func() {
		for s := range r.sessions {
			s.Close()
		}
		r.closeWorkers()
	})
	return r, c
}

// start runs a Relay whose time stands still but for pass, and whose sessions are looked at only by tick.
func start(t *testing.T, config Config) (*Relay, *clock) {
	t.Helper()
	c := &clock{now: epoch}
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.now = c.read
	r.every = 1000 * time.Hour
	run(t, r)
	return r, c
}

// run runs a Relay to the end of the test.
func run(t *testing.T, r *Relay) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// open opens a session of one stream between two agents that have said where they are.
func open(t *testing.T, r *Relay, caller, callee *agent) *Session {
	t.Helper()
	s, err := r.Open(Plan{ID: "call", Streams: 1, Legs: [2]Leg{{IPv6: caller.addr.Addr().Is6()}, {IPv6: callee.addr.Addr().Is6()}}})
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(Caller, 0, Remote{RTP: caller.addr, Source: caller.addr.Addr()})
	s.SetRemote(Callee, 0, Remote{RTP: callee.addr, Source: callee.addr.Addr()})
	return s
}

// join sends a packet each way, so that both sources are locked.
func join(t *testing.T, s *Session, caller, callee *agent) {
	t.Helper()
	toCaller, _ := s.Local(Caller, 0)
	toCallee, _ := s.Local(Callee, 0)
	caller.send(toCaller, packet(1, 1, "from the caller"))
	callee.expect(packet(1, 1, "from the caller"), toCallee)
	callee.send(toCallee, packet(2, 1, "from the callee"))
	caller.expect(packet(2, 1, "from the callee"), toCaller)
}

func portsUsed(t *testing.T, r *Relay) int {
	t.Helper()
	u, err := r.Usage("")
	if err != nil {
		t.Fatal(err)
	}
	return u.Used
}

// until waits for what another goroutine is about to do.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}
