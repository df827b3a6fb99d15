package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must come; it never passes in a good run.
const patience = 60 * time.Second

// options is a whole OPTIONS request of the usual size.
func options(via, branch, callID string) []byte {
	return fmt.Appendf(nil, "OPTIONS sip:45675001@example.org SIP/2.0\r\n"+
		"Via: SIP/2.0/%s;branch=z9hG4bK%s;rport\r\n"+
		"Max-Forwards: 70\r\n"+
		"From: \"Studio 1\" <sip:45675001@example.org>;tag=a73kszlfl\r\n"+
		"To: <sip:45675001@example.org>\r\n"+
		"Call-ID: %s\r\n"+
		"CSeq: 1 OPTIONS\r\n"+
		"Contact: <sip:45675001@192.0.2.7:5060>\r\n"+
		"User-Agent: Codec/1.0\r\n"+
		"Content-Length: 0\r\n\r\n", via, branch, callID)
}

// answerer answers every request with 200 and keeps what it saw.
type answerer struct {
	t      *Transport
	mu     sync.Mutex
	batch  *Batch
	silent bool
	seen   chan seen
	closed chan closed
}

type seen struct {
	flow   Flow
	source netip.AddrPort
	raw    string
}

type closed struct {
	flow Flow
	err  error
}

func (a *answerer) Receive(batch []*Packet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range batch {
		select {
		case a.seen <- seen{p.Flow, p.Msg.Source, string(p.Msg.Raw)}:
		default:
		}
		if !a.silent && p.Msg.IsRequest() {
			a.batch.Send(p.Flow, answer(&p.Msg))
		}
		p.Release()
	}
	a.batch.Flush()
}

func (a *answerer) Closed(f Flow, err error) { a.closed <- closed{f, err} }

// start runs a transport with an answerer until the test ends.
func start(t *testing.T, c Config, listen ...string) (*Transport, *answerer) {
	t.Helper()
	tr := New(c)
	a := &answerer{t: tr, seen: make(chan seen, 1000), closed: make(chan closed, 1000)}
	tr.Handle(a)
	for _, l := range listen {
		proto, addr, _ := strings.Cut(l, " ")
		var err error
		if proto == "tcp" {
			err = tr.ListenTCP(addr)
		} else {
			err = tr.ListenUDP(addr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a.batch = tr.NewBatch()
	run(t, tr)
	return tr, a
}

func run(t *testing.T, tr *Transport) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// client is a plain UDP socket.
func client(t *testing.T, local string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sendTo(t *testing.T, c *net.UDPConn, b []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

func readFrom(t *testing.T, c *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 65536)
	c.SetReadDeadline(time.Now().Add(patience))
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// connect opens a TCP connection.
func connect(t *testing.T, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func write(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// readMessage reads up to the end of a message without a body.
func readMessage(t *testing.T, r io.Reader) string {
	t.Helper()
	var b []byte
	one := make([]byte, 1)
	for !strings.HasSuffix(string(b), "\r\n\r\n") {
		if _, err := io.ReadFull(r, one); err != nil {
			t.Fatalf("after %q: %v", b, err)
		}
		b = append(b, one[0])
	}
	return string(b)
}

func statusLine(m string) string {
	line, _, _ := strings.Cut(m, "\r\n")
	return line
}

// count waits until a counter has a value: what it counts happens on another goroutine.
func count(t *testing.T, tr *Transport, c counter, want uint64) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for tr.counters[c].Load() != want {
		if time.Now().After(deadline) {
			t.Fatalf("counter %v is %d, want %d", counterNames[c], tr.counters[c].Load(), want)
		}
		time.Sleep(time.Millisecond)
	}
}
