package transaction

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

var (
	udp = transport.Flow{Proto: transport.UDP, Local: netip.MustParseAddrPort("192.0.2.1:5060"), Remote: netip.MustParseAddrPort("192.0.2.7:5060")}
	tcp = transport.Flow{Proto: transport.TCP, Local: udp.Local, Remote: udp.Remote, Conn: 1}
)

// bench is a layer of one shard with everything that it sends and says written down with its time.
type bench struct {
	t      *testing.T
	layer  *Layer
	shard  *Shard
	start  time.Time
	lines  []string
	sent   []string
	broken bool // the connection is gone
	onNew  func(tx *Server)
	last   *Server
	failed []error
	got    []int // responses that the client's user got
	acks   int
	cancel int
}

func (b *bench) Send(f transport.Flow, m []byte) {
	b.sent = append(b.sent, string(m))
	first, _, _ := strings.Cut(string(m), "\r\n")
	b.lines = append(b.lines, fmt.Sprintf("%.1f %s", time.Since(b.start).Seconds(), strings.TrimSuffix(first, " SIP/2.0")))
}
func (b *bench) Flush()                          {}
func (b *bench) Connected(f transport.Flow) bool { return !b.broken }

func (b *bench) Request(tx *Server) {
	b.last = tx
	if b.onNew != nil {
		b.onNew(tx)
	}
}
func (b *bench) Ack(*transport.Packet)      { b.acks++ }
func (b *bench) Cancelled(*Server)          { b.cancel++ }
func (b *bench) Response(*transport.Packet) {}
func (b *bench) Closed(transport.Flow)      {}

type client struct{ *bench }

func (c client) Response(_ *Client, p *transport.Packet) { c.got = append(c.got, p.Msg.Status) }
func (c client) Failed(_ *Client, err error)             { c.failed = append(c.failed, err) }

// run gives fn a running layer in a bubble of its own time.
func run(t *testing.T, fn func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, start: time.Now()}
		b.layer = New(Config{
			Shards: 1, Logger: slog.New(slog.DiscardHandler),
			Sender: func() Sender { return b },
			User:   func(s *Shard) User { b.shard = s; return b },
		})
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.layer.Run(ctx) }()
		fn(b)
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// receive hands a message to the layer as the transport does.
func (b *bench) receive(f transport.Flow, text string) {
	b.t.Helper()
	p := &transport.Packet{Flow: f}
	if err := p.Msg.Parse([]byte(text)); err != nil {
		b.t.Fatalf("%v\n%s", err, text)
	}
	p.Msg.Source = f.Remote
	b.layer.Receive([]*transport.Packet{p})
	synctest.Wait()
}

// do runs fn in the shard.
func (b *bench) do(fn func()) {
	b.shard.Post(fn)
	synctest.Wait()
}

func (b *bench) wait(d time.Duration) {
	time.Sleep(d) // the bubble's time
	synctest.Wait()
}

func (b *bench) want(lines ...string) {
	b.t.Helper()
	if got, want := strings.Join(b.lines, "\n"), strings.Join(lines, "\n"); got != want {
		b.t.Errorf("sent:\n%s\nwant:\n%s", got, want)
	}
}

func request(method, branch string) string {
	return fmt.Sprintf("%s sip:45675002@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=%s\r\nFrom: <sip:a@b>;tag=f\r\n"+
		"To: <sip:c@b>\r\nCall-ID: 1\r\nCSeq: 1 %[1]s\r\nContent-Length: 0\r\n\r\n", method, branch)
}

// answer makes the response that a peer gives to what we sent last.
func (b *bench) answer(status int, request string) string {
	b.t.Helper()
	var m sip.Message
	if err := m.Parse([]byte(request)); err != nil {
		b.t.Fatal(err)
	}
	return string(sip.AppendBody(sip.AppendResponse(nil, &m, status, "", "peer"), "", nil))
}

func (b *bench) respond(status int) func() {
	return func() {
		m := &b.last.Packet.Msg
		b.last.Respond(status, sip.AppendBody(sip.AppendResponse(nil, m, status, "", b.last.Tag()), "", nil))
	}
}

func TestInviteServerRefusesUntilTheACK(t *testing.T) {
	run(t, func(b *bench) {
		b.receive(udp, request("INVITE", "z9hG4bK1"))
		b.do(b.respond(486))
		b.wait(3 * time.Second) // timer G: 0.5, 1, 2 s
		b.receive(udp, request("ACK", "z9hG4bK1"))
		b.wait(10 * time.Second)
		b.want("0.0 SIP/2.0 486 Busy Here", "0.5 SIP/2.0 486 Busy Here", "1.5 SIP/2.0 486 Busy Here")
		if len(b.shard.servers) != 0 || b.acks != 0 {
			t.Errorf("%d transactions left after timer I, %d ACKs passed up", len(b.shard.servers), b.acks)
		}
	})
}

