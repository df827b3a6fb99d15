package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func withBody(callID, body string) []byte {
	m := options("TCP 127.0.0.1", callID, callID)
	return append(bytes.Replace(m, []byte("Content-Length: 0"), fmt.Appendf(nil, "Content-Length: %d", len(body)), 1), body...)
}

func TestTCPFraming(t *testing.T) {
	one := string(options("TCP 127.0.0.1", "1", "c1"))
	two := string(withBody("c2", "v=0\r\n\r\no=x\r\n"))
	large := string(withBody("c3", strings.Repeat("x", 60000)))
	for _, row := range []struct {
		name  string
		write []string
		want  []string
	}{
		{"one message in one piece", []string{one}, []string{one}},
		{"three messages in one piece", []string{one + two + one}, []string{one, two, one}},
		{"byte by byte", strings.Split(one+two, ""), []string{one, two}},
		{"a message and half of the next", []string{one + two[:100], two[100:]}, []string{one, two}},
		{"cut before the last byte of the body", []string{two[:len(two)-1], two[len(two)-1:] + one}, []string{two, one}},
		{"line breaks between messages", []string{"\r\n" + one + "\r\n" + two + "\r\n\r\n\r\n", one}, []string{one, two, one}},
		{"sixty kilobytes, then a small one", []string{large + one}, []string{large, one}},
		{"sixty kilobytes in pieces", []string{large[:5000], large[5000:20000], large[20000:] + one}, []string{large, one}},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr, a := start(t, Config{}, "tcp 127.0.0.1:0")
			c := connect(t, tr.Listeners()[0].Addr)
			for _, piece := range row.write {
				write(t, c, []byte(piece))
			}
			for i, want := range row.want {
				got := receive(t, a.seen)
				if got.raw != want {
					t.Errorf("message %d: got\n%.300q\nwant\n%.300q", i, got.raw, want)
				}
				if got.flow.Proto != TCP || got.flow.Remote != addrPort(c.LocalAddr()) || got.flow.Local != addrPort(c.RemoteAddr()) || got.flow.Conn == 0 {
					t.Errorf("flow %+v", got.flow)
				}
				if got.source != got.flow.Remote {
					t.Errorf("source %v", got.source)
				}
			}
		})
	}
}

func TestTCPAnswersComeInOrderOnTheSameConnection(t *testing.T) {
	tr, _ := start(t, Config{}, "tcp [::1]:0")
	c := connect(t, tr.Listeners()[0].Addr)
	var all []byte
	const n = 500
	for i := range n {
		all = append(all, options("TCP [::1]", fmt.Sprint(i), "c1")...)
	}
	go c.Write(all)
	r := io.Reader(c)
	for i := range n {
		m := readMessage(t, r)
		if !strings.Contains(m, fmt.Sprintf("branch=z9hG4bK%d;", i)) {
			t.Fatalf("answer %d:\n%s", i, m)
		}
	}
}

func TestTCPAPingIsAnsweredAndALineBreakIsNot(t *testing.T) {
	tr, _ := start(t, Config{}, "tcp 127.0.0.1:0")
	for _, row := range []struct {
		name  string
		write []string
		want  string
	}{
		{"a ping", []string{"\r\n\r\n"}, "\r\n"},
		{"a ping in pieces", []string{"\r", "\n\r", "\n"}, "\r\n"},
		{"a line break", []string{"\r\n"}, ""},
		{"a ping behind a message", []string{string(options("TCP 127.0.0.1", "first", "c")) + "\r\n\r\n"}, "\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := connect(t, tr.Listeners()[0].Addr)
			for _, piece := range row.write {
				write(t, c, []byte(piece))
			}
			if row.want != "" {
				// The pong may come before or after the answer to a message.
				var got []byte
				one := make([]byte, 1)
				for !bytes.HasPrefix(got, []byte("\r\n")) && !bytes.HasSuffix(got, []byte("\r\n\r\n\r\n")) {
					if _, err := io.ReadFull(c, one); err != nil {
						t.Fatalf("%v after %q", err, got)
					}
					got = append(got, one[0])
				}
			}
			write(t, c, options("TCP 127.0.0.1", "last", "c"))
			for {
				m := readMessage(t, c)
				if strings.HasPrefix(m, "\r\n") {
					t.Fatalf("a pong too many: %q", m)
				}
				if strings.Contains(m, "z9hG4bKlast") {
					return
				}
			}
		})
	}
}

