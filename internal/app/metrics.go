package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"liaison/internal/account"
)

// metrics shows the counters of the rooms that know nothing of Prometheus.
type metrics struct {
	app *app
}

// value is one line of /metrics.
type value struct {
	name, help string
	label      string // value of the label "reason", "kind" or "by"; empty: none
	key        string
	kind       prometheus.ValueType
	n          float64
}

func newMetrics(a *app) *metrics { return &metrics{app: a} }

func (m *metrics) values() []value {
	a := m.app
	c, p, t := a.calls, a.proxy, a.layer
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	v := []value{
		{"liaison_calls_up", "Calls that are answered and have not ended.", "", "", gauge, float64(c.Up())},
		{"liaison_calls_setting_up", "INVITEs without a final answer.", "", "", gauge, float64(p.Pending())},
		{"liaison_calls_begun_total", "Calls that were asked for by a known caller.", "", "", counter, float64(c.Begun.Load())},
		{"liaison_calls_answered_total", "Calls that were answered.", "", "", counter, float64(c.Connected.Load())},
		{"liaison_calls_unrecorded_total", "Records that could not be written.", "", "", counter, float64(c.Unrecorded.Load())},
		{"liaison_test_callers", "Callers of the test programme.", "", "", gauge, float64(a.calls.With(account.Number(a.cfg.Test.Programme.Number)))},
		{"liaison_accounts", "Accounts in memory.", "", "", gauge, float64(a.directory.Len())},
	}
	for i, by := range []string{"caller", "callee", "service"} {
		v = append(v, value{"liaison_calls_ended_total", "Calls that ended, by who ended them.", by, "by", counter, float64(c.Ended[i].Load())})
	}
	for _, r := range []struct {
		reason string
		n      uint64
	}{
		{"challenged", p.Challenged.Load()}, {"wrong_password", p.WrongPassword.Load()}, {"account_state", p.AccountState.Load()},
		{"foreign", p.Foreign.Load()}, {"not_in_dialog", p.NotInDialog.Load()}, {"stray_ack", p.StrayAck.Load()},
		{"stray_response", p.StrayResponse.Load()}, {"malformed", p.Malformed.Load()}, {"draining", p.Draining.Load()},
	} {
		v = append(v, value{"liaison_proxy_refused_total", "Messages that went no further, by reason.", r.reason, "reason", counter, float64(r.n)})
	}
	for _, r := range []struct {
		kind string
		n    uint64
	}{
		{"dropped", t.Dropped.Load()}, {"retransmission", t.Retransmissions.Load()}, {"resent", t.Resent.Load()},
		{"timeout", t.Timeouts.Load()}, {"stray_response", t.StrayResponses.Load()}, {"stray_cancel", t.StrayCancels.Load()},
		{"panic", t.Panics.Load()},
	} {
		v = append(v, value{"liaison_transaction_events_total", "What happened in transactions beside the ordinary.", r.kind, "kind", counter, float64(r.n)})
	}
	return v
}

// Describe sends nothing: the collector is unchecked, as its lines are built when they are asked for.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect is called for each request of /metrics, which may come side by side.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.values() {
		var keys, labels []string
		if v.key != "" {
			keys, labels = []string{v.key}, []string{v.label}
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(v.name, v.help, keys, nil), v.kind, v.n, labels...)
	}
}
