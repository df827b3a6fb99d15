package stun

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// served counts how many of n requests get an answer.
func served(t *testing.T, s *Server, n int, from string) (answers int) {
	t.Helper()
	request := wire(t, "0001 0000"+cookie+id)
	for range n {
		if _, _, ok := s.Answer(nil, request, addr(from), addr(a1p1)); ok {
			answers++
		}
	}
	return answers
}

func TestEachSourceIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Rate: 10, Burst: 20, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
		for _, row := range []struct {
			name, from string
			asks, gets int
		}{
			{"a burst", "198.51.100.7:1000", 100, 20},
			{"another port of the same source gains nothing", "198.51.100.7:1001", 100, 0},
			{"a neighbour is not touched", "198.51.100.8:1000", 20, 20},
			{"an IPv6 site", "[2001:db8:1:2::1]:1000", 100, 20},
			{"another address of that site gains nothing", "[2001:db8:1:2:ffff::9]:1000", 100, 0},
			{"the next site is not touched", "[2001:db8:1:3::1]:1000", 20, 20},
			{"a trusted source has no limit", "192.0.2.7:1000", 1000, 1000},
		} {
			if got := served(t, s, row.asks, row.from); got != row.gets {
				t.Errorf("%s: %d of %d answered, want %d", row.name, got, row.asks, row.gets)
			}
		}
		time.Sleep(time.Second)
		if got := served(t, s, 100, "198.51.100.7:1000"); got != 10 {
			t.Errorf("after a second %d more, want 10", got)
		}
		time.Sleep(time.Minute)
		if got := served(t, s, 100, "198.51.100.7:1000"); got != 20 {
			t.Errorf("after a minute a burst of %d, want 20", got)
		}
	})
}

// A flood of forged sources fills the table; the one that is limited stays limited.
func TestForgedSourcesDoNotFreeALimitedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Rate: 10, Burst: 20})
		served(t, s, 100, client4)
		request := wire(t, "0001 0000"+cookie+id)
		for i := range 4 * limitSets * limitWays {
			var ip [4]byte
			binary.BigEndian.PutUint32(ip[:], 0x0b000000+uint32(i))
			s.Answer(nil, request, netip.AddrPortFrom(netip.AddrFrom4(ip), 1000), addr(a1p1))
		}
		if got := served(t, s, 100, client4); got != 0 {
			t.Errorf("%d answers", got)
		}
	})
}

func TestEveryOutcomeIsCounted(t *testing.T) {
	s := New(Config{Topology: oneAddress(t), Burst: 3})
	for _, request := range []string{
		"0001 0000" + cookie + id, "0001 0000" + classicID, rfc5769Request, "0011 0000" + cookie + id, "0101 0000" + cookie + id,
		"0001 0004" + cookie + id, "0001 0008" + cookie + id + "8028 0004 00000000", "0001 0008" + classicID + "0003 0004 00000006",
		"0001 0000" + cookie + id,
	} {
		s.Answer(nil, wire(t, request), addr(client4), addr(a1p1))
	}
	s.Answer(nil, wire(t, "0001 0000"+cookie+id), netip.MustParseAddrPort("198.51.100.7:0"), addr(a1p1))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got = append(got, fmt.Sprintf("%s %s=%s %v", f.GetName(), m.GetLabel()[0].GetName(), m.GetLabel()[0].GetValue(), m.GetCounter().GetValue()))
		}
	}
	want := []string{
		"liaison_stun_answered_total kind=rfc3489 1",
		"liaison_stun_answered_total kind=rfc8489 1",
		"liaison_stun_answered_total kind=unknown_attribute 1",
		"liaison_stun_dropped_total reason=fingerprint 1",
		"liaison_stun_dropped_total reason=indication 1",
		"liaison_stun_dropped_total reason=limit 1",
		"liaison_stun_dropped_total reason=malformed 1",
		"liaison_stun_dropped_total reason=no_alternate 1",
		"liaison_stun_dropped_total reason=not_binding 1",
		"liaison_stun_dropped_total reason=source 1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