func TestInviteServerGivesUpAfterTimerH(t *testing.T) {
	run(t, func(b *bench) {
		b.receive(udp, request("INVITE", "z9hG4bK1"))
		b.do(b.respond(486))
		b.wait(33 * time.Second)
		if n := len(b.lines); n != 11 || len(b.shard.servers) != 0 { // 0 .5 1.5 3.5 7.5 11.5 ... 31.5
			t.Errorf("%d responses, %d transactions left:\n%s", n, len(b.shard.servers), strings.Join(b.lines, "\n"))
		}
	})
}

func TestInviteServerOverTCPSendsOnce(t *testing.T) {
	run(t, func(b *bench) {
		b.receive(tcp, request("INVITE", "z9hG4bK1"))
		b.do(b.respond(486))
		b.wait(5 * time.Second)
		b.receive(tcp, request("ACK", "z9hG4bK1"))
		b.want("0.0 SIP/2.0 486 Busy Here")
		if len(b.shard.servers) != 0 {
			t.Error("timer I is zero over TCP")
		}
	})
}

func TestAcceptedInviteAbsorbsRetransmissions(t *testing.T) {
	run(t, func(b *bench) {
		b.receive(udp, request("INVITE", "z9hG4bK1"))
		b.do(b.respond(180))
		b.receive(udp, request("INVITE", "z9hG4bK1")) // lost 180: it comes again
		again := b.last
		b.do(b.respond(200))
		b.receive(udp, request("INVITE", "z9hG4bK1")) // RFC 6026 7.1: absorbed
		b.receive(udp, request("ACK", "z9hG4bK1"))    // the user's
		b.want("0.0 SIP/2.0 180 Ringing", "0.0 SIP/2.0 180 Ringing", "0.0 SIP/2.0 200 OK")
		if b.last != again || b.acks != 1 {
			t.Errorf("a retransmission began a transaction, or the ACK was not passed up: %d", b.acks)
		}
		b.wait(33 * time.Second)
		if len(b.shard.servers) != 0 {
			t.Error("still there after timer L")
		}
	})
}

func TestOtherServerKeepsItsAnswerUntilTimerJ(t *testing.T) {
	run(t, func(b *bench) {
		b.receive(udp, request("REGISTER", "z9hG4bK1"))
		first := b.last
		b.do(b.respond(200))
		b.wait(20 * time.Second)
		b.receive(udp, request("REGISTER", "z9hG4bK1"))
		b.want("0.0 SIP/2.0 200 OK", "20.0 SIP/2.0 200 OK")
		if b.last != first || len(b.shard.servers) != 0 {
			t.Error("the finished transaction is more than its bytes")
		}
		b.wait(13 * time.Second)
		b.receive(udp, request("REGISTER", "z9hG4bK1"))
		if b.last == first {
			t.Error("after timer J it is a new request")
		}
	})
}

func TestStatelessAnswerLeavesNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.onNew = func(tx *Server) {
			tx.RespondStateless(sip.AppendBody(sip.AppendResponse(nil, &tx.Packet.Msg, 401, "", tx.Tag()), "", nil))
		}
		b.receive(udp, request("REGISTER", "z9hG4bK1"))
		b.receive(udp, request("REGISTER", "z9hG4bK1"))
		if len(b.sent) != 2 || b.sent[0] != b.sent[1] || len(b.shard.servers) != 0 {
			t.Errorf("%d transactions left; the same request must get the same tag:\n%q", len(b.shard.servers), b.sent)
		}
	})
}

func TestTheACKToAStatelessRefusalIsNoStray(t *testing.T) {
	run(t, func(b *bench) {
		tag := ""
		b.onNew = func(tx *Server) {
			tag = tx.Tag()
			tx.RespondStateless(sip.AppendBody(sip.AppendResponse(nil, &tx.Packet.Msg, 407, "", tag), "", nil))
		}
		b.receive(udp, request("INVITE", "z9hG4bK1"))
		ack := strings.Replace(request("ACK", "z9hG4bK1"), "<sip:c@b>", "<sip:c@b>;tag=", 1)
		b.receive(udp, strings.Replace(ack, ";tag=\r\n", ";tag="+tag+"\r\n", 1))
		if b.acks != 0 {
			t.Error("it was passed up")
		}
		b.receive(udp, strings.Replace(ack, ";tag=\r\n", ";tag=0123456789abcdef\r\n", 1))
		if b.acks != 1 {
			t.Error("one with another tag was not passed up")
		}
	})
}

