package relay

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestObserved(t *testing.T) {
	caller, callee := newAgent(t, "127.5.1.2"), newAgent(t, "127.5.1.3")
	probe := Address{Announce: ip("127.5.1.9"), First: testFirst, Last: testLast}
	r, c := start(t, Config{Pools: poolAt("127.5.1.1"), Probe: &probe})
	s, err := r.Open(Plan{Streams: 1, Legs: [2]Leg{{Probe: true}, {}}})
	if err != nil {
		t.Fatal(err)
	}
	toCaller, _ := s.Local(Caller, 0)
	toCallee, _ := s.Local(Callee, 0)
	if toCaller.Addr() != probe.Announce || toCallee.Addr() != ip("127.5.1.1") {
		t.Errorf("the caller is told %s, the callee %s", toCaller, toCallee)
	}
	s.SetRemote(Caller, 0, Remote{RTP: caller.addr, Source: caller.addr.Addr()})
	s.SetRemote(Callee, 0, Remote{RTP: ap("192.168.1.5:5004"), Source: callee.addr.Addr()})

	callee.send(toCallee, []byte{0, 0, 0, 0}) // no media
	caller.expect([]byte{0, 0, 0, 0}, toCaller)
	want := Observation{Signalled: ap("192.168.1.5:5004"), Local: toCallee}
	if d := cmp.Diff(want, s.Observed(Callee, 0), cmpAddr); d != "" {
		t.Errorf("before media: %s", d)
	}

	c.pass(time.Second)
	join(t, s, caller, callee)
	want = Observation{Signalled: ap("192.168.1.5:5004"), Source: callee.addr, Local: toCallee, Since: epoch}
	if d := cmp.Diff(want, s.Observed(Callee, 0), cmpAddr); d != "" {
		t.Errorf("the callee: %s", d)
	}
	want = Observation{Signalled: caller.addr, Source: caller.addr, Local: toCaller, Probe: true, Since: epoch.Add(time.Second)}
	if d := cmp.Diff(want, s.Observed(Caller, 0), cmpAddr); d != "" {
		t.Errorf("the caller: %s", d)
	}
	if d := cmp.Diff(want, s.Close().Streams[0][Caller].Observation, cmpAddr); d != "" {
		t.Errorf("at the end: %s", d)
	}
}

func TestTrafficAndItsHistory(t *testing.T) {
	caller, callee := newAgent(t, "127.5.2.2"), newAgent(t, "127.5.2.3")
	r, c := still(t, Config{Pools: poolAt("127.5.2.1")})
	s := open(t, r, caller, callee)
	s.SetRemote(Callee, 0, Remote{RTP: callee.addr, Source: callee.addr.Addr(), Clocks: []Clock{{8, 8000}}})
	to, _ := s.Local(Caller, 0)
	p := &s.streams[0].ends[Caller].rtp
	send := func(n uint16) {
		caller.send(to, packet(1, n, "0123456789"))
		one(t, p, c.read())
		callee.receive()
	}
	// Three seconds of 50 packets; in the second of them two are missing, one comes twice and two change places.
	for n := range uint16(150) {
		switch n {
		case 60, 61:
		case 70:
			send(70)
			send(70)
		case 80:
			send(81)
		case 81:
			send(80)
		default:
			send(n)
		}
		c.pass(20 * time.Millisecond)
		r.tick()
	}
	m := s.Traffic(Caller, 0)
	if m.Packets != 149 || m.Bytes != 1490 || m.Lost != 2 || m.Bursts != 1 || m.LongestBurst != 2 || m.Duplicates != 1 || m.Reordered != 1 || m.Sources != 1 || m.SSRC != 1 {
		t.Errorf("%+v", m)
	}
	if m.MaxJitter == 0 {
		t.Error("two changed places, and there is no jitter")
	}
	want := []Sample{
		{At: 0, Span: time.Second, Packets: 50, Bytes: 500},
		{At: time.Second, Span: time.Second, Packets: 49, Bytes: 490, Lost: 2, Bursts: 1, Duplicates: 1, Reordered: 1},
		{At: 2 * time.Second, Span: time.Second, Packets: 50, Bytes: 500},
	}
	ignoreJitter := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Jitter" }, cmp.Ignore())
	if d := cmp.Diff(want, s.History(Caller, 0), ignoreJitter); d != "" {
		t.Error(d)
	}
	if len(s.History(Callee, 0)) != 3 {
		t.Error("silence is a sample too")
	}

	// The rest of a second at the end has a sample of its own.
	c.pass(800 * time.Millisecond)
	send(151)
	totals := s.Close()
	got, err := DecodeHistory(totals.Streams[0][Caller].History)
	if err != nil || len(got) != 4 || got[3].Packets != 1 || got[3].Lost != 1 {
		t.Errorf("%v %+v", err, got)
	}
	if totals.Pool != "house" || totals.Streams[0][Caller].Traffic.Packets != 150 {
		t.Errorf("%+v", totals)
	}
	if again := s.Close(); again.Streams != nil {
		t.Error("closed twice, it has ended twice")
	}
}

// What an agent does with its SSRCs must not cost memory.
func TestAnAgentThatChangesItsSSRCWithEveryPacket(t *testing.T) {
	caller, callee := newAgent(t, "127.5.3.2"), newAgent(t, "127.5.3.3")
	r, c := still(t, Config{Pools: poolAt("127.5.3.1")})
	s := open(t, r, caller, callee)
	to, _ := s.Local(Caller, 0)
	e := &s.streams[0].ends[Caller]
	for n := range uint32(1000) {
		caller.send(to, packet(n, uint16(n), "x"))
		one(t, &e.rtp, c.read())
		callee.receive()
		c.pass(time.Millisecond)
	}
	if m := s.Traffic(Caller, 0); m.Packets != 1000 || m.Sources != 1000 || m.SSRC != 999 {
		t.Errorf("%+v", m)
	}
	if len(e.meter.running) > maxStreams {
		t.Errorf("%d are kept", len(e.meter.running))
	}
}

func TestAClosedSessionIsDead(t *testing.T) {
	caller, callee := newAgent(t, "127.5.4.2"), newAgent(t, "127.5.4.3")
	r, c := still(t, Config{Pools: poolAt("127.5.4.1")})
	s := open(t, r, caller, callee)
	p := &s.streams[0].ends[Caller].rtp
	s.Close()
	s.SetRemote(Caller, 0, Remote{RTP: caller.addr})
	s.Reopen(Caller)
	s.Hold(true)
	if err := s.Grow(2); err == nil {
		t.Error("it grew")
	}
	p.forward(s.worker, c.read()) // an event that was reported before the end
	if n := r.count(errorReceive); n != 0 {
		t.Error("it was read")
	}
}
