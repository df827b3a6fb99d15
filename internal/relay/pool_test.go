package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPorts(t *testing.T) {
	rows := []struct {
		name        string
		first, last uint16
		want        int // pairs
	}{
		{"the usual range", 0, 0, 498},
		{"one pair", 20000, 20001, 1},
		{"an odd first port is left out", 20001, 20003, 1},
		{"an even last port is left out", 20000, 20002, 1},
		{"to the very last", 65534, 65535, 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := Address{Announce: ip("127.0.0.1"), First: row.first, Last: row.last}
			a.setDefaults()
			ports := newAddress(a)
			seen := map[uint16]bool{}
			for range row.want {
				p, ok := ports.take()
				if !ok || p%2 != 0 || p < a.First || p+1 > a.Last || seen[p] {
					t.Fatalf("%d, %v", p, ok)
				}
				seen[p] = true
			}
			if _, ok := ports.take(); ok {
				t.Error("there are more than that")
			}
			if u := ports.usage(); u.Used != 2*row.want || u.Total != 2*row.want {
				t.Errorf("%+v", u)
			}
		})
	}
}

func TestAPortRestsAsLongAsPossible(t *testing.T) {
	a := newAddress(Address{Announce: ip("127.0.0.1"), First: 20000, Last: 20019})
	first, _ := a.take()
	a.give(first)
	for range 9 {
		if p, _ := a.take(); p == first {
			t.Fatal("it came back before the others")
		}
	}
	if p, _ := a.take(); p != first {
		t.Errorf("%d came, and not the one that rested", p)
	}
}

func TestClaimedPortsAreNotGivenOut(t *testing.T) {
	a := newAddress(Address{Announce: ip("127.0.0.1"), First: 20000, Last: 20009})
	p, _ := a.take()
	a.give(p) // the queue does not begin at its beginning
	if !a.claim(20004) || a.claim(20004) || a.claim(20005) || a.claim(20010) {
		t.Fatal("claim")
	}
	for range 4 {
		if p, ok := a.take(); !ok || p == 20004 {
			t.Fatal(p, ok)
		}
	}
	if _, ok := a.take(); ok {
		t.Error("there are more")
	}
	a.give(20004)
	if p, ok := a.take(); !ok || p != 20004 {
		t.Error(p, ok)
	}
}

