package transport

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"liaison/internal/stun"
)

// binding is a Binding request of RFC 8489 with CHANGE-REQUEST (RFC 5780 7.2).
func binding(change byte) []byte {
	return []byte("\x00\x01\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x03\x00\x04\x00\x00\x00" + string(change))
}

const plainBinding = "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"

// mapped reads the XOR-MAPPED-ADDRESS with which an answer to a client at an IPv4 or IPv6 address begins.
func mapped(t *testing.T, answer string) netip.AddrPort {
	t.Helper()
	b := []byte(answer)
	if len(b) < 32 || !bytes.Equal(b[:2], []byte{1, 1}) || !bytes.Equal(b[20:22], []byte{0, 0x20}) {
		t.Fatalf("not a Binding answer: %x", b)
	}
	ip := b[28:32]
	if b[25] == 2 {
		ip = b[28:44]
	}
	for i := range ip {
		ip[i] ^= b[4+i]
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr, uint16(b[26]^b[4])<<8|uint16(b[27]^b[5]))
}

func TestSTUNIsAnsweredOnTheSIPPort(t *testing.T) {
	for _, row := range []struct{ name, listen, from, ask string }{
		{"any IPv4 address, asked at another than the first", "0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"},
		{"one IPv4 address", "127.0.0.3:0", "127.0.0.1:0", "127.0.0.3"},
		{"any IPv6 address", "[::]:0", "[::1]:0", "::1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := New(Config{})
			tr.AnswerSTUN(stun.New(stun.Config{}))
			a := &answerer{t: tr, seen: make(chan seen, 1000), closed: make(chan closed, 1000)}
			tr.Handle(a)
			if err := tr.ListenUDP(row.listen); err != nil {
				t.Fatal(err)
			}
			a.batch = tr.NewBatch()
			run(t, tr)
			to := netip.AddrPortFrom(netip.MustParseAddr(row.ask), tr.Listeners()[0].Addr.Port())
			c := client(t, row.from)
			// Among SIP, as an agent does that keeps its flow open.
			for i := range 20 {
				sendTo(t, c, []byte(plainBinding), to)
				m, from := readFrom(t, c)
				if got := mapped(t, m); got != addrPort(c.LocalAddr()) || from != to {
					t.Fatalf("%v from %v, want %v from %v", got, from, c.LocalAddr(), to)
				}
				sendTo(t, c, options("UDP 192.0.2.7", fmt.Sprint(i), "c1"), to)
				if m, _ := readFrom(t, c); statusLine(m) != "SIP/2.0 200 OK" {
					t.Fatalf("%q", m)
				}
			}
			count(t, tr, answeredSIPPort, 20)
			count(t, tr, receivedUDP, 20)
			count(t, tr, sentUDP, 20)
		})
	}
}

// listenSTUN has a transport serve two addresses of this machine with two ports each.
func listenSTUN(t *testing.T) (tr *Transport, first, second netip.AddrPort) {
	t.Helper()
	for range 10 { // the ports are free now; somebody may be faster
		var ports [2]uint16
		for i := range ports {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			ports[i] = addrPort(c.LocalAddr()).Port()
			c.Close()
		}
		first = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.21"), ports[0])
		second = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.22"), ports[1])
		topology, err := stun.NewTopology([]netip.AddrPort{first}, stun.Alternate{Address: second})
		if err != nil {
			continue // the same port twice
		}
		server := stun.New(stun.Config{Topology: topology})
		tr = New(Config{})
		tr.AnswerSTUN(server)
		tr.Handle(&keeper{got: make(chan *Packet, 100)})
		for _, a := range server.Sockets() {
			if err = tr.ListenSTUN(a.String()); err != nil {
				break
			}
		}
		if err == nil {
			if err := tr.ListenUDP("0.0.0.0:0"); err != nil {
				t.Fatal(err)
			}
			run(t, tr)
			return tr, first, second
		}
		tr.Close()
	}
	t.Fatal("no free ports")
	panic("unreachable")
}

