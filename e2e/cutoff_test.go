//go:build e2e

package e2e

import (
	"testing"
	"time"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// One agent is cut off: its call does not keep the other side or the records hanging.
func TestAgentIsCutOffDuringACall(t *testing.T) {
	for _, row := range []struct {
		name, by string
		end      func(t *testing.T, s *stage, other *peer.Baresip)
	}{
		{"the other hangs up", "caller", func(t *testing.T, s *stage, other *peer.Baresip) { other.Hangup(t) }},
		{"the operator ends the call", "service", func(t *testing.T, s *stage, other *peer.Baresip) {
			calls := s.onlyOurs(t).List(t, "call")
			if len(calls) != 1 {
				t.Fatalf("%d calls, want 1: %v", len(calls), calls)
			}
			s.ours.Run(t, "call", "end", calls[0].text(t, "id"))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t)
			callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone, c.Answer = 1000, "auto" })
			caller := s.baresip(t, "45675001", nil)
			callee.Register(t)
			caller.Register(t)
			caller.Dial(t, "5002")
			caller.Wait(t, "CALL_ESTABLISHED")
			callee.Wait(t, "CALL_ESTABLISHED")
			caller.Hears(t, 0.5)
			callee.Host.Cut(t)
			row.end(t, s, caller)
			caller.Wait(t, "CALL_CLOSED")
			if s.ours == nil {
				return
			}
			// The BYE to the dark site is repeated for 32 s (RFC 3261 17.1.2.2, timer F).
			r := s.newestRecordWithin(t, 45*time.Second, 1)
			if got := r.text(t, "ended_by"); got != row.by {
				t.Errorf("record says ended by %q, want %q: %v", got, row.by, r)
			}
			if calls := s.ours.List(t, "call"); len(calls) > 0 {
				t.Errorf("calls are left: %v", calls)
			}
			callee.Host.Mend(t)
			// Afterwards the account can be called as ever.
			callee.Process.Kill()
			again := s.baresip(t, "45675002", nil)
			again.Register(t)
			caller.Dial(t, "5002")
			again.Wait(t, "CALL_INCOMING")
		})
	}
}

// A registered agent whose site is dark: the caller is told, after as long as an INVITE is repeated.
func TestCallToAnAgentThatIsCutOff(t *testing.T) {
	s := open(t)
	callee := s.baresip(t, "45675002", nil)
	caller := s.baresip(t, "45675001", nil)
	callee.Register(t)
	caller.Register(t)
	callee.Host.Cut(t)
	caller.Dial(t, "5002")
	// RFC 3261 17.1.1.2: timer B, 32 s.
	e, ok := caller.Within(45*time.Second, "CALL_CLOSED")
	if !ok {
		t.Fatal("the caller hears nothing for 45 s")
	}
	if len(e.Param) < 4 || e.Param[:3] != "408" && e.Param[:3] != "480" {
		t.Errorf("the caller gets %q, want 408 or 480", e.Param)
	}
	if s.ours != nil {
		s.newestRecord(t, 1)
	}
}

// An agent behind address translation is reached through the port that its router opened.
func TestAgentBehindNATIsCalled(t *testing.T) {
	for _, kind := range []lab.NATKind{lab.Masquerade, lab.Symmetric} {
		t.Run(string(kind), func(t *testing.T) {
			s := open(t)
			s.onlyOurs(t)
			home := s.Home(t, "home", "203.0.113.200", kind)
			inside := peer.StartBaresip(t, home.Host(t, "reporter"), peer.BaresipConfig{
				Number: "45675002", Password: password("45675002"), Server: serverName, Tone: 1000})
			outside := s.baresip(t, "45675001", nil)
			inside.Register(t)
			outside.Register(t)
			outside.Dial(t, "5002")
			inside.Wait(t, "CALL_INCOMING")
			inside.Accept(t)
			outside.Wait(t, "CALL_ESTABLISHED")
			outside.Hangup(t)
			inside.Wait(t, "CALL_CLOSED")
		})
	}
}
