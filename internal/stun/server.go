package stun

import (
	"net/netip"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Server is made of. Zero fields get the default behind them.
type Config struct {
	Topology *Topology      // no alternates
	Trusted  []netip.Prefix // sources without a limit

	// Rate and Burst are the answers that one source gets in a second and at once: 50 and 1,000. A site with a hundred
	// codecs behind one address starts them all after a power cut, with ten requests each; whoever forges a source can
	// bother it with 5 kB/s.
	Rate, Burst int
}

// Server answers datagrams for any number of sockets and goroutines.
type Server struct {
	topology *Topology
	trusted  []netip.Prefix
	limiter  *limiter
	counters [numOutcomes]atomic.Uint64
}

// New makes a Server.
func New(c Config) *Server {
	if c.Topology == nil {
		c.Topology = &Topology{}
	}
	if c.Rate <= 0 {
		c.Rate = 50
	}
	if c.Burst <= 0 {
		c.Burst = 1000
	}
	return &Server{topology: c.Topology, trusted: c.Trusted, limiter: newLimiter(c.Rate, c.Burst)}
}

// Sockets are the addresses to bind.
func (s *Server) Sockets() []netip.AddrPort { return s.topology.Sockets() }

// Answer is Respond with the limit of the source, counted. The answer is to be sent to from.
func (s *Server) Answer(dst, datagram []byte, from, to netip.AddrPort) (answer []byte, replyFrom netip.AddrPort, ok bool) {
	answer, replyFrom, o := Respond(dst, datagram, from, to, s.topology)
	if o <= Refused && !s.allow(from.Addr()) { // only what would be answered counts against a source
		answer, o = dst, Limited
	}
	s.counters[o].Add(1)
	return answer, replyFrom, o <= Refused
}

func (s *Server) allow(a netip.Addr) bool {
	for _, p := range s.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return s.limiter.allow(a)
}

var (
	answeredDesc = prometheus.NewDesc("liaison_stun_answered_total", "STUN requests answered, by what the client speaks or the answer is.", []string{"kind"}, nil)
	droppedDesc  = prometheus.NewDesc("liaison_stun_dropped_total", "STUN datagrams that got no answer.", []string{"reason"}, nil)
)

// outcomeLabels: the value of the only label of each metric.
var outcomeLabels = [numOutcomes]string{
	Answered:        "rfc8489",
	AnsweredClassic: "rfc3489",
	Refused:         "unknown_attribute",
	Indication:      "indication",
	NotBinding:      "not_binding",
	Malformed:       "malformed",
	BadFingerprint:  "fingerprint",
	BadSource:       "source",
	NoAlternate:     "no_alternate",
	Limited:         "limit",
}

// Describe and Collect make the Server a prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	ch <- answeredDesc
	ch <- droppedDesc
}

func (s *Server) Collect(ch chan<- prometheus.Metric) {
	for o, label := range outcomeLabels {
		desc := droppedDesc
		if Outcome(o) <= Refused {
			desc = answeredDesc
		}
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(s.counters[o].Load()), label)
	}
}
