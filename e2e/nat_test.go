//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// baresipAt starts one on a host that is there already.
func (s *stage) baresipAt(t testing.TB, h *lab.Host, number string, tone int) *peer.Baresip {
	t.Helper()
	b := peer.StartBaresip(t, h, peer.BaresipConfig{Number: number, Password: password(number), Server: serverName, Tone: tone})
	b.Register(t)
	return b
}

// calls makes a call of two agents and wants both to hear each other.
func (s *stage) calls(t *testing.T, caller, callee *peer.Baresip, number string) row {
	t.Helper()
	before := len(s.ours.List(t, "record"))
	caller.Dial(t, number)
	callee.Wait(t, "CALL_INCOMING")
	callee.Accept(t)
	caller.Wait(t, "CALL_ESTABLISHED")
	callee.Wait(t, "CALL_ESTABLISHED")
	hears(t, "the caller", caller.Hears(t, 1.5), 1000, 440)
	hears(t, "the callee", callee.Hears(t, 1.5), 440, 1000)
	caller.Hangup(t)
	callee.Wait(t, "CALL_CLOSED")
	return s.newestRecord(t, before+1)
}

// Agents that know nothing of NATs hear each other at the first call, wherever they are.
func TestAudioGetsThroughNATs(t *testing.T) {
	for _, row := range []struct{ caller, callee string }{
		{"masquerade", "symmetric"},
		{"symmetric", "masquerade"},
		{"symmetric", "symmetric"},
		{"open", "symmetric"},
		{"masquerade", "open"},
		{"masquerade", "the same home"},
		{"symmetric", "the same home"},
	} {
		t.Run(fmt.Sprintf("%s to %s", row.caller, row.callee), func(t *testing.T) {
			s := open(t)
			s.onlyOurs(t)
			var caller, callee *lab.Host
			kinds := map[string]lab.NATKind{"masquerade": lab.Masquerade, "symmetric": lab.Symmetric}
			if kind, ok := kinds[row.caller]; ok {
				home := s.Home(t, "home1", "203.0.113.21", kind)
				caller = home.Host(t, "caller")
				if row.callee == "the same home" {
					callee = home.Host(t, "callee")
				}
			} else {
				caller = s.site(t)
			}
			if kind, ok := kinds[row.callee]; ok {
				callee = s.Home(t, "home2", "203.0.113.31", kind).Host(t, "callee")
			} else if callee == nil {
				callee = s.site(t)
			}
			b := s.baresipAt(t, callee, "45675002", 1000)
			a := s.baresipAt(t, caller, "45675001", 440)
			r := s.calls(t, a, b, "45675002")
			if got := r.text(t, "relayed"); got != "true" {
				t.Errorf("relayed: %s, %v", got, r)
			}
			// And back.
			b.Dial(t, "45675001")
			a.Wait(t, "CALL_INCOMING")
			a.Accept(t)
			b.Wait(t, "CALL_ESTABLISHED")
			hears(t, "the caller", b.Hears(t, 1.5), 440, 1000)
			hears(t, "the callee", a.Hears(t, 1.5), 1000, 440)
			a.Hangup(t)
			b.Wait(t, "CALL_CLOSED")
		})
	}
}

// With the policy "direct" nothing of a description is touched, and no audio passes the server.
func TestDirectLeavesDescriptionsAlone(t *testing.T) {
	s := openWith(t, "media: {policy: direct}\n")
	s.onlyOurs(t)
	wire := s.server.Capture(t)
	short := func(tone int) func(*peer.BaresipConfig) { // one datagram is one message
		return func(c *peer.BaresipConfig) { c.Tone, c.Codecs = tone, []string{"PCMA/8000/1"} }
	}
	b, a := s.baresip(t, "45675002", short(1000)), s.baresip(t, "45675001", short(440))
	b.Register(t)
	a.Register(t)
	r := s.calls(t, a, b, "45675002")
	if got := r.text(t, "relayed"); got != "false" {
		t.Errorf("relayed: %s, %v", got, r)
	}
	came, left := map[string]bool{}, map[string]string{}
	for _, p := range wire.Packets(nil) {
		if p.From.Port() >= 55004 && p.From.Port() <= 55999 || p.To.Port() >= 55004 && p.To.Port() <= 55999 {
			if p.From.Addr() == s.server.Addr || p.To.Addr() == s.server.Addr {
				t.Fatalf("media at the server: %v to %v", p.From, p.To)
			}
		}
		_, body, _ := bytes.Cut(p.Payload, []byte("\r\n\r\n"))
		if !bytes.HasPrefix(body, []byte("v=0")) {
			continue
		}
		start, _, _ := strings.Cut(string(p.Payload), "\r\n")
		if p.To.Addr() == s.server.Addr {
			came[string(body)] = true
		} else {
			left[string(body)] = start
		}
	}
	for body, start := range left {
		if !came[body] {
			t.Errorf("%s leaves with what never came:\n%s", start, body)
		}
	}
	if len(left) < 2 {
		t.Errorf("%d descriptions left the server, want an offer and an answer", len(left))
	}
}
