package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// peer is the other end of an agent's link: it writes and reads bare messages, as the proxy of the service does.
// It answers BYE by itself.
type peer struct {
	t         *testing.T
	transport *transport.Transport
	batch     *transport.Batch
	in        chan string

	mu   sync.Mutex
	flow transport.Flow // to the agent
}

// linked starts an agent beside a peer.
func linked(t *testing.T, c Config) *peer {
	t.Helper()
	c.Number, c.Product = "15000", "Liaison/test"
	c.Logger = slog.New(slog.DiscardHandler)
	if c.Recordings == nil {
		c.Recordings = mustRecordings(t)
	}
	c.Transport = transport.New(transport.Config{})
	p := &peer{t: t, in: make(chan string, 100),
		flow: transport.Flow{Proto: transport.Link, Local: netip.MustParseAddrPort("127.0.0.1:5060"), Remote: netip.MustParseAddrPort("127.0.0.1:15000")}}
	p.transport = transport.New(transport.Config{Handler: p})
	transport.Join(p.transport, c.Transport)
	p.batch = p.transport.NewBatch()
	a, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	start(t, p.transport.Run, a.Run)
	return p
}

// server makes a peer that an agent can reach over UDP and TCP, and that address.
func server(t *testing.T) (*peer, string) {
	t.Helper()
	p := &peer{t: t, in: make(chan string, 100)}
	p.transport = transport.New(transport.Config{Handler: p})
	if err := p.transport.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	addr := p.transport.Listeners()[0].Addr
	if err := p.transport.ListenTCP(addr.String()); err != nil {
		t.Fatal(err)
	}
	p.batch = p.transport.NewBatch()
	start(t, p.transport.Run)
	return p, addr.String()
}

// agent starts an agent of its own.
func agent(t *testing.T, c Config) *Agent {
	t.Helper()
	c.Product, c.Logger = "Liaison/test", slog.New(slog.DiscardHandler)
	if c.Recordings == nil {
		c.Recordings = mustRecordings(t)
	}
	a, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	start(t, a.Run)
	return a
}

// start runs things until the test ends, the last one first to go.
func start(t *testing.T, runs ...func(context.Context) error) {
	for _, run := range runs {
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() { cancel(); wg.Wait() })
	}
}

func (p *peer) Receive(batch []*transport.Packet) {
	for _, k := range batch {
		p.mu.Lock()
		p.flow = k.Flow
		p.mu.Unlock()
		p.in <- string(k.Msg.Raw)
		if k.Msg.Method == sip.BYE && k.Msg.IsRequest() {
			b := p.transport.NewBatch()
			b.Send(k.Flow, sip.AppendBody(sip.AppendResponse(nil, &k.Msg, 200, "", ""), "", nil))
			b.Flush()
		}
		k.Release()
	}
}

func (p *peer) Closed(transport.Flow, error) {}

// send gives a message to the agent; line ends may be bare, and Content-Length is put in.
func (p *peer) send(format string, args ...any) {
	p.t.Helper()
	head, body, _ := strings.Cut(strings.TrimLeft(fmt.Sprintf(format, args...), "\n"), "\n\n")
	head = fmt.Sprintf("%s\nContent-Length: %d\n\n", strings.TrimSpace(head), len(strings.ReplaceAll(body, "\n", "\r\n")))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batch.Send(p.flow, []byte(strings.ReplaceAll(head+body, "\n", "\r\n")))
	p.batch.Flush()
}

// next is the next message of the agent; it must begin as told.
func (p *peer) next(begins string) string {
	p.t.Helper()
	select {
	case m := <-p.in:
		if !strings.HasPrefix(m, begins) {
			p.t.Fatalf("want %q, got\n%s", begins, m)
		}
		return m
	case <-time.After(5 * time.Second):
		p.t.Fatalf("want %q, nothing came", begins)
		return ""
	}
}

// header is the value of a header line.
func header(m, name string) string {
	for line := range strings.SplitSeq(m, "\r\n") {
		if n, v, ok := strings.Cut(line, ": "); ok && strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

var tagPattern = regexp.MustCompile(`;tag=([^;\r\n]+)`)

func toTag(m string) string {
	if found := tagPattern.FindStringSubmatch(header(m, "To")); found != nil {
		return found[1]
	}
	return ""
}

func bodyOf(m string) string {
	_, body, _ := strings.Cut(m, "\r\n\r\n")
	return body
}

const offerPCMA = `v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 4000 RTP/AVP 8 0
`

// request makes the head of a request of a caller behind the proxy.
func head(method string, cseq int, callID, tag string) string {
	to := "<sip:15000@example.org>"
	if tag != "" {
		to += ";tag=" + tag
	}
	target := method
	if method == "ACK" || method == "CANCEL" {
		target = "INVITE"
	}
	return fmt.Sprintf(`%s sip:15000@127.0.0.1:15000 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK%s%d%s
Via: SIP/2.0/UDP 10.0.0.1:5062;received=127.0.0.1;branch=z9hG4bKcaller
Record-Route: <sip:127.0.0.1:5060;lr>
From: "Studio 1" <sip:45675001@example.org>;tag=ft
To: %s
Call-ID: %s
CSeq: %d %s
Contact: <sip:45675001@10.0.0.1:5062>
Max-Forwards: 69
Allow: INVITE, ACK, BYE, UPDATE
`, method, callID, cseq, target, to, callID, cseq, method)
}

const sdpType = "Content-Type: application/sdp\n\n"

// call sets up a call with an offer of PCMA and gives the 200.
func (p *peer) call(id string) string {
	p.t.Helper()
	p.send("%s%s%s", head("INVITE", 1, id, ""), sdpType, offerPCMA)
	ok := p.next("SIP/2.0 200")
	p.send("%s", head("ACK", 1, id, toTag(ok)))
	return ok
}

func contains(t *testing.T, m string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !bytes.Contains([]byte(m), []byte(part)) {
			t.Errorf("there is no %q in\n%s", part, m)
		}
	}
}

// answer gives the answer to a request of the agent, with what stands in lines and after.
func (p *peer) answer(request, status, lines string) {
	p.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\n", status)
	for line := range strings.SplitSeq(request, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			b.WriteString(line + "\n")
		case "To":
			b.WriteString(line)
			if !strings.Contains(line, "tag=") && !strings.HasPrefix(status, "100") {
				b.WriteString(";tag=there")
			}
			b.WriteString("\n")
		}
	}
	p.send("%s%s", b.String(), lines)
}
