//go:build e2e

package e2e

import (
	"testing"
	"time"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

func TestX(t *testing.T) {
	n := lab.NewNetwork(t)
	s := n.Host(t, "server", "203.0.113.1")
	peer.StartKamailio(t, s, "liaison", []string{"sip.example.test", "203.0.113.1"}, map[string]string{"45675001": "one", "45675002": "two"})
	n.Names.Set("sip.example.test", s.Addr)
	a := peer.StartBaresip(t, n.Host(t, "a", "203.0.113.11"), peer.BaresipConfig{Number: "45675001", Password: "one", Server: "sip.example.test", Tone: 440, SIPTrace: true})
	b := peer.StartBaresip(t, n.Host(t, "b", "203.0.113.12"), peer.BaresipConfig{Number: "45675002", Password: "two", Server: "203.0.113.1:5070", Tone: 1000, Transport: "tcp"})
	a.Register(t)
	b.Register(t)
	a.Dial(t, "5002")
	b.Wait(t, "CALL_INCOMING")
	a.Wait(t, "CALL_RINGING")
	b.Accept(t)
	a.Wait(t, "CALL_ESTABLISHED")
	ra, rb := a.Hears(t, 2), b.Hears(t, 2)
	t.Log(ra.Find(0, 1000), ra.Find(0, 440), len(ra.Channels), ra.Rate)
	t.Log(rb.Find(0, 1000), rb.Find(0, 440))
	t.Log(a.Contact(t))
	b.Hangup(t)
	a.Wait(t, "CALL_CLOSED")
	_ = time.Second
	t.Fail()
}
