package agent

import (
	"strings"
	"testing"
	"time"
)

func TestTheTestNumberAnswersAndIsHungUp(t *testing.T) {
	p := linked(t, Config{})
	ok := p.call("c1")
	contains(t, ok, "Record-Route: <sip:127.0.0.1:5060;lr>\r\n", "Contact: <sip:15000@127.0.0.1:15000>\r\n",
		"c=IN IP4 127.0.0.1\r\n", "RTP/AVP 8\r\n", "a=sendrecv\r\n")
	p.send("%s", head("OPTIONS", 2, "c1", toTag(ok)))
	p.next("SIP/2.0 200")
	p.send("%s", head("BYE", 3, "c1", toTag(ok)))
	p.next("SIP/2.0 200")
	p.send("%s", head("OPTIONS", 4, "c1", toTag(ok)))
	p.next("SIP/2.0 481")
}

func TestRequestsOutsideACall(t *testing.T) {
	rows := []struct{ name, request, answer, line string }{
		{"OPTIONS asks what the agent can", head("OPTIONS", 1, "x", ""), "SIP/2.0 200", "Allow: INVITE"},
		{"OPTIONS in a dialog that is not ours", head("OPTIONS", 1, "x", "nobody"), "SIP/2.0 481", ""},
		{"BYE in a dialog that is not ours", head("BYE", 1, "x", "nobody"), "SIP/2.0 481", ""},
		{"re-INVITE in a dialog that is not ours", head("INVITE", 1, "x", "nobody") + sdpType + offerPCMA, "SIP/2.0 481", ""},
		{"BYE without a dialog", head("BYE", 1, "x", ""), "SIP/2.0 481", ""},
		{"a method that we do not have", head("SUBSCRIBE", 1, "x", ""), "SIP/2.0 405", "Allow: INVITE"},
		{"an extension that we do not have", head("INVITE", 1, "x", "") + "Require: 100rel, timer\n" + sdpType + offerPCMA, "SIP/2.0 420", "Unsupported: 100rel\r\n"},
		{"a body that is no description", head("INVITE", 1, "x", "") + "Content-Type: text/plain\n\nhello", "SIP/2.0 415", "Accept: application/sdp"},
		{"no codec in common", head("INVITE", 1, "x", "") + sdpType + strings.ReplaceAll(offerPCMA, "8 0", "18"), "SIP/2.0 488", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := linked(t, Config{})
			p.send("%s", row.request)
			contains(t, p.next(row.answer), row.line)
		})
	}
}

func TestHoldAndResume(t *testing.T) {
	p := linked(t, Config{})
	tag := toTag(p.call("c1"))
	rows := []struct{ name, offer, answer string }{
		{"the peer holds with music", offerPCMA + "a=sendonly\n", "a=recvonly\r\n"},
		{"the peer holds", offerPCMA + "a=inactive\n", "a=inactive\r\n"},
		{"the peer wants to hear only", offerPCMA + "a=recvonly\n", "a=sendonly\r\n"},
		{"the old way of holding", strings.ReplaceAll(offerPCMA, "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"), "a=recvonly\r\n"},
		{"the call goes on", offerPCMA, "a=sendrecv\r\n"},
		{"another codec", strings.ReplaceAll(offerPCMA, "8 0", "0"), "RTP/AVP 0\r\n"},
	}
	for i, row := range rows {
		p.send("%s%s%s", head("INVITE", 2+i, "c1", tag), sdpType, row.offer)
		ok := p.next("SIP/2.0 200")
		if !strings.Contains(bodyOf(ok), row.answer) {
			t.Errorf("%s:\n%s", row.name, ok)
		}
		p.send("%s", head("ACK", 2+i, "c1", tag))
	}
	// One that cannot be met leaves the call as it was.
	p.send("%s%s%s", head("INVITE", 20, "c1", tag), sdpType, strings.ReplaceAll(offerPCMA, "8 0", "18"))
	p.next("SIP/2.0 488")
	p.send("%s", head("ACK", 20, "c1", tag))
	p.send("%s", head("BYE", 21, "c1", tag))
	p.next("SIP/2.0 200")
}

func TestDelayedOffer(t *testing.T) {
	p := linked(t, Config{})
	p.send("%s", head("INVITE", 1, "c1", ""))
	ok := p.next("SIP/2.0 200")
	contains(t, bodyOf(ok), "m=audio ", "opus/48000/2", "L16/48000/2", "a=rtpmap:14 MPA/90000")
	p.send("%s%s%s", head("ACK", 1, "c1", toTag(ok)), sdpType, offerPCMA)
	p.send("%s", head("BYE", 2, "c1", toTag(ok)))
	p.next("SIP/2.0 200")

	// Without an answer in the ACK there is no call.
	p.send("%s", head("INVITE", 1, "c2", ""))
	ok = p.next("SIP/2.0 200")
	p.send("%s", head("ACK", 1, "c2", toTag(ok)))
	contains(t, p.next("BYE sip:45675001@10.0.0.1:5062 SIP/2.0"), "Route: <sip:127.0.0.1:5060;lr>\r\n", "cause=488")
}

