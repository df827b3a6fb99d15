//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"liaison/e2e/audio"
	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

// Hold is a re-INVITE, and sound is back in both directions after it.
func TestBaresipHoldsAndResumes(t *testing.T) {
	s := open(t)
	alaw := []string{"PCMA/8000/1"}
	callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone, c.Answer, c.Transport, c.Codecs = 1000, "auto", "tcp", alaw })
	caller := s.baresip(t, "45675001", func(c *peer.BaresipConfig) { c.Codecs = alaw })
	atCaller, atCallee := caller.Host.Capture(t), callee.Host.Capture(t)
	callee.Register(t)
	caller.Register(t)
	caller.Dial(t, "5002")
	caller.Wait(t, "CALL_ESTABLISHED")
	callee.Wait(t, "CALL_ESTABLISHED")
	arrives(t, atCaller, caller.Host, 1, 1000, 440)
	arrives(t, atCallee, callee.Host, 1, 440, 1000)

	for _, side := range []struct {
		name         string
		holds, other *peer.Baresip
	}{{"the caller", caller, callee}, {"the callee", callee, caller}} {
		for _, what := range []string{"hold", "resume"} {
			side.holds.Do(t, what, "")
			if e := side.other.Wait(t, "CALL_REMOTE_SDP"); e.Param != "offer" {
				t.Fatalf("%s, %s: the other got %q, want an offer", side.name, what, e.Param)
			}
			if e := side.holds.Wait(t, "CALL_REMOTE_SDP"); e.Param != "answer" {
				t.Fatalf("%s, %s: it got %q, want an answer", side.name, what, e.Param)
			}
		}
		arrives(t, atCaller, caller.Host, 1, 1000, 440)
		arrives(t, atCallee, callee.Host, 1, 440, 1000)
	}
	callee.Hangup(t)
	caller.Wait(t, "CALL_CLOSED")
	if s.ours != nil {
		s.newestRecord(t, 1)
	}
}

// arrives waits until that many seconds of A-law have come to the host from now on and wants them
// to be the tone. (baresip 1.0 stops recording after a hold, so this is taken from the wire.)
func arrives(t testing.TB, c *lab.Capture, h *lab.Host, seconds float64, want, own float64) {
	t.Helper()
	since := time.Now()
	var r *audio.Recording
	lab.Eventually(t, peer.Soon, fmt.Sprintf("%g s of sound arrive at %s", seconds, h.Name), func() bool {
		var payloads [][]byte
		for _, p := range c.Packets(func(p lab.Packet) bool { return p.To.Addr() == h.Addr && p.At.After(since) }) {
			payloads = append(payloads, p.Payload)
		}
		r = audio.PCMA(payloads)
		return r.Seconds() >= seconds
	})
	hears(t, h.Name, r, want, own)
}

// A codec change inside a call, offered by SIPp and answered by baresip.
func TestCodecChangesByReINVITE(t *testing.T) {
	s := open(t)
	callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Answer = "auto" })
	callee.Register(t)
	peer.StartSIPp(t, s.site(t), "change-caller", peer.SIPpConfig{
		Scenario: scenario(t, "change-caller"), Server: serverAddr + ":5060", Calls: 1,
		Number: "45675001", Password: password("45675001"), Keys: map[string]string{"callee": "45675002"},
	}).Passed(t)
	callee.Wait(t, "CALL_CLOSED")
	callee.Process.Line(t, peer.Soon, `Set audio decoder: PCMA`)
	callee.Process.Line(t, peer.Soon, `Set audio decoder: G722`)
	if s.ours != nil {
		s.newestRecord(t, 1)
	}
}

func TestLinphoneHoldsAndResumes(t *testing.T) {
	s := open(t)
	callee := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone, c.Answer = 1000, "auto" })
	callee.Register(t)
	wire := callee.Host.Capture(t)
	caller := s.linphone(t, "45675001", nil)
	caller.Registered(t)
	caller.Do(t, "call 5002")
	caller.Wait(t, "to LinphoneCallStreamsRunning")
	arrives(t, wire, callee.Host, 1, 440, 1000)
	caller.Do(t, "pause")
	caller.Wait(t, "to LinphoneCallPaused")
	caller.Do(t, "resume")
	caller.Wait(t, "to LinphoneCallStreamsRunning")
	arrives(t, wire, callee.Host, 1, 440, 1000)
	caller.Do(t, "terminate")
	callee.Wait(t, "CALL_CLOSED")
	if s.ours != nil {
		s.newestRecord(t, 1)
	}
}

func TestLinphoneCallsAndIsCalled(t *testing.T) {
	s := open(t)
	b := s.baresip(t, "45675002", func(c *peer.BaresipConfig) { c.Tone = 1000; c.Codecs = []string{"PCMA/8000/1"} })
	b.Register(t)
	l := s.linphone(t, "45675001", func(c *peer.LinphoneConfig) { c.Transport = "tcp" })
	l.Registered(t)

	l.Do(t, "call 45675002")
	b.Wait(t, "CALL_INCOMING")
	b.Accept(t)
	l.Wait(t, "to LinphoneCallStreamsRunning")
	hears(t, "baresip", b.Hears(t, 1.5), 440, 1000)
	l.Do(t, "terminate")
	b.Wait(t, "CALL_CLOSED")
	l.Wait(t, "to LinphoneCallReleased")
	linphoneHears(t, l.Heard(t, 1), 1000, 440)

	b.Dial(t, "5001")
	l.Wait(t, "to LinphoneCallIncomingReceived")
	l.Do(t, "answer")
	b.Wait(t, "CALL_ESTABLISHED")
	hears(t, "baresip", b.Hears(t, 1.5), 440, 1000)
	b.Hangup(t)
	l.Wait(t, "to LinphoneCallReleased")
	linphoneHears(t, l.Heard(t, 1), 1000, 440)

	b.Wait(t, "CALL_CLOSED")
	b.Dial(t, "sip:45675001@"+serverName)
	l.Wait(t, "to LinphoneCallIncomingReceived")
	l.Do(t, "terminate")
	if e := b.Wait(t, "CALL_CLOSED"); !strings.HasPrefix(e.Param, "603 ") {
		t.Errorf("linphone declines, the caller sees %q, want 603", e.Param)
	}
	if s.ours != nil {
		r := s.newestRecord(t, 3)
		if got := r.text(t, "status"); got != "603" {
			t.Errorf("record of the declined call says %s: %v", got, r)
		}
	}
	lab.Eventually(t, peer.Soon, "no call is left", func() bool { return s.ours == nil || len(s.ours.List(t, "call")) == 0 })
}
