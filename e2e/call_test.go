//go:build e2e

package e2e

import (
	"testing"

	"liaison/e2e/peer"
)

// A caller dials in each way that the service promises, and both hear each other.
func TestBaresipCallsBaresip(t *testing.T) {
	s := open(t)
	callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone = 1000; c.Server = serverAddr + ":5070"; c.Transport = "tcp" })
	caller := s.baresip(t, "45675001", nil)
	callee.Register(t)
	caller.Register(t)
	for _, row := range []struct {
		name, dial string
		hangup     *peer.Baresip
		by         string
	}{
		{"by number, the caller hangs up", "45675002", caller, "caller"},
		{"by short number, the callee hangs up", "5002", callee, "callee"},
		{"by address with our name", "sip:45675002@" + serverName, caller, "caller"},
		{"by address with our bare address", "sip:45675002@" + serverAddr, callee, "callee"},
		{"by address with the second port", "sip:45675002@" + serverAddr + ":5070", callee, "callee"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := 0
			if s.ours != nil {
				before = len(s.ours.List(t, "record"))
			}
			caller.Dial(t, row.dial)
			callee.Wait(t, "CALL_INCOMING")
			caller.Wait(t, "CALL_RINGING")
			callee.Accept(t)
			caller.Wait(t, "CALL_ESTABLISHED")
			callee.Wait(t, "CALL_ESTABLISHED")
			hears(t, "the caller", caller.Hears(t, 1.5), 1000, 440)
			hears(t, "the callee", callee.Hears(t, 1.5), 440, 1000)
			row.hangup.Hangup(t)
			caller.Wait(t, "CALL_CLOSED")
			callee.Wait(t, "CALL_CLOSED")
			if s.ours == nil {
				return
			}
			r := s.newestRecord(t, before+1)
			for field, want := range map[string]string{"caller": "45675001", "callee": "45675002", "status": "200", "ended_by": row.by} {
				if got := r.text(t, field); got != want {
					t.Errorf("record says %s %q, want %q: %v", field, got, want, r)
				}
			}
		})
	}
}
