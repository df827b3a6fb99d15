package registrar

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// outcome is what became of a REGISTER: a closed set of labels.
type outcome uint8

const (
	added outcome = iota
	refreshed
	removed
	revoked // by us
	queried
	unchanged // a retransmission, or nothing was there to be removed
	malformed
	forbidden4xx
	badExtension
	tooBrief
	noOutbound
	outOfSequence
	overloaded
	unsaved
	outcomes
)

var outcomeNames = [outcomes]string{
	added: "added", refreshed: "refreshed", removed: "removed", revoked: "revoked", queried: "queried", unchanged: "unchanged",
	malformed: "bad_request", forbidden4xx: "forbidden", badExtension: "bad_extension", tooBrief: "interval_too_brief",
	noOutbound: "first_hop_lacks_outbound", outOfSequence: "out_of_order", overloaded: "overloaded", unsaved: "store_failed",
}

// outcome of a verdict that was accepted.
func (v *verdict) outcome() outcome {
	switch {
	case v.fresh:
		return added
	case len(v.steps) == 0:
		return unchanged
	}
	for i := range v.steps {
		if v.steps[i].kind != Removed {
			return refreshed
		}
	}
	return removed
}

// ender says in the log who ended a registration.
func (o outcome) ender() string {
	switch o {
	case revoked:
		return "service"
	case removed:
		return "agent"
	}
	return "registration from elsewhere" // the same device after a restart or in another network
}

// counters only grow, but for bindings.
type counters struct {
	bindings               atomic.Int64
	outcome                [outcomes]atomic.Uint64
	takeovers, expired     atomic.Uint64
	pings, pongs, misses   atomic.Uint64
	commits, commitsFailed atomic.Uint64
}

func (c *counters) refused(status int) {
	which := malformed
	switch status {
	case 403:
		which = forbidden4xx
	case 420:
		which = badExtension
	case 423:
		which = tooBrief
	case 439:
		which = noOutbound
	case 500:
		which = outOfSequence
	case 503:
		which = overloaded
	}
	c.outcome[which].Add(1)
}

var (
	descBindings = prometheus.NewDesc("liaison_bindings", "Bindings in memory.", nil, nil)
	descOutcome  = prometheus.NewDesc("liaison_registrations_total", "REGISTER requests of authenticated accounts.",
		[]string{"outcome"}, nil)
	descTakeovers = prometheus.NewDesc("liaison_takeovers_total", "Registrations that displaced another device.", nil, nil)
	descExpired   = prometheus.NewDesc("liaison_bindings_expired_total", "Bindings that ran out.", nil, nil)
	descPings     = prometheus.NewDesc("liaison_keepalive_pings_total", "OPTIONS sent to keep UDP bindings open.", nil, nil)
	descPongs     = prometheus.NewDesc("liaison_keepalive_pongs_total", "Answers to them.", nil, nil)
	descMisses    = prometheus.NewDesc("liaison_keepalive_misses_total", "Pings without an answer within 5 s.", nil, nil)
	descCommits   = prometheus.NewDesc("liaison_binding_commits_total", "Groups of binding changes given to the database.",
		[]string{"result"}, nil)
)

// Describe and Collect make the Registrar a prometheus.Collector.
func (r *Registrar) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBindings, descOutcome, descTakeovers, descExpired, descPings, descPongs,
		descMisses, descCommits} {
		ch <- d
	}
}

func (r *Registrar) Collect(ch chan<- prometheus.Metric) {
	c := &r.count
	counter := func(d *prometheus.Desc, n *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	ch <- prometheus.MustNewConstMetric(descBindings, prometheus.GaugeValue, float64(c.bindings.Load()))
	for i := range c.outcome {
		counter(descOutcome, &c.outcome[i], outcomeNames[i])
	}
	counter(descTakeovers, &c.takeovers)
	counter(descExpired, &c.expired)
	counter(descPings, &c.pings)
	counter(descPongs, &c.pongs)
	counter(descMisses, &c.misses)
	failed := c.commitsFailed.Load()
	ch <- prometheus.MustNewConstMetric(descCommits, prometheus.CounterValue, float64(c.commits.Load()-failed), "done")
	ch <- prometheus.MustNewConstMetric(descCommits, prometheus.CounterValue, float64(failed), "failed")
}

// Bindings is how many there are in memory.
func (r *Registrar) Bindings() int { return int(r.count.bindings.Load()) }
