package relay

import (
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// counter is one thing that is counted. The set is closed.
type counter uint8

const (
	forwardedPackets counter = iota
	forwardedBytes
	sourceLearned
	sourceMoved

	// Everything from here on is a packet that was not forwarded.
	dropStranger
	dropLate
	dropForeign
	dropFlood
	dropNowhere
	dropBlocked
	dropUnreachable
	dropTooLarge
	dropSend
	errorReceive
	numCounters
)

// counterNames: the metric and the value of its label, if it has one.
var counterNames = [numCounters][2]string{
	forwardedPackets: {"packets"},
	forwardedBytes:   {"bytes"},
	sourceLearned:    {"sources", "learned"},
	sourceMoved:      {"sources", "moved"},
	dropStranger:     {"dropped", "unknown_address"},
	dropLate:         {"dropped", "window_over"},
	dropForeign:      {"dropped", "not_the_locked_source"},
	dropFlood:        {"dropped", "flood"},
	dropNowhere:      {"dropped", "no_destination"},
	dropBlocked:      {"dropped", "send_blocked"},
	dropUnreachable:  {"dropped", "send_unreachable"},
	dropTooLarge:     {"dropped", "send_too_large"},
	dropSend:         {"dropped", "send_failed"},
	errorReceive:     {"dropped", "receive_failed"},
}

// judged is what is counted of a verdict.
var judged = [...]counter{
	learned: sourceLearned, moved: sourceMoved,
	stranger: dropStranger, late: dropLate, foreign: dropForeign,
}

// errorOf is what is counted of a packet that could not be sent.
func errorOf(errno syscall.Errno) counter {
	switch errno {
	case errNowhere:
		return dropNowhere
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return dropBlocked
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EHOSTDOWN, unix.ENETDOWN:
		return dropUnreachable
	case unix.EMSGSIZE:
		return dropTooLarge
	}
	return dropSend
}

// counters hold one number for each counter; they only grow. Every worker has its own.
type counters [numCounters]atomic.Uint64

func (c *counters) add(which counter, n int) { c[which].Add(uint64(n)) }

var (
	descPackets  = prometheus.NewDesc("liaison_relay_packets_total", "RTP and RTCP packets forwarded.", nil, nil)
	descBytes    = prometheus.NewDesc("liaison_relay_bytes_total", "Bytes of RTP and RTCP packets forwarded, without IP and UDP headers.", nil, nil)
	descSources  = prometheus.NewDesc("liaison_relay_sources_total", "Sources of media that were locked: learned after an offer or answer, or moved to a new address.", []string{"event"}, nil)
	descDropped  = prometheus.NewDesc("liaison_relay_dropped_total", "Packets that were not forwarded.", []string{"reason"}, nil)
	descSessions = prometheus.NewDesc("liaison_relay_sessions", "Sessions that are open.", nil, nil)
	descUsed     = prometheus.NewDesc("liaison_relay_ports_used", "Ports in use.", []string{"pool"}, nil)
	descTotal    = prometheus.NewDesc("liaison_relay_ports", "Ports that the pool has, used or free.", []string{"pool"}, nil)
)

// Describe and Collect make the Relay a prometheus.Collector.
func (r *Relay) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPackets, descBytes, descSources, descDropped, descSessions, descUsed, descTotal} {
		ch <- d
	}
}

func (r *Relay) Collect(ch chan<- prometheus.Metric) {
	descs := map[string]*prometheus.Desc{"packets": descPackets, "bytes": descBytes, "sources": descSources, "dropped": descDropped}
	for c, name := range counterNames {
		var labels []string
		if name[1] != "" {
			labels = name[1:]
		}
		ch <- prometheus.MustNewConstMetric(descs[name[0]], prometheus.CounterValue, float64(r.count(counter(c))), labels...)
	}
	r.mu.Lock()
	sessions := len(r.sessions)
	r.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(descSessions, prometheus.GaugeValue, float64(sessions))
	for _, p := range r.everyPool() {
		u := p.usage()
		ch <- prometheus.MustNewConstMetric(descUsed, prometheus.GaugeValue, float64(u.Used), p.name)
		ch <- prometheus.MustNewConstMetric(descTotal, prometheus.GaugeValue, float64(u.Total), p.name)
	}
}

// count sums one counter of all workers.
func (r *Relay) count(which counter) uint64 {
	var sum uint64
	for _, w := range r.workers {
		sum += w.counters[which].Load()
	}
	return sum
}
