//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"liaison/e2e/lab"
	"liaison/e2e/peer"
)

const someSDP = "v=0\no=- 1 1 IN IP4 203.0.113.99\ns=-\nc=IN IP4 203.0.113.99\nt=0 0\nm=audio 4000 RTP/AVP 8\n"

// An agent with two contacts in one registration is called at both; what happens then is forking
// (RFC 3261 16.7).
func TestCallForksToEveryContact(t *testing.T) {
	s := open(t)
	s.onlyOurs(t)
	callee := peer.StartScript(t, s.site(t), serverAddr+":5060", "45675002", password("45675002"))
	contact := func(name string) string { return fmt.Sprintf("Contact: <sip:%s@%s>\n", name, callee.Local()) }
	callee.Request(t, "REGISTER", "sip:"+serverAddr, "fork-register", contact("first")+contact("second")+"Expires: 300\n", "")
	if ok := callee.Receive(t, "200"); len(ok.All("Contact")) != 2 && !strings.Contains(ok.Text, "second") {
		t.Fatalf("two contacts were registered, the answer is\n%s", ok.Text)
	}
	caller := peer.StartScript(t, s.site(t), serverAddr+":5060", "45675001", password("45675001"))

	// begin calls and gives the INVITE as sent and both branches by contact.
	begin := func(t *testing.T, callID string) (invite string, branches map[string]*peer.Message) {
		t.Helper()
		invite = caller.Request(t, "INVITE", "sip:45675002@"+serverAddr, callID,
			fmt.Sprintf("Contact: <sip:caller@%s>\nContent-Type: application/sdp\n", caller.Local()), someSDP)
		branches = map[string]*peer.Message{}
		for len(branches) < 2 {
			m := callee.Receive(t, "INVITE")
			// The same branch again is a retransmission.
			user, _, _ := strings.Cut(strings.TrimPrefix(m.URI, "sip:"), "@")
			branches[user] = m
		}
		if branches["first"] == nil || branches["second"] == nil {
			t.Fatalf("the branches went to %v", branches)
		}
		return invite, branches
	}

	t.Run("the best refusal is passed on when all refuse", func(t *testing.T) {
		invite, b := begin(t, "fork-refused")
		callee.Answer(t, b["first"], "404 Not Found", "f", "", "")
		callee.Receive(t, "ACK")
		callee.Answer(t, b["second"], "603 Decline", "s", "", "")
		callee.Receive(t, "ACK")
		caller.Send(t, caller.Ack(invite, caller.Receive(t, "603")), "")
		caller.Silent(t, 300*time.Millisecond, "404")
		s.newestRecord(t, 1)
	})
	t.Run("one answers, the other is cancelled", func(t *testing.T) {
		invite, b := begin(t, "fork-one")
		callee.Answer(t, b["first"], "180 Ringing", "f", contact("first"), "")
		callee.Answer(t, b["second"], "180 Ringing", "s", contact("second"), "")
		caller.Receive(t, "180")
		callee.Answer(t, b["second"], "200 OK", "s", contact("second")+"Content-Type: application/sdp\n", someSDP)
		ok := caller.Receive(t, "200")
		if !strings.Contains(ok.Header("To"), ";tag=s") {
			t.Errorf("the answer is %q, want the second's", ok.Header("To"))
		}
		caller.Send(t, caller.InDialog("ACK", 2, invite, ok), "")
		if ack := callee.Receive(t, "ACK"); !strings.HasPrefix(ack.URI, "sip:second@") {
			t.Errorf("the ACK went to %s", ack.URI)
		}
		cancel := callee.Receive(t, "CANCEL")
		if !strings.HasPrefix(cancel.URI, "sip:first@") {
			t.Errorf("the CANCEL went to %s", cancel.URI)
		}
		callee.Answer(t, cancel, "200 OK", "f", "", "")
		callee.Answer(t, b["first"], "487 Request Terminated", "f", "", "")
		callee.Receive(t, "ACK")
		caller.Send(t, caller.InDialog("BYE", 3, invite, ok), "")
		callee.Answer(t, callee.Receive(t, "BYE"), "200 OK", "", "", "")
		caller.Receive(t, "200")
		s.newestRecord(t, 2)
	})
	t.Run("both answer at the same moment: the caller gets both and ends the one that came first", func(t *testing.T) {
		invite, b := begin(t, "fork-both")
		var oks []*peer.Message
		lab.Eventually(t, peer.Soon, "both answers reach the caller", func() bool {
			// RFC 3261 13.3.1.4: an answer is repeated until its ACK comes.
			for _, who := range []string{"first", "second"} {
				callee.Answer(t, b[who], "200 OK", who, contact(who)+"Content-Type: application/sdp\n", someSDP)
			}
			for m, ok := caller.Within(500*time.Millisecond, "200"); ok; m, ok = caller.Within(500*time.Millisecond, "200") {
				if !slices.ContainsFunc(oks, func(o *peer.Message) bool { return o.Header("To") == m.Header("To") }) {
					oks = append(oks, m)
				}
			}
			return len(oks) == 2
		})
		for _, ok := range oks {
			caller.Send(t, caller.InDialog("ACK", 2, invite, ok), "")
			callee.Receive(t, "ACK")
		}
		for i, ok := range oks {
			caller.Send(t, caller.InDialog("BYE", 3, invite, ok), "")
			bye := callee.Receive(t, "BYE")
			if bye.Header("To") != ok.Header("To") {
				t.Errorf("BYE %d came to %q, was for %q", i+1, bye.Header("To"), ok.Header("To"))
			}
			callee.Answer(t, bye, "200 OK", "", "", "")
			caller.Receive(t, "200")
			// The call is up as long as one of its dialogs is.
			if calls := s.ours.List(t, "call"); len(calls) != 1-i {
				t.Errorf("after BYE %d there are %d calls, want %d: %v", i+1, len(calls), 1-i, calls)
			}
		}
		s.newestRecord(t, 3)
	})
}