func TestTCPAStreamThatCannotBeFollowedIsRefusedAndClosed(t *testing.T) {
	good := string(options("TCP 127.0.0.1", "1", "c1"))
	for _, row := range []struct {
		name, write string
		status      string // of the refusal; empty: none
		counter     counter
	}{
		{"Content-Length that is no number", strings.Replace(good, "Length: 0", "Length: x", 1), "400", cutFraming},
		{"negative Content-Length", strings.Replace(good, "Length: 0", "Length: -1", 1), "400", cutFraming},
		{"two Content-Lengths", strings.Replace(good, "Content-Length: 0", "Content-Length: 0\r\nl: 5", 1), "400", cutFraming},
		{"Content-Length of a gigabyte", strings.Replace(good, "Length: 0", "Length: 1000000000", 1), "4", cutFraming},
		{"Content-Length just too large", strings.Replace(good, "Length: 0", "Length: 65500", 1), "513", cutTooLarge},
		{"headers without end", strings.Replace(good, "\r\n\r\n", "\r\nX: "+strings.Repeat("x", 70000), 1), "513", cutTooLarge},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", cutFraming},
		{"a line without Via and without end", strings.Repeat("x", 70000), "", cutTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr, a := start(t, Config{}, "tcp 127.0.0.1:0")
			c := connect(t, tr.Listeners()[0].Addr)
			_, _ = c.Write([]byte(row.write)) // it may be closed before the end
			if row.status != "" {
				if m := readMessage(t, c); !strings.HasPrefix(m, "SIP/2.0 "+row.status) {
					t.Errorf("answered %q, want %s", statusLine(m), row.status)
				}
			}
			c.CloseWrite()
			if rest, err := io.ReadAll(c); len(rest) > 0 {
				t.Errorf("%q, %v came behind", rest, err)
			}
			if got := receive(t, a.closed); got.err == nil {
				t.Error("closed without a cause")
			}
			count(t, tr, row.counter, 1)
			if len(a.seen) > 0 {
				t.Errorf("handed on: %v", receive(t, a.seen))
			}
		})
	}
}

func TestTCPAMessageThatDoesNotParseIsRefusedAndTheStreamGoesOn(t *testing.T) {
	tr, _ := start(t, Config{}, "tcp 127.0.0.1:0")
	c := connect(t, tr.Listeners()[0].Addr)
	good := options("TCP 127.0.0.1", "1", "c1")
	write(t, c, bytes.Replace(good, []byte("1 OPTIONS"), []byte("1 INVITE"), 1))
	if m := readMessage(t, c); !strings.HasPrefix(m, "SIP/2.0 400 ") {
		t.Errorf("answered %q", statusLine(m))
	}
	write(t, c, good)
	if m := readMessage(t, c); statusLine(m) != "SIP/2.0 200 OK" {
		t.Errorf("answered %q", statusLine(m))
	}
}

func TestTCPOneSourceCannotLockOutOthers(t *testing.T) {
	tr, _ := start(t, Config{MaxConnectionsPerSource: 5, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}}, "tcp 0.0.0.0:0")
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), tr.Listeners()[0].Addr.Port())
	from := func(source string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		c, err := d.Dial("tcp", addr.String())
		if errors.Is(err, unix.ECONNRESET) { // refused so fast that connect noticed
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
	served := func(c net.Conn) bool {
		if c == nil {
			return false
		}
		c.Write(options("TCP 127.0.0.1", "1", "c1"))
		b := make([]byte, 1000)
		n, _ := c.Read(b)
		return strings.HasPrefix(string(b[:n]), "SIP/2.0 200 ")
	}
	var held []net.Conn
	for range 5 {
		c := from("127.0.0.7")
		if !served(c) {
			t.Fatal("not served within the limit")
		}
		held = append(held, c)
	}
	for range 20 {
		if served(from("127.0.0.7")) {
			t.Error("served beyond the limit")
		}
	}
	count(t, tr, connSourceLimit, 20)
	if !served(from("127.0.0.8")) {
		t.Error("another source is locked out")
	}
	for range 20 {
		if !served(from("127.0.0.9")) {
			t.Error("a trusted source is limited")
		}
	}
	held[0].Close()
	for !served(from("127.0.0.7")) { // until the closing has been seen
	}
}

func TestTCPConnectionsAreLimitedInAll(t *testing.T) {
	tr, _ := start(t, Config{MaxConnections: 2}, "tcp 127.0.0.1:0")
	for range 2 {
		c := connect(t, tr.Listeners()[0].Addr)
		write(t, c, options("TCP 127.0.0.1", "1", "c1"))
		readMessage(t, c)
	}
	if c, err := net.Dial("tcp", tr.Listeners()[0].Addr.String()); err == nil { // or the refusal was faster
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a third connection is served")
		}
	}
	count(t, tr, connLimit, 1)
	if _, err := tr.Dial(t.Context(), TCP, tr.Listeners()[0].Addr); err == nil {
		t.Error("a third connection is dialled")
	}
}

