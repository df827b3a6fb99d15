package relay

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	caller, callee, stranger := newAgent(t, "127.8.1.2"), newAgent(t, "127.8.1.3"), newAgent(t, "127.8.1.66")
	r, _ := start(t, Config{Pools: poolAt("127.8.1.1"), Probe: &Address{Announce: ip("127.8.1.9"), First: testFirst, Last: testLast}})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(r); err != nil {
		t.Fatal(err)
	}
	s := open(t, r, caller, callee)
	to, _ := s.Local(Caller, 0)
	stranger.send(to, packet(1, 1, "bleed"))
	join(t, s, caller, callee)
	until(t, func() bool { return r.count(forwardedPackets) == 2 })

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			line := f.GetName()
			for _, l := range m.Label {
				line += fmt.Sprintf("{%s=%s}", l.GetName(), l.GetValue())
			}
			got = append(got, fmt.Sprint(line, " ", m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	slices.Sort(got)
	want := []string{
		"liaison_relay_bytes_total 54",
		"liaison_relay_dropped_total{reason=flood} 0",
		"liaison_relay_dropped_total{reason=no_destination} 0",
		"liaison_relay_dropped_total{reason=not_the_locked_source} 0",
		"liaison_relay_dropped_total{reason=receive_failed} 0",
		"liaison_relay_dropped_total{reason=send_blocked} 0",
		"liaison_relay_dropped_total{reason=send_failed} 0",
		"liaison_relay_dropped_total{reason=send_too_large} 0",
		"liaison_relay_dropped_total{reason=send_unreachable} 0",
		"liaison_relay_dropped_total{reason=unknown_address} 1",
		"liaison_relay_dropped_total{reason=window_over} 0",
		"liaison_relay_packets_total 2",
		"liaison_relay_ports_used{pool=house} 4",
		"liaison_relay_ports_used{pool=probe} 0",
		"liaison_relay_ports{pool=house} 1000",
		"liaison_relay_ports{pool=probe} 1000",
		"liaison_relay_sessions 1",
		"liaison_relay_sources_total{event=learned} 2",
		"liaison_relay_sources_total{event=moved} 0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
