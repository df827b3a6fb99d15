package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"liaison/internal/digest"
	"liaison/internal/sip/transport"
)

// Two agents, nothing between them: every codec goes there and comes back.
func TestAgentsHearEachOther(t *testing.T) {
	for _, name := range []string{"PCMA", "PCMU", "G722", "L16/48000/2", "L16/48000/1", "opus", "MPA"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			callee := agent(t, Config{Number: "15000", Server: "127.0.0.1:9"})
			caller := agent(t, Config{Number: "45675001", Server: callee.address()})
			file := filepath.Join(t.TempDir(), "received")
			r := caller.Call(t.Context(), Dial{Number: "15000", Codecs: []Codec{mustCodec(t, name)}, For: 700 * time.Millisecond, File: file})
			if r.Error != nil || !r.Answered || r.Status != 200 || r.Reason != "OK" || r.Codec != mustCodec(t, name).String() {
				t.Fatalf("%s", show(r))
			}
			if r.Sent.Packets == 0 || r.Received.Packets == 0 || r.Received.Bytes == 0 || r.Duration <= 0 || r.CallID == "" {
				t.Errorf("%s", show(r))
			}
			decodes := name != "MPA"
			if (r.Received.Level != nil) != decodes {
				t.Errorf("%s", show(r))
			}
			if info, err := os.Stat(file); err != nil || info.Size() < 100 {
				t.Errorf("nothing is recorded: %v", err)
			}
		})
	}
}

func (a *Agent) address() string {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), a.transport.Listeners()[0].Addr.Port()).String()
}

func show(r Report) string {
	b, _ := json.Marshal(r)
	return string(b)
}