func TestCancelComesFromWhoInvited(t *testing.T) {
	run(t, func(b *bench) {
		b.receive(udp, request("INVITE", "z9hG4bK1"))
		stranger := udp
		stranger.Remote = netip.MustParseAddrPort("198.51.100.9:5060")
		b.receive(stranger, request("CANCEL", "z9hG4bK1"))
		b.receive(udp, strings.Replace(request("CANCEL", "z9hG4bK1"), "tag=f", "tag=g", 1))
		b.receive(udp, request("CANCEL", "z9hG4bK2"))
		if b.cancel != 0 {
			t.Error("a stranger's CANCEL was believed")
		}
		b.receive(udp, request("CANCEL", "z9hG4bK1"))
		b.want("0.0 SIP/2.0 481 Call/Transaction Does Not Exist", "0.0 SIP/2.0 481 Call/Transaction Does Not Exist",
			"0.0 SIP/2.0 481 Call/Transaction Does Not Exist", "0.0 SIP/2.0 200 OK")
		if b.cancel != 1 {
			t.Errorf("%d cancellations", b.cancel)
		}
	})
}

// send starts a client transaction with a request of this method.
func (b *bench) send(f transport.Flow, method sip.Method) (c *Client) {
	b.do(func() {
		c = b.shard.NewClient(client{b})
		branch := string(c.AppendBranch(nil)) + ".tail"
		c.Send(f, method, []byte(request(string(method), branch)))
	})
	return c
}

func TestInviteClientSendsAgainUntilAnswered(t *testing.T) {
	run(t, func(b *bench) {
		b.send(udp, sip.INVITE)
		b.wait(2 * time.Second) // timer A: 0.5, 1, 2 s
		b.receive(udp, b.answer(180, b.sent[0]))
		b.wait(60 * time.Second) // proceeding: only the user's timer C
		b.receive(udp, b.answer(486, b.sent[0]))
		b.receive(udp, b.answer(486, b.sent[0]))
		b.want("0.0 INVITE sip:45675002@192.0.2.1", "0.5 INVITE sip:45675002@192.0.2.1", "1.5 INVITE sip:45675002@192.0.2.1",
			"62.0 ACK sip:45675002@192.0.2.1", "62.0 ACK sip:45675002@192.0.2.1")
		if fmt.Sprint(b.got) != "[180 486]" {
			t.Errorf("the user got %v", b.got)
		}
		var ack, invite sip.Message
		if ack.Parse([]byte(b.sent[3])) != nil || invite.Parse([]byte(b.sent[0])) != nil ||
			string(ack.Via.Branch) != string(invite.Via.Branch) || string(ack.To.Tag()) != "peer" {
			t.Errorf("RFC 3261 17.1.1.3: the ACK is\n%s", b.sent[3])
		}
		b.wait(33 * time.Second)
		if b.shard.clients.slot[0] != nil {
			t.Error("still there after timer D")
		}
	})
}

func TestClientsGiveUp(t *testing.T) {
	for _, row := range []struct {
		method sip.Method
		sent   int
	}{
		{sip.INVITE, 7},   // timer B, after A: 0 .5 1.5 3.5 7.5 15.5 31.5
		{sip.OPTIONS, 11}, // timer F, after E: 0 .5 1.5 3.5 7.5 11.5 ... 31.5
	} {
		run(t, func(b *bench) {
			b.send(udp, row.method)
			b.wait(33 * time.Second)
			if len(b.failed) != 1 || b.failed[0] != ErrTimeout || len(b.sent) != row.sent {
				t.Errorf("%s: %v after %d requests", row.method, b.failed, len(b.sent))
			}
		})
	}
}

func TestAcceptedClientPassesEvery2xx(t *testing.T) {
	run(t, func(b *bench) {
		b.send(udp, sip.INVITE)
		b.receive(udp, b.answer(200, b.sent[0]))
		b.receive(udp, strings.Replace(b.answer(200, b.sent[0]), "tag=peer", "tag=other", 1))
		b.receive(udp, b.answer(486, b.sent[0]))
		if fmt.Sprint(b.got) != "[200 200]" || len(b.sent) != 1 {
			t.Errorf("the user got %v, %d messages were sent", b.got, len(b.sent))
		}
	})
}

