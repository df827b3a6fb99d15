package relay

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// A stranger is whoever has an address that was not signalled.

func TestAStrangerSpraysThePortsBeforeAndDuringACall(t *testing.T) {
	caller, callee, stranger := newAgent(t, "127.2.1.2"), newAgent(t, "127.2.1.3"), newAgent(t, "127.2.1.66")
	pools := poolAt("127.2.1.1")
	pools[0].Addresses[0].Last = testFirst + 19 // a small range, all of which is sprayed
	r, _ := start(t, Config{Pools: pools})
	s, err := r.Open(Plan{Streams: 1})
	if err != nil {
		t.Fatal(err)
	}
	spray := func() {
		for port := uint16(testFirst); port < testFirst+20; port++ {
			for _, b := range [][]byte{packet(1, 7, "bleed"), packet(666, 1, "bleed"), controlPacket(1), {}, {0, 1, 0, 0}} {
				// A closed port answers with ICMP, which is no packet of ours.
				_, _ = stranger.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(ip("127.2.1.1"), port))
			}
		}
	}
	nothing := func(when string) {
		t.Helper()
		// What was sprayed has been read when a packet behind it has passed.
		join(t, s, caller, callee)
		callee.empty()
		caller.empty()
		stranger.empty()
		if t.Failed() {
			t.Fatal(when)
		}
	}
	spray()
	s.SetRemote(Caller, 0, Remote{RTP: caller.addr, Source: caller.addr.Addr()})
	spray()
	s.SetRemote(Callee, 0, Remote{RTP: callee.addr, Source: callee.addr.Addr()})
	spray() // in the window, before any agent has sent
	nothing("before media")
	spray()
	nothing("during the call")
	s.SetRemote(Caller, 0, Remote{RTP: caller.addr, Source: caller.addr.Addr()})
	spray() // in the window of a re-INVITE
	nothing("after a re-INVITE")
	if n := r.count(dropStranger); n == 0 {
		t.Error("no stranger was counted")
	}
}

func TestInjectionWithTheRightSSRC(t *testing.T) {
	caller, callee := newAgent(t, "127.2.2.2"), newAgent(t, "127.2.2.3")
	stranger, neighbour := newAgent(t, "127.2.2.66"), newAgent(t, "127.2.2.2") // the neighbour is behind the same NAT
	r, _ := start(t, Config{Pools: poolAt("127.2.2.1")})
	s := open(t, r, caller, callee)
	join(t, s, caller, callee)
	to, toRTCP := s.Local(Caller, 0)
	from, _ := s.Local(Callee, 0)
	for i := range uint16(100) {
		for _, attacker := range []*agent{stranger, neighbour} {
			attacker.send(to, packet(1, 2+i, "injected"))
			attacker.send(to, packet(666, i, "injected"))
		}
		stranger.send(toRTCP, controlPacket(1))
		caller.send(to, packet(1, 2+i, "programme"))
		callee.expect(packet(1, 2+i, "programme"), from)
	}
	callee.empty()
	stranger.empty()
	neighbour.empty()
	if m := s.Traffic(Caller, 0); m.Packets != 101 || m.Lost != 0 || m.Duplicates != 0 || m.Control != 0 {
		t.Errorf("the counts have something of it: %+v", m)
	}
	if o := s.Observed(Caller, 0); o.Source != caller.addr {
		t.Errorf("%+v", o)
	}
}

func TestAPortIsClosedAtTheEnd(t *testing.T) {
	caller, callee := newAgent(t, "127.2.3.2"), newAgent(t, "127.2.3.3")
	r, _ := start(t, Config{Pools: poolAt("127.2.3.1")})
	s := open(t, r, caller, callee)
	join(t, s, caller, callee)
	to, toRTCP := s.Local(Caller, 0)
	s.Close()
	for _, port := range []*net.UDPAddr{net.UDPAddrFromAddrPort(to), net.UDPAddrFromAddrPort(toRTCP)} {
		// The kernel tells a connected socket of a closed port.
		c, err := net.DialUDP("udp", nil, port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(packet(1, 2, "after the end")); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s is open after the end: %v", port, err)
		}
	}
	callee.empty()
	if n := portsUsed(t, r); n != 0 {
		t.Errorf("%d ports in use", n)
	}
}