func TestTheReportHasItsFixedForm(t *testing.T) {
	got := show(Report{Number: "15000"})
	want := `{"number":"15000","answered":false,"status":0,"reason":"","call_id":"","setup_ms":0,"duration_s":0,"codec":"","relayed":null,"sent":{"packets":0,"bytes":0},"received":{"packets":0,"bytes":0,"lost":0,"duplicates":0,"jitter_ms":0,"first_ms":0,"level_dbfs":null},"error":null}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEcho(t *testing.T) {
	callee := agent(t, Config{Number: "15001", Server: "127.0.0.1:9", Answering: Echo})
	caller := agent(t, Config{Number: "45675001", Server: callee.address()})
	r := caller.Call(t.Context(), Dial{Number: "15001", Codecs: []Codec{mustCodec(t, "PCMA")}, For: 700 * time.Millisecond})
	if r.Error != nil || r.Received.Packets == 0 || r.Received.Packets > r.Sent.Packets {
		t.Errorf("%s", show(r))
	}
}

func TestAHundredCallersAtATime(t *testing.T) {
	callee := agent(t, Config{Number: "15000", Server: "127.0.0.1:9", Callers: 100})
	caller := agent(t, Config{Number: "45675001", Server: callee.address()})
	reports := make(chan Report)
	for range 101 {
		go func() {
			reports <- caller.Call(t.Context(), Dial{Number: "15000", Codecs: []Codec{mustCodec(t, "PCMA")}, For: 2 * time.Second})
		}()
	}
	busy := 0
	for range 101 {
		r := <-reports
		switch {
		case r.Status == 486:
			busy++
		case r.Error != nil || r.Received.Packets == 0:
			t.Errorf("%s", show(r))
		}
	}
	if busy != 1 {
		t.Errorf("%d callers heard busy", busy)
	}
}

func TestARecordingThatCannotBeMadeIsSaidBeforeTheCall(t *testing.T) {
	a := agent(t, Config{Number: "45675001", Server: "127.0.0.1:9"})
	r := a.Call(t.Context(), Dial{Number: "15000", File: filepath.Join(t.TempDir(), "no", "folder.wav")})
	if r.Error == nil || r.CallID != "" {
		t.Error(show(r))
	}
}

func TestDelayedOfferOfOurs(t *testing.T) {
	callee := agent(t, Config{Number: "15000", Server: "127.0.0.1:9"})
	caller := agent(t, Config{Number: "45675001", Server: callee.address()})
	r := caller.Call(t.Context(), Dial{Number: "15000", Late: true, For: 500 * time.Millisecond})
	if r.Error != nil || r.Codec != "PCMA/8000/1" || r.Received.Packets == 0 {
		t.Errorf("%s", show(r))
	}
}

// dialling runs a call of an agent whose server is the test.
func dialling(t *testing.T, proto transport.Proto, ctx context.Context) (*peer, chan Report) {
	t.Helper()
	p, addr := server(t)
	a := agent(t, Config{Number: "45675001", Password: "secret", Domain: "example.org", Server: addr, Proto: proto})
	done := make(chan Report, 1)
	go func() { done <- a.Call(ctx, Dial{Number: "15000"}) }()
	return p, done
}

func TestThePasswordIsGivenOnce(t *testing.T) {
	for _, proto := range []transport.Proto{transport.UDP, transport.TCP} {
		t.Run(proto.String(), func(t *testing.T) {
			p, done := dialling(t, proto, t.Context())
			invite := p.next("INVITE sip:15000@example.org SIP/2.0\r\n")
			contains(t, invite, "Via: SIP/2.0/"+proto.String()+" 127.0.0.1:", "From: <sip:45675001@example.org>;tag=", "CSeq: 1 INVITE", "m=audio ")
			p.answer(invite, "407 Proxy Authentication Required", `Proxy-Authenticate: Digest realm="liaison", nonce="abc", algorithm=MD5, qop="auth"`)
			p.next("ACK ")
			again := p.next("INVITE ")
			contains(t, again, "CSeq: 2 INVITE")
			verify(t, again, "INVITE")
			if header(again, "Call-ID") != header(invite, "Call-ID") || header(again, "From") != header(invite, "From") {
				t.Errorf("RFC 3261 8.1.3.5: Call-ID, From and To stay\n%s", again)
			}
			p.answer(again, "100 Trying", "")
			p.answer(again, "180 Ringing", "Contact: <sip:there@127.0.0.1:9>\n")
			p.answer(again, "603 Decline", "")
			p.next("ACK ")
			r := <-done
			if r.Answered || r.Status != 603 || r.Reason != "Decline" || r.Error == nil || *r.Error != "603 Decline" {
				t.Error(show(r))
			}
		})
	}
}

func verify(t *testing.T, m, method string) {
	t.Helper()
	c, err := digest.ParseCredentials([]byte(header(m, "Proxy-Authorization")))
	if err != nil {
		t.Fatal(err)
	}
	h := digest.Hash("45675001", "liaison", "secret")
	if !c.Verify(&h, method) {
		t.Errorf("the password is not proven\n%s", m)
	}
}

func TestAWrongPasswordIsNotTriedAgain(t *testing.T) {
	p, done := dialling(t, transport.UDP, t.Context())
	for i := range 2 {
		invite := p.next("INVITE ")
		p.answer(invite, "407 Proxy Authentication Required", fmt.Sprintf(`Proxy-Authenticate: Digest realm="liaison", nonce="n%d", algorithm=MD5, qop="auth"`, i))
		p.next("ACK ")
	}
	r := <-done
	if r.Status != 407 || r.Error == nil || !strings.Contains(*r.Error, "password is wrong") {
		t.Error(show(r))
	}
}

func TestAStaleNonceIsNoWrongPassword(t *testing.T) {
	p, done := dialling(t, transport.UDP, t.Context())
	for i, stale := range []string{"", ", stale=true"} {
		p.answer(p.next("INVITE "), "407 Proxy Authentication Required", fmt.Sprintf(`Proxy-Authenticate: Digest realm="liaison", nonce="n%d", algorithm=MD5, qop="auth"%s`, i, stale))
		p.next("ACK ")
	}
	last := p.next("INVITE ")
	verify(t, last, "INVITE")
	contains(t, last, `nonce="n1"`)
	p.answer(last, "404 Not Found", "")
	p.next("ACK ")
	if r := <-done; r.Status != 404 {
		t.Error(show(r))
	}
}

func TestARouteIsFollowed(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	p, done := dialling(t, transport.UDP, ctx)
	invite := p.next("INVITE ")
	answer := "Record-Route: <sip:127.0.0.9;lr>\nRecord-Route: <sip:127.0.0.8;lr>\nContact: <sip:there@127.0.0.7:9>\n" + sdpType + offerPCMA
	p.answer(invite, "200 OK", answer)
	ack := p.next("ACK sip:there@127.0.0.7:9 SIP/2.0\r\n")
	contains(t, ack, "Route: <sip:127.0.0.8;lr>\r\nRoute: <sip:127.0.0.9;lr>\r\n", ";tag=there\r\n", "CSeq: 1 ACK")
	p.answer(invite, "200 OK", answer)
	if again := p.next("ACK "); again != ack {
		t.Errorf("a 200 that comes again gets another ACK\n%s", again)
	}
	// A second agent picked up: it gets its ACK and a BYE, the call goes on with the first.
	p.answer(strings.ReplaceAll(invite, "To: <sip:15000@example.org>", "To: <sip:15000@example.org>;tag=other"), "200 OK", answer)
	contains(t, p.next("ACK "), ";tag=other\r\n")
	contains(t, p.next("BYE "), ";tag=other\r\n")

	hangUp()
	contains(t, p.next("BYE sip:there@127.0.0.7:9 SIP/2.0\r\n"), "Route: <sip:127.0.0.8;lr>\r\nRoute: <sip:127.0.0.9;lr>\r\n", ";tag=there\r\n", "CSeq: ")
	r := <-done
	if !r.Answered || r.Status != 200 || r.Codec != "PCMA/8000/1" || r.Error == nil || *r.Error != "no audio came back" {
		t.Error(show(r))
	}
}

func TestGivingUpCancels(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	p, done := dialling(t, transport.UDP, ctx)
	invite := p.next("INVITE ")
	p.answer(invite, "180 Ringing", "Contact: <sip:there@127.0.0.1:9>\n")
	p.answer(invite, "180 Ringing", "Contact: <sip:there@127.0.0.1:9>\n")
	hangUp()
	cancel := p.next("CANCEL sip:15000@example.org SIP/2.0\r\n")
	p.answer(cancel, "200 OK", "")
	p.answer(invite, "487 Request Terminated", "")
	p.next("ACK ")
	if r := <-done; r.Answered || r.Status != 487 || r.Error == nil {
		t.Error(show(r))
	}
}

func TestThePeerHangsUp(t *testing.T) {
	p, done := dialling(t, transport.UDP, t.Context())
	invite := p.next("INVITE ")
	p.answer(invite, "200 OK", "Contact: <sip:there@127.0.0.1:9>\n"+sdpType+offerPCMA)
	p.next("ACK ")
	from := header(invite, "From")
	p.send(`BYE sip:45675001@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKbye
From: <sip:15000@example.org>;tag=there
To: %s
Call-ID: %s
CSeq: 1 BYE
Max-Forwards: 70`, from, header(invite, "Call-ID"))
	p.next("SIP/2.0 200")
	if r := <-done; !r.Answered || r.Status != 200 {
		t.Error(show(r))
	}
}

func TestAServerThatIsNotThere(t *testing.T) {
	_, err := New(t.Context(), Config{Number: "1", Server: "127.0.0.1:port"})
	if err == nil || !strings.Contains(err.Error(), "port") {
		t.Error(err)
	}
	a := agent(t, Config{Number: "1", Server: "127.0.0.1:9", Proto: transport.TCP})
	if r := a.Call(t.Context(), Dial{Number: "2"}); r.Error == nil || !strings.Contains(*r.Error, "127.0.0.1:9 over tcp") {
		t.Error(show(r))
	}
}

func TestRegister(t *testing.T) {
	for _, proto := range []transport.Proto{transport.UDP, transport.TCP} {
		t.Run(proto.String(), func(t *testing.T) {
			p, addr := server(t)
			t.Run("registers, and takes it back when it stops", func(t *testing.T) {
				a := agent(t, Config{Number: "45675001", Password: "secret", Server: addr, Proto: proto})
				done := make(chan error, 1)
				go func() { done <- a.Register(t.Context()) }()
				first := p.next("REGISTER sip:127.0.0.1 SIP/2.0\r\n")
				contains(t, first, `;+sip.instance="<urn:uuid:`, ";reg-id=1\r\n", "To: <sip:45675001@127.0.0.1>\r\n")
				p.answer(first, "401 Unauthorized", `WWW-Authenticate: Digest realm="liaison", nonce="abc", algorithm=MD5, qop="auth"`)
				second := p.next("REGISTER ")
				contains(t, second, "Authorization: Digest username=\"45675001\"", "CSeq: 2 REGISTER")
				p.answer(second, "423 Interval Too Brief", "Min-Expires: 120")
				third := p.next("REGISTER ")
				contains(t, third, ";expires=120\r\n", "nc=00000002")
				p.answer(third, "200 OK", "Contact: "+header(third, "Contact"))
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				go func() {
					last := p.next("REGISTER ")
					contains(t, last, ";expires=0\r\n")
					p.answer(last, "200 OK", "")
				}()
			})
		})
	}
}

func TestAnAccountThatIsRefused(t *testing.T) {
	p, addr := server(t)
	a := agent(t, Config{Number: "45675001", Password: "wrong", Server: addr})
	done := make(chan error, 1)
	go func() { done <- a.Register(t.Context()) }()
	p.answer(p.next("REGISTER "), "403 Account is locked", "")
	if err := <-done; err == nil || err.Error() != "403 Account is locked" {
		t.Error(err)
	}
}