func TestCancelWaitsForAProvisionalResponse(t *testing.T) {
	run(t, func(b *bench) {
		c := b.send(tcp, sip.INVITE)
		b.do(c.Cancel)
		b.want("0.0 INVITE sip:45675002@192.0.2.1")
		b.receive(tcp, b.answer(180, b.sent[0]))
		b.receive(tcp, b.answer(200, b.sent[1])) // of the CANCEL
		b.receive(tcp, b.answer(487, b.sent[0]))
		b.want("0.0 INVITE sip:45675002@192.0.2.1", "0.0 CANCEL sip:45675002@192.0.2.1", "0.0 ACK sip:45675002@192.0.2.1")
		if fmt.Sprint(b.got) != "[180 487]" {
			t.Errorf("the user got %v", b.got)
		}
	})
}

func TestAnswersToNobodyAreStray(t *testing.T) {
	run(t, func(b *bench) {
		b.send(udp, sip.OPTIONS)
		good := b.answer(200, b.sent[0])
		for _, row := range []struct{ name, text string }{
			{"another branch", strings.Replace(good, "z9hG4bK00000000", "z9hG4bK00000001", 1)},
			{"a guessed branch", strings.Replace(good, "z9hG4bK00000000", "z9hG4bK00000000ffffffffffffffff", 1)},
			{"another method", strings.Replace(good, "1 OPTIONS", "1 BYE", 1)},
		} {
			b.receive(udp, row.text)
			if len(b.got) != 0 {
				t.Errorf("%s: was taken", row.name)
			}
		}
		b.receive(udp, good)
		if fmt.Sprint(b.got) != "[200]" {
			t.Errorf("the right one: %v", b.got)
		}
	})
}

func TestBrokenConnectionFailsWhatWaitsOnIt(t *testing.T) {
	run(t, func(b *bench) {
		b.send(tcp, sip.OPTIONS)
		b.broken = true
		b.layer.Closed(tcp, nil)
		synctest.Wait()
		b.send(tcp, sip.OPTIONS) // and what is sent on it later
		b.wait(time.Second)
		if len(b.failed) != 2 || b.failed[0] != ErrFlow || b.failed[1] != ErrFlow || len(b.sent) != 1 {
			t.Errorf("%v after %d requests", b.failed, len(b.sent))
		}
	})
}

func TestAPanicCostsOneMessage(t *testing.T) {
	run(t, func(b *bench) {
		b.onNew = func(*Server) { panic("mistake") }
		b.receive(udp, request("OPTIONS", "z9hG4bK1"))
		b.onNew = nil
		b.receive(udp, request("OPTIONS", "z9hG4bK2"))
		if b.layer.Panics.Load() != 1 || b.last == nil {
			t.Errorf("%d panics counted", b.layer.Panics.Load())
		}
		b.want("0.0 SIP/2.0 500 Server Internal Error")
		if n := len(b.shard.servers); n != 1 { // the second one
			t.Errorf("%d transactions are left", n)
		}
	})
}

func TestTimersOfTheWheel(t *testing.T) {
	run(t, func(b *bench) {
		var fired []string
		note := func(d time.Duration) func() {
			return func() {
				if early := d - time.Since(b.start); early > 0 || early < -2*tick {
					t.Errorf("%v fired at %v", d, time.Since(b.start))
				}
				fired = append(fired, d.String())
			}
		}
		b.do(func() {
			for _, d := range []time.Duration{3 * time.Minute, tick, 41 * time.Second, time.Second, time.Second, 82 * time.Second} {
				b.shard.After(d, note(d))
			}
			b.shard.After(time.Second, func() { t.Error("stopped, and fires") }).Stop()
		})
		b.wait(4 * time.Minute)
		if got := strings.Join(fired, " "); got != "20ms 1s 1s 41s 1m22s 3m0s" {
			t.Errorf("fired %s", got)
		}
	})
}

func TestRepliesAreBounded(t *testing.T) {
	var r replies
	now := time.Unix(0, 0)
	b := make([]byte, 1000)
	for i := range uint64(20000) {
		r.put(key{i, i}, b, now.Add(time.Duration(i)*time.Millisecond))
	}
	if n := len(r.chunks) * chunkSize; n > maxReplies {
		t.Errorf("%d bytes are kept", n)
	}
	if r.get(key{19999, 19999}, now) == nil || r.get(key{0, 0}, now) != nil {
		t.Error("the newest must be kept, the oldest go")
	}
	r.put(key{1, 2}, b, now.Add(time.Hour))
	if len(r.index) != 1 || r.get(key{19999, 19999}, now) != nil {
		t.Errorf("%d answers are kept after their time", len(r.index))
	}
}