func TestSTUNAnswersLeaveFromTheSecondAddressAndPort(t *testing.T) {
	tr, first, second := listenSTUN(t)
	at := func(addr, port netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(addr.Addr(), port.Port()) }
	c := client(t, "127.0.0.1:0")
	n := 0
	for _, asked := range []netip.AddrPort{first, second, at(first, second), at(second, first)} {
		other := at(first, first)
		if asked.Addr() == first.Addr() {
			other = netip.AddrPortFrom(second.Addr(), other.Port())
		}
		if asked.Port() == first.Port() {
			other = netip.AddrPortFrom(other.Addr(), second.Port())
		}
		for change, want := range map[byte]netip.AddrPort{0: asked, 2: at(asked, other), 4: at(other, asked), 6: other} {
			sendTo(t, c, binding(change), asked)
			m, from := readFrom(t, c)
			if from != want {
				t.Errorf("%v asked for change %d: answered from %v, want %v", asked, change, from, want)
			}
			if got := mapped(t, m); got != addrPort(c.LocalAddr()) {
				t.Errorf("mapped %v, want %v", got, c.LocalAddr())
			}
			n++
		}
	}
	count(t, tr, answeredSTUN, uint64(n))

	sendTo(t, c, binding(6), netip.AddrPortFrom(first.Addr(), tr.Listeners()[0].Addr.Port()))
	if m, _ := readFrom(t, c); m[:2] != "\x01\x11" {
		t.Errorf("the SIP port answered %x to a change, want a refusal", m)
	}
}

func TestOnTheSTUNPortNothingElseIsServed(t *testing.T) {
	tr, first, _ := listenSTUN(t)
	c := client(t, "127.0.0.1:0")
	sendTo(t, c, options("UDP 127.0.0.1", "1", "c1"), first)
	sendTo(t, c, []byte("\r\n\r\n"), first)
	count(t, tr, dropNotSTUN, 2)
	if f, ok := tr.UDPFlow(addrPort(c.LocalAddr())); !ok || f.Local.Port() != tr.Listeners()[0].Addr.Port() {
		t.Errorf("SIP would leave from %v", f.Local)
	}
	if n := len(tr.Listeners()); n != 1 {
		t.Errorf("%d listeners for SIP", n)
	}
	if addrs := tr.STUNAddrs(); len(addrs) != 4 || addrs[0] != first {
		t.Errorf("STUN at %v", addrs)
	}
}

func TestASTUNPortThatCannotBeBoundIsNamed(t *testing.T) {
	_, first, _ := listenSTUN(t)
	tr := New(Config{})
	defer tr.Close()
	for _, row := range []struct{ addr, want string }{
		{first.String(), "udp " + first.String() + " is taken by another program, perhaps another STUN server: stop it or change stun.listen"},
		{"198.51.100.1:3478", "udp 198.51.100.1:3478 is not an address of this machine: change stun.listen or stun.alternate"},
		{":3478", `":3478" is not an address with a port, such as 0.0.0.0:3478: change stun.listen`},
	} {
		if err := tr.ListenSTUN(row.addr); err == nil || err.Error() != row.want {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}

// A source that asks too often is silent to us; its SIP is not touched.
func TestSTUNIsLimitedAndSIPIsNot(t *testing.T) {
	tr := New(Config{})
	tr.AnswerSTUN(stun.New(stun.Config{Rate: 1, Burst: 3}))
	a := &answerer{t: tr, seen: make(chan seen, 1000), closed: make(chan closed, 1000)}
	tr.Handle(a)
	if err := tr.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	a.batch = tr.NewBatch()
	run(t, tr)
	c, to := client(t, "127.0.0.1:0"), tr.Listeners()[0].Addr
	for range 20 {
		sendTo(t, c, []byte(plainBinding), to)
	}
	sendTo(t, c, options("UDP 127.0.0.1", "1", "c1"), to)
	answers := 0
	for {
		m, _ := readFrom(t, c)
		if strings.HasPrefix(m, "SIP/2.0 200") {
			break
		}
		answers++
	}
	if answers < 3 || answers > 5 { // a slow machine may earn one or two more
		t.Errorf("%d answers of 20, want 3", answers)
	}
}

func TestAnsweringSTUNAllocatesNothing(t *testing.T) {
	s, fd := onOneGoroutine(t)
	s.t.AnswerSTUN(stun.New(stun.Config{Burst: 1 << 20}))
	c := peer(t, s.addr.Port())
	m, buf := []byte(plainBinding), make([]byte, 2048)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := unix.Write(c, m); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; {
			s.receive(fd)
			_, err := unix.Read(c, buf)
			answered = err == nil
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for one datagram", n)
	}
}

// BenchmarkSTUN is one Binding request received, answered and sent; cpu-ns/op as in BenchmarkUDP.
func BenchmarkSTUN(b *testing.B) {
	for _, n := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(n, " at a time"), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			s, fd := onOneGoroutine(b)
			s.t.AnswerSTUN(stun.New(stun.Config{Burst: 1 << 30}))
			c := peer(b, s.addr.Port())
			m, buf := []byte(plainBinding), make([]byte, 2048)
			var spent time.Duration
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				for range n {
					_, _ = unix.Write(c, m)
				}
				begin := threadTime()
				s.receive(fd)
				spent += threadTime() - begin
				for range n {
					_, _ = unix.Read(c, buf)
				}
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