func TestA200ComesAgainUntilTheACK(t *testing.T) {
	p := linked(t, Config{})
	p.send("%s%s%s", head("INVITE", 1, "c1", ""), sdpType, offerPCMA)
	first := p.next("SIP/2.0 200")
	if again := p.next("SIP/2.0 200"); again != first {
		t.Error("it is not the same")
	}
	p.send("%s", head("ACK", 1, "c1", toTag(first)))
	p.send("%s", head("BYE", 2, "c1", toTag(first)))
	contains(t, p.next("SIP/2.0 200"), "CSeq: 2 BYE")
}

func TestAReinviteBeforeTheACKMustWait(t *testing.T) {
	p := linked(t, Config{})
	p.send("%s%s%s", head("INVITE", 1, "c1", ""), sdpType, offerPCMA)
	tag := toTag(p.next("SIP/2.0 200"))
	p.send("%s%s%s", head("INVITE", 2, "c1", tag), sdpType, offerPCMA)
	contains(t, p.next("SIP/2.0 500"), "Retry-After: ")
	p.send("%s", head("ACK", 2, "c1", tag))
	p.send("%s", head("ACK", 1, "c1", tag))
	p.send("%s", head("OPTIONS", 1, "c1", tag))
	p.next("SIP/2.0 500") // behind the last CSeq
}

func TestAForkedInviteIsAnsweredOnce(t *testing.T) {
	p := linked(t, Config{})
	p.call("c1")
	p.send("%s%s%s", strings.ReplaceAll(head("INVITE", 1, "c1", ""), "z9hG4bKc1", "z9hG4bKother"), sdpType, offerPCMA)
	p.next("SIP/2.0 482")
}

func TestRingingIsCancelled(t *testing.T) {
	p := linked(t, Config{Answering: Ring})
	p.send("%s%s%s", head("INVITE", 1, "c1", ""), sdpType, offerPCMA)
	contains(t, p.next("SIP/2.0 180"), "Contact: ", "Record-Route: ", ";tag=")
	p.send("%s", head("CANCEL", 1, "c1", ""))
	contains(t, p.next("SIP/2.0 200"), "CSeq: 1 CANCEL")
	p.next("SIP/2.0 487")
}

func TestBusy(t *testing.T) {
	p := linked(t, Config{Answering: Busy})
	p.send("%s%s%s", head("INVITE", 1, "c1", ""), sdpType, offerPCMA)
	p.next("SIP/2.0 486")
}

func TestOnlySoManyCallers(t *testing.T) {
	p := linked(t, Config{Callers: 2})
	p.call("c1")
	tag := toTag(p.call("c2"))
	p.send("%s%s%s", head("INVITE", 1, "c3", ""), sdpType, offerPCMA)
	p.next("SIP/2.0 486")
	p.send("%s", head("ACK", 1, "c3", ""))
	p.send("%s", head("BYE", 2, "c2", tag))
	p.next("SIP/2.0 200")
	p.call("c4")
}

func TestALongCallIsEnded(t *testing.T) {
	p := linked(t, Config{Longest: 50 * time.Millisecond})
	ok := p.call("c1")
	bye := p.next("BYE sip:45675001@10.0.0.1:5062 SIP/2.0")
	contains(t, bye, "Route: <sip:127.0.0.1:5060;lr>\r\n", "To: \"Studio 1\" <sip:45675001@example.org>;tag=ft\r\n",
		";tag="+toTag(ok), "Call-ID: c1\r\n", "CSeq: 1 BYE", "Reason: ")
}

func TestStoppingHangsUp(t *testing.T) {
	var p *peer
	t.Run("a call is up when the agent stops", func(t *testing.T) {
		p = linked(t, Config{})
		p.call("c1")
	})
	if len(p.in) == 0 {
		t.Fatal("no BYE")
	}
	if m := <-p.in; !strings.HasPrefix(m, "BYE ") {
		t.Error(m)
	}
}

func TestSessionTimers(t *testing.T) {
	rows := []struct{ name, lines, want, not string }{
		{"the caller refreshes if it may", "Supported: timer\nSession-Expires: 1800\n", "Session-Expires: 1800;refresher=uac\r\n", ""},
		{"we refresh if we must", "Supported: timer\nSession-Expires: 1800;refresher=uas\n", "Session-Expires: 1800;refresher=uas\r\n", ""},
		{"a timer that a proxy put in for a caller without", "Session-Expires: 1800\n", "", "Session-Expires"},
		{"a period that is nonsense", "Supported: timer\nSession-Expires: 3\n", "", "Session-Expires"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := linked(t, Config{})
			p.send("%s%s%s%s", head("INVITE", 1, "c1", ""), row.lines, sdpType, offerPCMA)
			ok := p.next("SIP/2.0 200")
			contains(t, ok, row.want)
			if row.not != "" && strings.Contains(ok, row.not) {
				t.Error(ok)
			}
			p.send("%s", head("ACK", 1, "c1", toTag(ok)))
			p.send("%s%s", head("UPDATE", 2, "c1", toTag(ok)), row.lines)
			contains(t, p.next("SIP/2.0 200"), row.want)
			p.send("%s%s%s", head("UPDATE", 3, "c1", toTag(ok)), sdpType, offerPCMA+"a=inactive\n")
			contains(t, p.next("SIP/2.0 200"), "a=inactive")
		})
	}
}