func TestConfigIsRefused(t *testing.T) {
	one := Address{Announce: ip("192.0.2.1")}
	rows := []struct {
		name   string
		config Config
		want   string
	}{
		{"a pool without an address", Config{Pools: []Pool{{Name: "a"}}}, `relay pool "a" has no address`},
		{"an address that is not one", Config{Pools: []Pool{{"a", []Address{{}}}}},
			`relay pool "a": needs the address that agents are told`},
		{"two pools of one name", Config{Pools: []Pool{{"a", []Address{one}}, {"a", []Address{one}}}},
			`relay pool "a": the name is taken`},
		{"two pools on the same ports", Config{Pools: []Pool{{"a", []Address{one}}, {"b", []Address{one}}}},
			`relay pool "b": ports 55004-55999 of 192.0.2.1 are used twice`},
		{"all addresses and one of them", Config{Pools: []Pool{{"a", []Address{one, {Announce: ip("192.0.2.2"), Bind: ip("0.0.0.0")}}}}},
			`relay pool "a": ports 55004-55999 of 0.0.0.0 are used twice`},
		{"a probe address that is a relay's too", Config{Pools: []Pool{{"a", []Address{one}}}, Probe: &one},
			`relay pool "probe": ports 55004-55999 of 192.0.2.1 are used twice`},
		{"a range without a pair", Config{Pools: []Pool{{"a", []Address{{Announce: ip("192.0.2.1"), First: 20001, Last: 20002}}}}},
			`relay pool "a": 192.0.2.1: ports 20001-20002 hold no pair of an even port and the odd one above`},
		{"families that do not fit", Config{Pools: []Pool{{"a", []Address{{Announce: ip("192.0.2.1"), Bind: ip("::")}}}}},
			`relay pool "a": 192.0.2.1 is announced and :: bound: both must be IPv4 or both IPv6`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := New(row.config)
			if err == nil || err.Error() != row.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAFullPoolSaysSo(t *testing.T) {
	pools := poolAt("127.3.1.1")
	pools[0].Addresses[0].Last = testFirst + 7 // two calls
	pools = append(pools, Pool{Name: "other", Addresses: []Address{{Announce: ip("127.3.1.2"), First: testFirst, Last: testLast}}})
	r, _ := start(t, Config{Pools: pools})
	var sessions []*Session
	for range 2 {
		s, err := r.Open(Plan{Streams: 1})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	_, err := r.Open(Plan{Streams: 1})
	want := `relay pool "house": no ports left for IPv4: 8 of 8 are in use; give it more addresses or more ports`
	if !errors.Is(err, ErrFull) || err.Error() != want {
		t.Errorf("%v", err)
	}
	if _, err := r.Open(Plan{Pool: "other", Streams: 1}); err != nil {
		t.Errorf("another pool has ports: %v", err)
	}
	if err := sessions[0].Grow(2); !errors.Is(err, ErrFull) || sessions[0].Streams() != 1 {
		t.Errorf("grown to %d: %v", sessions[0].Streams(), err)
	}
	sessions[1].Close()
	if n := portsUsed(t, r); n != 4 {
		t.Errorf("%d ports in use by one session", n)
	}
	// Three streams do not fit, and what was taken for the first of them is given back.
	if _, err := r.Open(Plan{Streams: 3}); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if _, err := r.Open(Plan{Streams: 1}); err != nil {
		t.Errorf("two of the ports are free again: %v", err)
	}
}

func TestOpenIsRefused(t *testing.T) {
	r, _ := start(t, Config{Pools: poolAt("127.3.2.1")})
	rows := []struct {
		name string
		plan Plan
		want string
	}{
		{"no such pool", Plan{Pool: "lyon"}, `there is no relay pool "lyon"`},
		{"no address of that family", Plan{Legs: [2]Leg{{}, {IPv6: true}}}, `relay pool "house" has no address for IPv6`},
		{"no such address", Plan{Legs: [2]Leg{{Address: ip("127.3.2.9")}, {}}}, `relay pool "house" has no address for 127.3.2.9`},
		{"no probe address", Plan{Legs: [2]Leg{{Probe: true}, {}}}, `there is no probe address`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if _, err := r.Open(row.plan); err == nil || err.Error() != row.want {
				t.Errorf("%v", err)
			}
			if n := portsUsed(t, r); n != 0 {
				t.Errorf("%d ports stay in use", n)
			}
		})
	}
}

func TestSeveralAddressesShareTheLoad(t *testing.T) {
	r, _ := start(t, Config{Pools: poolAt("127.3.3.1", "127.3.3.2")})
	count := map[netip.Addr]int{}
	for range 10 {
		s, err := r.Open(Plan{Streams: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, side := range []Side{Caller, Callee} {
			a, _ := s.Local(side, 0)
			count[a.Addr()]++
		}
	}
	if d := cmp.Diff(map[netip.Addr]int{ip("127.3.3.1"): 10, ip("127.3.3.2"): 10}, count, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	s, err := r.Open(Plan{Streams: 1, Legs: [2]Leg{{Address: ip("127.3.3.2")}, {Address: ip("127.3.3.2")}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []Side{Caller, Callee} {
		if a, _ := s.Local(side, 0); a.Addr() != ip("127.3.3.2") {
			t.Errorf("the %s is on %s", side, a)
		}
	}
}

func TestAnAnnouncedAddressMayDifferFromTheBoundOne(t *testing.T) {
	caller, callee := newAgent(t, "127.3.4.2"), newAgent(t, "127.3.4.3")
	r, _ := start(t, Config{Pools: []Pool{{"house", []Address{
		{Announce: ip("203.0.113.1"), Bind: ip("127.3.4.1"), First: testFirst, Last: testLast}}}}})
	s := open(t, r, caller, callee)
	to, _ := s.Local(Caller, 0)
	from, _ := s.Local(Callee, 0)
	if to.Addr() != ip("203.0.113.1") {
		t.Errorf("%s is announced", to)
	}
	caller.send(netip.AddrPortFrom(ip("127.3.4.1"), to.Port()), packet(1, 1, "through the NAT"))
	callee.expect(packet(1, 1, "through the NAT"), netip.AddrPortFrom(ip("127.3.4.1"), from.Port()))
}

func TestADeadAddressIsPassedOverAndTold(t *testing.T) {
	var log bytes.Buffer
	pools := poolAt("192.0.2.1", "127.3.6.1") // the first is no address of this machine
	r, _ := start(t, Config{Pools: pools, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		s, err := r.Open(Plan{Streams: 1})
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := s.Local(Caller, 0); a.Addr() != ip("127.3.6.1") {
			t.Errorf("%s", a)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "address=192.0.2.1") {
		t.Errorf("%d lines: %s", n, log.String())
	}
	_, err := r.Open(Plan{Legs: [2]Leg{{Address: ip("192.0.2.1")}, {}}})
	if err == nil || errors.Is(err, ErrFull) || !strings.HasPrefix(err.Error(), `relay pool "house": bind 192.0.2.1:`) {
		t.Errorf("%v", err)
	}
	if n := portsUsed(t, r); n != 12 {
		t.Errorf("%d ports in use", n)
	}
}

func TestPortsOfOtherProgramsArePassedOver(t *testing.T) {
	pools := poolAt("127.3.5.1")
	pools[0].Addresses[0].Last = testFirst + 5
	var held []*net.UDPConn
	for _, port := range []int{testFirst, testFirst + 3} { // RTP of the first pair, RTCP of the second
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 3, 5, 1), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	defer held[0].Close()
	r, _ := start(t, Config{Pools: pools})
	_, err := r.Open(Plan{Streams: 1}) // one pair is not enough
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "other programs hold 2 of them") {
		t.Errorf("%v", err)
	}
	held[1].Close()
	s, err := r.Open(Plan{Streams: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []Side{Caller, Callee} {
		if a, _ := s.Local(side, 0); a.Port() == testFirst {
			t.Errorf("the %s has a port that is held", side)
		}
	}
}