func TestIPv6SourcesAreLimitedByNetwork(t *testing.T) {
	tr := New(Config{})
	a, b := tr.limited(netip.MustParseAddr("2001:db8:1:2::1")), tr.limited(netip.MustParseAddr("2001:db8:1:2:ffff::1"))
	if a != b || a == tr.limited(netip.MustParseAddr("2001:db8:1:3::1")) {
		t.Errorf("%v %v", a, b)
	}
}

// pipe is a stream over net.Pipe, for clocks that synctest turns. It has no way to write without waiting, so it tests
// the writer goroutine too.
func pipe(t *testing.T, c Config) (tr *Transport, a *answerer, peer net.Conn, s *stream) {
	tr = New(c)
	a = &answerer{t: tr, seen: make(chan seen, 1000), closed: make(chan closed, 1)}
	tr.Handle(a)
	a.batch = tr.NewBatch()
	ours, peer := net.Pipe()
	tr.streams.total++
	s = newStream(tr, TCP, ours, netip.Addr{})
	if !tr.serve(s) {
		t.Fatal("not served")
	}
	t.Cleanup(func() {
		tr.Close()
		tr.tasks.end()
	})
	return tr, a, peer, s
}

func TestStreamTimeouts(t *testing.T) {
	message := string(options("TCP 127.0.0.1", "1", "c1"))
	half := message[:200]
	for _, row := range []struct {
		name    string
		write   []string
		pause   time.Duration // between them
		end     time.Duration // from the beginning
		counter counter
	}{
		{"a connection that never sends anything", nil, 0, 30 * time.Second, cutNeverUsed},
		{"a connection that only pings", []string{"\r\n\r\n", "\r\n\r\n", "\r\n\r\n", "\r\n\r\n"}, 9 * time.Second, 30 * time.Second, cutNeverUsed},
		{"half a message", []string{half}, 0, 10 * time.Second, cutSlowMessage},
		{"half a message, fed slowly", []string{half, "X", "Y", "Z"}, 3 * time.Second, 10 * time.Second, cutSlowMessage},
		{"half a message behind a whole one", []string{message, half}, 15 * time.Second, 25 * time.Second, cutSlowMessage},
		{"a whole message, then nothing", []string{message}, 0, time.Hour, cutIdle},
		{"used every half hour", []string{message, "\r\n", message, "\r\n"}, 29 * time.Minute, 3*29*time.Minute + time.Hour, cutIdle},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				tr, a, peer, _ := pipe(t, Config{})
				a.silent = true
				go io.Copy(io.Discard, peer)
				for i, w := range row.write {
					if i > 0 {
						time.Sleep(row.pause)
					}
					peer.Write([]byte(w))
				}
				<-a.closed
				if took := time.Since(begin); took != row.end && (row.counter != cutIdle || took < row.end || took > row.end+time.Minute) {
					t.Errorf("closed after %v, want %v", took, row.end)
				}
				if tr.counters[row.counter].Load() != 1 {
					t.Errorf("not counted as %v", counterNames[row.counter])
				}
			})
		})
	}
}

func TestAPeerThatDoesNotReadIsCut(t *testing.T) {
	for _, row := range []struct {
		name string
		size int
	}{
		{"it takes nothing for ten seconds", 1000},
		{"more waits than may wait", 300 << 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, a, _, s := pipe(t, Config{})
				b := tr.NewBatch()
				var failed error
				b.Failed = func(_ Flow, err error) { failed = err }
				m := make([]byte, 1000)
				for range row.size / len(m) {
					b.Send(s.flow, m)
					b.Flush()
				}
				if got := <-a.closed; got.flow != s.flow || !errors.Is(got.err, errSlowReader) {
					t.Errorf("closed: %v", got.err)
				}
				if tr.counters[cutSlowReader].Load() != 1 {
					t.Error("not counted")
				}
				b.Send(s.flow, m)
				b.Flush()
				if failed == nil {
					t.Error("sending on goes unnoticed")
				}
			})
		})
	}
}

