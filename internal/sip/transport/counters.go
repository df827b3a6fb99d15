package transport

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counter is one thing that is counted. The set is closed: no label is ever a number or an address.
type counter uint8

const (
	receivedUDP counter = iota
	receivedTCP
	receivedLink
	sentUDP
	sentTCP
	sentLink
	keepAliveUDP
	keepAliveTCP
	pong
	answeredSTUN
	answeredSIPPort
	refused

	// Everything from here on is something lost; the minute's summary tells of it.
	dropEmpty
	dropSTUN
	dropNotSTUN
	dropNotSIP
	dropUnparseable
	dropTruncated
	dropSourcePort
	dropNoBuffer
	dropLinkFull
	dropPanic
	sendBlocked
	sendUnreachable
	sendTooLarge
	sendNoPath
	sendFailed
	refuseLarger
	connLimit
	connSourceLimit
	acceptFailed
	cutSlowReader
	cutSlowMessage
	cutNeverUsed
	cutIdle
	cutFraming
	cutTooLarge
	numCounters
)

// counterNames: the metric and the value of its only label.
var counterNames = [numCounters][2]string{
	receivedUDP:     {"received", "udp"},
	receivedTCP:     {"received", "tcp"},
	receivedLink:    {"received", "link"},
	sentUDP:         {"sent", "udp"},
	sentTCP:         {"sent", "tcp"},
	sentLink:        {"sent", "link"},
	keepAliveUDP:    {"keepalive", "udp"},
	keepAliveTCP:    {"keepalive", "tcp"},
	pong:            {"pong", "tcp"},
	answeredSTUN:    {"stun", "stun"},
	answeredSIPPort: {"stun", "sip"},
	refused:         {"refused", "unparseable"},
	dropEmpty:       {"dropped", "empty"},
	dropSTUN:        {"dropped", "stun"},
	dropNotSTUN:     {"dropped", "not_stun"},
	dropNotSIP:      {"dropped", "not_sip"},
	dropUnparseable: {"dropped", "unparseable"},
	dropTruncated:   {"dropped", "truncated"},
	dropSourcePort:  {"dropped", "source_port_0"},
	dropNoBuffer:    {"dropped", "no_buffer"},
	dropLinkFull:    {"dropped", "link_full"},
	dropPanic:       {"dropped", "internal_error"},
	sendBlocked:     {"send_failed", "blocked"},
	sendUnreachable: {"send_failed", "unreachable"},
	sendTooLarge:    {"send_failed", "too_large"},
	sendNoPath:      {"send_failed", "no_such_flow"},
	sendFailed:      {"send_failed", "other"},
	refuseLarger:    {"send_failed", "refusal_larger_than_request"},
	connLimit:       {"connection_refused", "total"},
	connSourceLimit: {"connection_refused", "source"},
	acceptFailed:    {"connection_refused", "accept_failed"},
	cutSlowReader:   {"connection_cut", "slow_reader"},
	cutSlowMessage:  {"connection_cut", "slow_message"},
	cutNeverUsed:    {"connection_cut", "never_used"},
	cutIdle:         {"connection_cut", "idle"},
	cutFraming:      {"connection_cut", "framing"},
	cutTooLarge:     {"connection_cut", "too_large"},
}

// metrics: name, label and help of each.
var metrics = map[string][3]string{
	"received":           {"liaison_sip_messages_received_total", "transport", "SIP messages received and parsed."},
	"sent":               {"liaison_sip_messages_sent_total", "transport", "SIP messages sent."},
	"keepalive":          {"liaison_sip_keepalives_total", "transport", "Keep-alives received."},
	"pong":               {"liaison_sip_pongs_total", "transport", "Keep-alive pings answered."},
	"stun":               {"liaison_stun_sent_total", "port", "STUN answers sent, by the kind of port that was asked."},
	"refused":            {"liaison_sip_refused_total", "reason", "Messages answered with a stateless refusal."},
	"dropped":            {"liaison_sip_dropped_total", "reason", "Received messages dropped without an answer."},
	"send_failed":        {"liaison_sip_send_failed_total", "reason", "Messages that could not be sent."},
	"connection_refused": {"liaison_sip_connections_refused_total", "reason", "Connections not accepted."},
	"connection_cut":     {"liaison_sip_connections_cut_total", "reason", "Connections ended by the service."},
	"socket":             {"liaison_sip_socket_dropped_total", "transport", "Datagrams that the kernel dropped because the service did not read fast enough."},
	"connections":        {"liaison_sip_connections", "transport", "Connections that are open."},
}

// counters hold one number for each counter; they only grow.
type counters [numCounters]atomic.Uint64

func (c *counters) add(which counter, n int) { c[which].Add(uint64(n)) }

// Describe and Collect make the Transport a prometheus.Collector.
func (t *Transport) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range t.descs {
		ch <- d
	}
}

func (t *Transport) Collect(ch chan<- prometheus.Metric) {
	for c, name := range counterNames {
		ch <- prometheus.MustNewConstMetric(t.descs[name[0]], prometheus.CounterValue, float64(t.counters[c].Load()), name[1])
	}
	drops := uint64(0)
	for _, s := range t.sockets {
		drops += uint64(s.kernelDrops())
	}
	ch <- prometheus.MustNewConstMetric(t.descs["socket"], prometheus.CounterValue, float64(drops), "udp")
	ch <- prometheus.MustNewConstMetric(t.descs["connections"], prometheus.GaugeValue, float64(t.streams.open()), "tcp")
}

func newDescs() map[string]*prometheus.Desc {
	descs := make(map[string]*prometheus.Desc, len(metrics))
	for key, m := range metrics {
		descs[key] = prometheus.NewDesc(m[0], m[2], []string{m[1]}, nil)
	}
	return descs
}

// summarise says once a minute what was lost: a flood of bad datagrams is one line.
func (t *Transport) summarise(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	var before [numCounters]uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var attrs []slog.Attr
		for c := dropEmpty; c < numCounters; c++ {
			now := t.counters[c].Load()
			if n := now - before[c]; n > 0 {
				attrs = append(attrs, slog.Uint64(counterNames[c][0]+"."+counterNames[c][1], n))
			}
			before[c] = now
		}
		if len(attrs) > 0 {
			t.log.LogAttrs(ctx, slog.LevelWarn, "messages or connections lost in the last minute", attrs...)
		}
	}
}
