package relay

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
)

func TestForwards(t *testing.T) {
	rows := []struct{ name, relay4, relay6, caller, callee string }{
		{"between two agents", "127.1.1.1", "", "127.1.1.2", "127.1.1.3"},
		{"from IPv4 to IPv6", "127.1.2.1", "::1", "127.1.2.2", "::1"},
		{"from IPv6 to IPv4", "127.1.3.1", "::1", "::1", "127.1.3.2"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			caller, callee := newAgent(t, row.caller), newAgent(t, row.callee)
			pools := poolAt(row.relay4)
			if row.relay6 != "" {
				pools = poolAt(row.relay4, row.relay6)
			}
			r, _ := start(t, Config{Pools: pools})
			s := open(t, r, caller, callee)
			toCaller, callerRTCP := s.Local(Caller, 0)
			toCallee, calleeRTCP := s.Local(Callee, 0)
			if toCaller.Port()%2 != 0 || callerRTCP.Port() != toCaller.Port()+1 || toCallee.Port()%2 != 0 || calleeRTCP.Port() != toCallee.Port()+1 {
				t.Errorf("RTP is even and RTCP the odd port above: %s %s, %s %s", toCaller, callerRTCP, toCallee, calleeRTCP)
			}
			join(t, s, caller, callee)

			payloads := map[string][]byte{
				"a 4 ms packet of 1,200 bytes": packet(1, 2, string(bytes.Repeat([]byte("x"), 1188))),
				"more than a line takes":       packet(1, 3, string(bytes.Repeat([]byte("x"), 8000))),
				"STUN":                         append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...),
				"DTLS":                         {22, 254, 253, 0, 0, 1},
				"four zeros":                   {0, 0, 0, 0},
				"nothing":                      {},
				"RTP that is encrypted":        append([]byte{0xa0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1}, 0xff),
			}
			for name, b := range payloads {
				caller.send(toCaller, b)
				got, from := callee.receive()
				if d := cmp.Diff(b, got); d != "" || from != toCallee {
					t.Errorf("%s from %s: %s", name, from, d)
				}
			}
		})
	}
}

func TestDuplicatedPacketsAreForwardedAsTheyCome(t *testing.T) {
	caller, callee := newAgent(t, "127.1.4.2"), newAgent(t, "127.1.4.3")
	r, _ := start(t, Config{Pools: poolAt("127.1.4.1")})
	s := open(t, r, caller, callee)
	join(t, s, caller, callee)
	toCaller, _ := s.Local(Caller, 0)
	toCallee, _ := s.Local(Callee, 0)
	for range 2 {
		caller.send(toCaller, packet(1, 2, "twice"))
	}
	for range 2 {
		callee.expect(packet(1, 2, "twice"), toCallee)
	}
	if d := s.Traffic(Caller, 0).Duplicates; d != 1 {
		t.Errorf("%d duplicates", d)
	}
}