func TestTCPWhatDoesNotFitAtOnceArrivesInOrder(t *testing.T) {
	tr, a := start(t, Config{WriteQueue: 64 << 20}, "tcp 127.0.0.1:0")
	c := connect(t, tr.Listeners()[0].Addr)
	write(t, c, options("TCP 127.0.0.1", "1", "c1"))
	f := receive(t, a.seen).flow
	readMessage(t, c)

	b := tr.NewBatch()
	const n, size = 20000, 1000 // more than the kernel's buffers hold
	for i := range n {
		b.Send(f, fmt.Appendf(nil, "%-*d", size, i))
		if i%10 == 0 {
			b.Flush()
		}
	}
	b.Flush()
	got := make([]byte, size)
	for i := range n {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%-*d", size, i); string(got) != want {
			t.Fatalf("%.10q, want %.10q", got, want)
		}
	}
	b.Send(f, []byte("again"))
	b.Flush()
	if _, err := io.ReadFull(c, got[:5]); err != nil || string(got[:5]) != "again" {
		t.Errorf("%q, %v", got[:5], err)
	}
}

func TestTCPDial(t *testing.T) {
	far, farAnswers := start(t, Config{}, "tcp 127.0.0.1:0")
	near, nearAnswers := start(t, Config{}, "tcp 127.0.0.1:0")
	nearAnswers.silent = true
	addr := far.Listeners()[0].Addr

	var wg sync.WaitGroup
	flows := make([]Flow, 10)
	for i := range flows {
		wg.Go(func() {
			var err error
			if flows[i], err = near.Dial(context.Background(), TCP, addr); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, f := range flows {
		if f != flows[0] {
			t.Errorf("two connections to one address: %v, %v", f, flows[0])
		}
	}
	f := flows[0]
	if f.Remote != addr || !near.Connected(f) {
		t.Errorf("flow %v, connected: %v", f, near.Connected(f))
	}
	if got := near.Announced(f); got != near.Listeners()[0].Addr {
		t.Errorf("announced %v, want the listener %v", got, near.Listeners()[0].Addr)
	}
	b := near.NewBatch()
	b.Send(f, options("TCP 127.0.0.1", "1", "c1"))
	b.Flush()
	back := receive(t, farAnswers.seen).flow
	if got := receive(t, nearAnswers.seen); got.flow != f || !strings.HasPrefix(got.raw, "SIP/2.0 200 ") {
		t.Errorf("answered %v %q", got.flow, got.raw)
	}

	// The far side reaches us over the same connection, and learns when it ends.
	if again, err := far.Dial(t.Context(), TCP, back.Remote); err != nil || again != back {
		t.Errorf("%v, %v; want %v", again, err, back)
	}
	stale := f
	stale.Remote = netip.MustParseAddrPort("127.0.0.1:1")
	if near.Connected(stale) {
		t.Error("a flow of another peer has our connection")
	}
	near.streams.find(f).conn.Close()
	if got := receive(t, farAnswers.closed); got.flow != back {
		t.Errorf("closed %v, want %v", got.flow, back)
	}
	if got := receive(t, nearAnswers.closed); got.flow != f {
		t.Errorf("closed %v, want %v", got.flow, f)
	}
	if near.Connected(f) || far.Connected(back) {
		t.Error("still connected")
	}
	anew, err := near.Dial(t.Context(), TCP, addr)
	if err != nil || anew == f {
		t.Errorf("dialled again: %v, %v", anew, err)
	}
}

func TestTCPDialFails(t *testing.T) {
	tr, _ := start(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := addrPort(l.Addr())
	l.Close()
	if _, err := tr.Dial(t.Context(), TCP, addr); err == nil || !strings.Contains(err.Error(), addr.String()) {
		t.Errorf("nobody listens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Dial(ctx, TCP, netip.MustParseAddrPort("192.0.2.1:5060")); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller has gone: %v", err)
	}
	if _, err := tr.Dial(t.Context(), TLS, addr); err == nil {
		t.Error("dialled what is not there yet")
	}
}