func TestTheCallersPortChanges(t *testing.T) {
	for name, elsewhere := range map[string]string{
		"a NAT has forgotten and chosen another port": "127.2.4.2",
		"from 4G to Wi-Fi":                            "127.2.4.200",
	} {
		t.Run(name, func(t *testing.T) {
			caller, callee := newAgent(t, "127.2.4.2"), newAgent(t, "127.2.4.3")
			moved := newAgent(t, elsewhere)
			r, c := start(t, Config{Pools: poolAt("127.2.4.1")})
			s := open(t, r, caller, callee)
			toCaller, callerRTCP := s.Local(Caller, 0)
			toCallee, calleeRTCP := s.Local(Callee, 0)
			join(t, s, caller, callee)
			c.pass(20 * time.Second) // the window is over
			caller.send(toCaller, packet(1, 2, "the last from there"))
			callee.expect(packet(1, 2, "the last from there"), toCallee)
			callee.send(toCallee, packet(2, 2, "alive"))
			caller.expect(packet(2, 2, "alive"), toCaller)

			// Packets 3 to 52 of a second are lost to the lock, the next passes.
			for i := range uint16(50) {
				moved.send(toCaller, packet(1, 3+i, "too early"))
			}
			callee.send(toCallee, packet(2, 3, "to the old place"))
			caller.expect(packet(2, 3, "to the old place"), toCaller)
			until(t, func() bool { return r.count(dropForeign)+r.count(dropStranger) == 50 })
			c.pass(time.Second)
			moved.send(toCaller, packet(1, 53, "from the new place"))
			callee.expect(packet(1, 53, "from the new place"), toCallee)
			callee.send(toCallee, packet(2, 4, "to the new place"))
			moved.expect(packet(2, 4, "to the new place"), toCaller)
			caller.empty()

			// RTCP follows by its SSRC.
			if elsewhere != caller.addr.Addr().String() {
				rtcp := newAgent(t, elsewhere)
				rtcp.send(callerRTCP, controlPacket(1))
				back := newAgent(t, "127.2.4.3")
				back.send(calleeRTCP, controlPacket(2))
				rtcp.expect(controlPacket(2), callerRTCP)
			}

			r.tick()
			if o := s.Observed(Caller, 0); o.Source != moved.addr {
				t.Errorf("%+v", o)
			}
			if r.count(sourceMoved) == 0 {
				t.Error("the move was not counted")
			}
		})
	}
}

// While an agent is heard, its port is connected: the kernel keeps strangers away, and would keep the agent itself away
// from another address.
func TestAConnectedPortLetsGoInTime(t *testing.T) {
	for name, addr := range map[string][4]string{
		"IPv4": {"127.2.6.1", "127.2.6.2", "127.2.6.3", "127.2.6.200"},
		"IPv6": {"::1", "::1", "::1", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			caller, callee, moved := newAgent(t, addr[1]), newAgent(t, addr[2]), newAgent(t, addr[3])
			r, c := start(t, Config{Pools: poolAt(addr[0])})
			s := open(t, r, caller, callee)
			toCaller, _ := s.Local(Caller, 0)
			toCallee, _ := s.Local(Callee, 0)
			p := &s.streams[0].ends[Caller].rtp
			connected := func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return p.connected
			}
			both := func(caller *agent, n uint16) {
				t.Helper()
				caller.send(toCaller, packet(1, n, "from the caller"))
				callee.expect(packet(1, n, "from the caller"), toCallee)
				callee.send(toCallee, packet(2, n, "from the callee"))
				caller.expect(packet(2, n, "from the callee"), toCaller)
			}
			both(caller, 1)
			c.pass(20 * time.Second)
			both(caller, 2)
			r.tick()
			if !connected() {
				t.Fatal("it is not connected to an agent that is heard")
			}
			both(caller, 3)
			moved.send(toCaller, packet(1, 4, "from elsewhere"))
			both(caller, 5)
			if n := r.count(dropForeign) + r.count(dropStranger); n != 0 {
				t.Errorf("%d packets from elsewhere were read", n)
			}

			c.pass(750 * time.Millisecond)
			r.tick()
			if connected() {
				t.Fatal("it is connected to an agent that is not heard")
			}
			c.pass(250 * time.Millisecond)
			both(moved, 50)
			c.pass(20 * time.Second)
			both(moved, 51)
			r.tick()
			if !connected() {
				t.Error("it is not connected to the new place")
			}
			both(moved, 52)

			// A re-INVITE from a third place.
			third := newAgent(t, addr[1])
			s.SetRemote(Caller, 0, Remote{RTP: third.addr, Source: third.addr.Addr()})
			both(third, 1)
		})
	}
}