func TestRTCP(t *testing.T) {
	type place struct{ caller, callee *agent }
	rows := []struct {
		name        string
		caller      Remote // but for the addresses
		callee      Remote
		from, to    func(rtp, rtcp *agent) *agent // which of its two sockets each side uses for RTCP
		toMuxedPort bool
		wantMuxed   bool
	}{
		{"on the ports above", Remote{}, Remote{},
			func(_, c *agent) *agent { return c }, func(_, c *agent) *agent { return c }, false, false},
		{"on the ports of RTP, when both sides want that", Remote{Mux: true}, Remote{Mux: true},
			func(r, _ *agent) *agent { return r }, func(r, _ *agent) *agent { return r }, true, true},
		{"on the ports above, when only the offer wants them shared", Remote{Mux: true}, Remote{},
			func(_, c *agent) *agent { return c }, func(_, c *agent) *agent { return c }, false, false},
		{"to the port above, though it came to that of RTP", Remote{}, Remote{},
			func(r, _ *agent) *agent { return r }, func(_, c *agent) *agent { return c }, true, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r, _ := start(t, Config{Pools: poolAt("127.1.5.1")})
			rtps := place{newAgent(t, "127.1.5.2"), newAgent(t, "127.1.5.3")}
			rtcps := place{newAgent(t, "127.1.5.2"), newAgent(t, "127.1.5.3")}
			s, err := r.Open(Plan{Streams: 1})
			if err != nil {
				t.Fatal(err)
			}
			row.caller.RTP, row.caller.RTCP, row.caller.Source = rtps.caller.addr, rtcps.caller.addr, rtps.caller.addr.Addr()
			row.callee.RTP, row.callee.RTCP, row.callee.Source = rtps.callee.addr, rtcps.callee.addr, rtps.callee.addr.Addr()
			s.SetRemote(Caller, 0, row.caller)
			s.SetRemote(Callee, 0, row.callee)
			join(t, s, rtps.caller, rtps.callee)

			to, toRTCP := s.Local(Caller, 0)
			if !row.toMuxedPort {
				to = toRTCP
			}
			from, fromRTCP := s.Local(Callee, 0)
			if !row.wantMuxed {
				from = fromRTCP
			}
			row.from(rtps.caller, rtcps.caller).send(to, controlPacket(1))
			row.to(rtps.callee, rtcps.callee).expect(controlPacket(1), from)
			if n := s.Traffic(Caller, 0).Control; n != 1 {
				t.Errorf("%d RTCP packets counted", n)
			}
		})
	}

	t.Run("with the port of RTP in a=rtcp of one side", func(t *testing.T) {
		caller, callee := newAgent(t, "127.1.6.2"), newAgent(t, "127.1.6.3")
		r, _ := start(t, Config{Pools: poolAt("127.1.6.1")})
		s := open(t, r, caller, callee)
		s.SetRemote(Callee, 0, Remote{RTP: callee.addr, RTCP: callee.addr, Source: callee.addr.Addr()})
		join(t, s, caller, callee)
		_, toRTCP := s.Local(Caller, 0)
		from, _ := s.Local(Callee, 0)
		caller.send(toRTCP, controlPacket(1))
		callee.expect(controlPacket(1), from)
	})
}

func TestBeforeLearning(t *testing.T) {
	caller, callee := newAgent(t, "127.1.7.2"), newAgent(t, "127.1.7.3")
	r, _ := start(t, Config{Pools: poolAt("127.1.7.1")})
	s := open(t, r, caller, callee)
	toCaller, _ := s.Local(Caller, 0)
	toCallee, _ := s.Local(Callee, 0)

	t.Run("packets go where the agent said it is", func(t *testing.T) {
		caller.send(toCaller, packet(1, 1, "early"))
		callee.expect(packet(1, 1, "early"), toCallee)
	})
	t.Run("packets for one behind a NAT wait for its first", func(t *testing.T) {
		s.SetRemote(Callee, 0, Remote{RTP: ap("192.168.1.5:5004"), Source: callee.addr.Addr()})
		caller.send(toCaller, packet(1, 2, "lost"))
		callee.send(toCallee, packet(2, 1, "here I am"))
		caller.expect(packet(2, 1, "here I am"), toCaller)
		caller.send(toCaller, packet(1, 3, "heard"))
		callee.expect(packet(1, 3, "heard"), toCallee)
	})
}

func TestStreams(t *testing.T) {
	r, _ := start(t, Config{Pools: poolAt("127.1.8.1")})
	s, err := r.Open(Plan{Streams: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Grow(3); err != nil { // FEC comes with a re-INVITE
		t.Fatal(err)
	}
	if n := portsUsed(t, r); n != 3*4 {
		t.Errorf("%d ports for 3 streams", n)
	}
	type ends struct{ caller, callee *agent }
	var agents []ends
	for i := range 3 {
		a := ends{newAgent(t, "127.1.8.2"), newAgent(t, "127.1.8.3")}
		agents = append(agents, a)
		s.SetRemote(Caller, i, Remote{RTP: a.caller.addr, Source: ip("127.1.8.2")})
		s.SetRemote(Callee, i, Remote{RTP: a.callee.addr, Source: ip("127.1.8.3")})
	}
	for i, a := range agents {
		to, _ := s.Local(Caller, i)
		from, _ := s.Local(Callee, i)
		a.caller.send(to, packet(uint32(i), 1, "stream"))
		a.callee.expect(packet(uint32(i), 1, "stream"), from)
	}
	for _, a := range agents {
		a.caller.empty()
		a.callee.empty()
	}

	t.Run("two lines on one port", func(t *testing.T) {
		a := agents[0]
		to, _ := s.Local(Caller, 0)
		from, _ := s.Local(Callee, 0)
		for i := range uint16(10) {
			for _, ssrc := range []uint32{10, 11} {
				a.caller.send(to, packet(ssrc, 100*uint16(ssrc)+i, "line"))
				a.callee.expect(packet(ssrc, 100*uint16(ssrc)+i, "line"), from)
			}
		}
		if m := s.Traffic(Caller, 0); m.Lost != 0 || m.Restarts != 0 || m.Sources != 3 || m.Packets != 21 {
			t.Errorf("%+v", m)
		}
	})
}

// Marks: expedited forwarding, and what an agent sends after it.
func TestMarksAreKept(t *testing.T) {
	for _, row := range []struct{ name, relay, caller, callee string }{
		{"IPv4", "127.1.9.1", "127.1.9.2", "127.1.9.3"},
		{"IPv6", "::1", "::1", "::1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			caller, callee := newAgent(t, row.caller), newAgent(t, row.callee)
			r, _ := start(t, Config{Pools: poolAt(row.relay)})
			s := open(t, r, caller, callee)
			v6 := caller.addr.Addr().Is6()
			to, _ := s.Local(Caller, 0)

			raw, err := callee.conn.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := raw.Control(func(fd uintptr) {
				if v6 {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
				} else {
					err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			// The two bits of ECN are ours, not the agent's.
			for i, mark := range []int{0xb8, 0xb8, 0x88 | 1, 0, 0xb8} {
				out, err := caller.conn.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				if err := out.Control(func(fd uintptr) { setMark(int(fd), v6, uint8(mark)) }); err != nil {
					t.Fatal(err)
				}
				caller.send(to, packet(1, uint16(i), "marked"))
				oob := make([]byte, 128)
				if err := callee.conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
					t.Fatal(err)
				}
				_, n, _, _, err := callee.conn.ReadMsgUDPAddrPort(make([]byte, 2000), oob)
				if err != nil {
					t.Fatal(err)
				}
				in := new(inbox)
				copy(in.control[:], oob[:n])
				in.hdr.SetControllen(n)
				if got, _ := in.look(epoch); got != uint8(mark)&0xfc {
					t.Errorf("packet %d sent with %#x came with %#x", i, mark, got)
				}
				raw := oob[unix.SizeofCmsghdr:n]
				if raw[0]&3 != 0 {
					t.Errorf("packet %d came with ECN %d", i, raw[0]&3)
				}
			}
		})
	}
}

func TestAFloodIsBounded(t *testing.T) {
	caller, callee := newAgent(t, "127.1.10.2"), newAgent(t, "127.1.10.3")
	r, c := still(t, Config{Pools: poolAt("127.1.10.1")})
	s := open(t, r, caller, callee)
	to, _ := s.Local(Caller, 0)
	from, _ := s.Local(Callee, 0)
	p := &s.streams[0].ends[Caller].rtp
	r.tick()
	for i := range uint16(maxRate) {
		caller.send(to, packet(1, i, "flood"))
		one(t, p, c.read())
		callee.expect(packet(1, i, "flood"), from)
	}
	caller.send(to, packet(1, maxRate, "too much"))
	one(t, p, c.read())
	callee.empty()
	if n := r.count(dropFlood); n != 1 {
		t.Errorf("%d packets counted as a flood", n)
	}
	c.pass(time.Second)
	r.tick()
	caller.send(to, packet(1, maxRate+1, "again"))
	one(t, p, c.read())
	callee.expect(packet(1, maxRate+1, "again"), from)
}

func TestForwardingAllocatesNothing(t *testing.T) {
	caller, callee := newAgent(t, "127.1.11.2"), newAgent(t, "127.1.11.3")
	r, _ := still(t, Config{Pools: poolAt("127.1.11.1")})
	s := open(t, r, caller, callee)
	s.SetRemote(Callee, 0, Remote{RTP: callee.addr, Source: callee.addr.Addr(), Clocks: []Clock{{8, 8000}}})
	to, _ := s.Local(Caller, 0)
	b := packet(1, 1, "audio")
	in := make([]byte, 100)
	p := &s.streams[0].ends[Caller].rtp
	n := testing.AllocsPerRun(1000, func() {
		if _, err := caller.conn.WriteToUDPAddrPort(b, to); err != nil {
			t.Fatal(err)
		}
		b[3]++
		one(t, p, epoch)
		if _, _, err := callee.conn.ReadFromUDPAddrPort(in); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for each packet", n)
	}
}