// Packets that were in the queue of a socket when it was connected.
func TestWhatWaitedBeforeTheConnectionIsJudgedToo(t *testing.T) {
	caller, callee, stranger := newAgent(t, "127.2.7.2"), newAgent(t, "127.2.7.3"), newAgent(t, "127.2.7.66")
	r, c := still(t, Config{Pools: poolAt("127.2.7.1")})
	s := open(t, r, caller, callee)
	to, _ := s.Local(Caller, 0)
	p := &s.streams[0].ends[Caller].rtp
	caller.send(to, packet(1, 1, "audio"))
	one(t, p, c.read())
	callee.receive()
	stranger.send(to, packet(1, 2, "injected"))
	waits(t, p)
	r.tick()
	if !p.connected {
		t.Fatal("not connected")
	}
	one(t, p, c.read())
	callee.empty()
	if r.count(dropStranger) != 1 {
		t.Error("it was not counted")
	}
}

// The kernel reports what an agent's host says about its port with the next call.
func TestAnAgentThatIsNotListening(t *testing.T) {
	caller, callee := newAgent(t, "127.2.8.2"), newAgent(t, "127.2.8.3")
	r, c := still(t, Config{Pools: poolAt("127.2.8.1")})
	s := open(t, r, caller, callee)
	toCaller, _ := s.Local(Caller, 0)
	toCallee, _ := s.Local(Callee, 0)
	e := &s.streams[0].ends
	round := func(n uint16) {
		t.Helper()
		callee.send(toCallee, packet(2, n, "audio"))
		one(t, &e[Callee].rtp, c.read())
	}
	caller.send(toCaller, packet(1, 1, "audio"))
	one(t, &e[Caller].rtp, c.read())
	r.tick()
	if !e[Caller].rtp.connected {
		t.Fatal("not connected")
	}
	// It restarts: for a moment nobody is there, then a new socket with the same port.
	caller.conn.Close()
	round(1)
	round(2)
	caller.conn, _ = net.ListenUDP("udp", net.UDPAddrFromAddrPort(caller.addr))
	if caller.conn == nil {
		t.Fatal("the port is taken")
	}
	defer caller.conn.Close()
	round(3)
	for b, _ := caller.receive(); !bytes.Equal(b, packet(2, 3, "audio")); {
		b, _ = caller.receive()
	}
	caller.send(toCaller, packet(9, 1, "new"))
	before := r.count(forwardedPackets)
	until(t, func() bool {
		e[Caller].rtp.forward(s.worker, c.read())
		return r.count(forwardedPackets) > before
	})
	callee.expect(packet(1, 1, "audio"), toCallee)
	callee.expect(packet(9, 1, "new"), toCallee)
}

// What strangers send takes nothing of what an agent may send.
func TestAFloodOfStrangersIsNotTheAgents(t *testing.T) {
	caller, callee, stranger := newAgent(t, "127.2.9.2"), newAgent(t, "127.2.9.3"), newAgent(t, "127.2.9.66")
	r, c := still(t, Config{Pools: poolAt("127.2.9.1")})
	s := open(t, r, caller, callee)
	to, _ := s.Local(Caller, 0)
	p := &s.streams[0].ends[Caller].rtp
	for range maxRate + 1 {
		stranger.send(to, packet(1, 1, "flood"))
		one(t, p, c.read())
	}
	caller.send(to, packet(1, 1, "audio"))
	one(t, p, c.read())
	callee.receive()
}

// Two sessions whose agents say that they are each other's ports: packets would run in a ring for ever.
func TestARingOfSessionsIsBounded(t *testing.T) {
	r, c := still(t, Config{Pools: poolAt("127.2.5.1")})
	s, err := r.Open(Plan{Streams: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Each side of the session says that it is the port that faces the other.
	a, _ := s.Local(Caller, 0)
	b, _ := s.Local(Callee, 0)
	s.SetRemote(Caller, 0, Remote{RTP: b, Source: b.Addr()})
	s.SetRemote(Callee, 0, Remote{RTP: a, Source: a.Addr()})
	from := &s.streams[0].ends[Caller].rtp
	to := &s.streams[0].ends[Callee].rtp
	r.tick()
	if errno := to.send(packet(1, 1, "ring"), 0); errno != 0 {
		t.Fatal(errno)
	}
	for r.count(dropFlood) == 0 {
		from.forward(s.worker, c.read())
		to.forward(s.worker, c.read())
		if r.count(forwardedPackets) > 3*maxRate {
			t.Fatal("it runs without end")
		}
	}
}
