package transport

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"liaison/internal/sip"
)

func answer(m *sip.Message) []byte {
	return sip.AppendBody(sip.AppendResponse(nil, m, 200, "", "totag"), "", nil)
}

func TestUDPAnswersLeaveFromTheAddressThatWasAsked(t *testing.T) {
	for _, row := range []struct{ name, listen, from, ask string }{
		{"any IPv4 address, asked at the first", "0.0.0.0:0", "127.0.0.1:0", "127.0.0.1"},
		{"any IPv4 address, asked at another", "0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"},
		{"one IPv4 address", "127.0.0.3:0", "127.0.0.1:0", "127.0.0.3"},
		{"any IPv6 address", "[::]:0", "[::1]:0", "::1"},
		{"one IPv6 address", "[::1]:0", "[::1]:0", "::1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr, a := start(t, Config{}, "udp "+row.listen)
			to := netip.AddrPortFrom(netip.MustParseAddr(row.ask), tr.Listeners()[0].Addr.Port())
			c := client(t, row.from)
			sendTo(t, c, options("UDP 192.0.2.7", "1", "c1"), to)
			m, from := readFrom(t, c)
			if statusLine(m) != "SIP/2.0 200 OK" || from != to {
				t.Errorf("%q came from %v, want a 200 from %v", statusLine(m), from, to)
			}
			me := addrPort(c.LocalAddr())
			if !strings.Contains(m, fmt.Sprintf(";received=%s;rport=%d", me.Addr(), me.Port())) {
				t.Errorf("the Via does not say where the request came from:\n%s", m)
			}
			want := Flow{Proto: UDP, Local: to, Remote: me}
			if got := receive(t, a.seen); got.flow != want || got.source != me {
				t.Errorf("flow %v, source %v; want %v", got.flow, got.source, want)
			}
		})
	}
}

func TestUDPIPv4AndIPv6ShareAPort(t *testing.T) {
	tr, _ := start(t, Config{}, "udp 0.0.0.0:0")
	other := New(Config{})
	defer other.Close()
	if err := other.ListenUDP(fmt.Sprintf("[::]:%d", tr.Listeners()[0].Addr.Port())); err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	tr, _ := start(t, Config{}, "udp 127.0.0.1:0", "tcp 127.0.0.1:0")
	other := New(Config{})
	defer other.Close()
	for i, listen := range []func(string) error{other.ListenUDP, other.ListenTCP} {
		addr := tr.Listeners()[i].Addr.String()
		proto := tr.Listeners()[i].Proto.Param()
		want := proto + " " + addr + " is taken by another program: stop it or change sip." + proto
		if err := listen(addr); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, row := range []struct{ addr, want string }{
		{"198.51.100.1:5060", "udp 198.51.100.1:5060 is not an address of this machine: change sip.udp"},
		{"5060", `udp "5060" is not an address with a port, such as 0.0.0.0:5060: change sip.udp`},
	} {
		if err := other.ListenUDP(row.addr); err == nil || err.Error() != row.want {
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}

func TestUDPWhatIsNotAMessageLeavesNothing(t *testing.T) {
	for _, row := range []struct {
		name     string
		datagram string
		counter  counter
	}{
		{"an empty datagram", "", dropEmpty},
		{"a STUN binding request", "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl", dropSTUN},
		{"a DTLS handshake", "\x16\xfe\xfd\x00", dropNotSIP},
		{"an RTP packet", "\x80\x08\x00\x01", dropNotSIP},
		{"a keep-alive of two line breaks", "\r\n\r\n", keepAliveUDP},
		{"a keep-alive of one line break", "\r\n", keepAliveUDP},
		{"a word", "hello", dropUnparseable},
		{"a request without Via", "OPTIONS sip:a SIP/2.0\r\n\r\n", dropUnparseable},
		{"a response without sense", "SIP/2.0 2xx OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n\r\n", dropUnparseable},
		{"an ACK that does not parse", "ACK sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:a>\r\nCall-ID: 1\r\nCSeq: x\r\n\r\n", dropUnparseable},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr, a := start(t, Config{}, "udp 127.0.0.1:0")
			c := client(t, "127.0.0.1:0")
			sendTo(t, c, []byte(row.datagram), tr.Listeners()[0].Addr)
			count(t, tr, row.counter, 1)
			// The next datagram's answer is the first that comes.
			sendTo(t, c, options("UDP 127.0.0.1", "next", "next"), tr.Listeners()[0].Addr)
			if m, _ := readFrom(t, c); !strings.Contains(m, "z9hG4bKnext") {
				t.Errorf("answered:\n%s", m)
			}
			receive(t, a.seen)
			tr.pool.mu.Lock()
			defer tr.pool.mu.Unlock()
			if tr.pool.lent != 0 {
				t.Errorf("%d bytes of packets are not given back", tr.pool.lent)
			}
		})
	}
}

func TestUDPAnUnparseableRequestIsRefused(t *testing.T) {
	good := string(options("UDP 127.0.0.1", "1", "c1"))
	for _, row := range []struct{ name, from, to, status string }{
		{"CSeq of another method", "1 OPTIONS", "1 INVITE", "400"},
		{"two Call-ID headers", "User-Agent: Codec/1.0", "Call-ID: c2", "400"},
		{"a version that nobody speaks", "SIP/2.0\r\nVia", "SIP/7.0\r\nVia", "505"},
		{"Content-Length larger than the datagram", "Content-Length: 0", "Content-Length: 9999", "400"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr, _ := start(t, Config{}, "udp 127.0.0.1:0")
			c := client(t, "127.0.0.1:0")
			request := strings.Replace(good, row.from, row.to, 1)
			var answers [2]string
			for i := range answers { // RFC 3261 8.2.7: the same tag again
				sendTo(t, c, []byte(request), tr.Listeners()[0].Addr)
				answers[i], _ = readFrom(t, c)
			}
			if !strings.HasPrefix(answers[0], "SIP/2.0 "+row.status+" ") {
				t.Errorf("answered %q, want %s", statusLine(answers[0]), row.status)
			}
			if answers[0] != answers[1] {
				t.Errorf("two answers to one request:\n%s%s", answers[0], answers[1])
			}
			if len(answers[0]) > len(request)*5/4 {
				t.Errorf("%d bytes answered to %d", len(answers[0]), len(request))
			}
			count(t, tr, refused, 2)
		})
	}
}

func TestUDPNoRefusalAmplifies(t *testing.T) {
	tr, _ := start(t, Config{}, "udp 127.0.0.1:0")
	c := client(t, "127.0.0.1:0")
	sendTo(t, c, []byte("X sip:a SIP/2.0\nv:SIP/2.0/UDP h;rport\nf:a\nt:a\ni:a\nCSeq:1 Y\n\n"), tr.Listeners()[0].Addr)
	count(t, tr, refuseLarger, 1)
}

func TestUDPDatagramsOfEverySizeArriveWhole(t *testing.T) {
	tr, a := start(t, Config{}, "udp 127.0.0.1:0")
	c := client(t, "127.0.0.1:0")
	for _, size := range []int{600, 2048, 2049, 3000, 8192, 8193, 65507} {
		m := options("UDP 127.0.0.1", "1", "c1")
		head := strings.Replace(string(m), "Content-Length: 0", "Content-Length: XXXXX", 1)
		body := size - len(head)
		head = strings.Replace(head, "XXXXX", fmt.Sprintf("%05d", body), 1)
		m = append([]byte(head), strings.Repeat("x", body)...)
		sendTo(t, c, m, tr.Listeners()[0].Addr)
		if got := receive(t, a.seen); got.raw != string(m) {
			t.Errorf("a datagram of %d bytes came as %d", len(m), len(got.raw))
		}
		readFrom(t, c)
	}
}

func TestUDPPacketMemoryIsBounded(t *testing.T) {
	tr := New(Config{PacketMemory: 8 << 10})
	keeper := &keeper{got: make(chan *Packet, 100)}
	tr.Handle(keeper)
	if err := tr.ListenUDP("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	run(t, tr)
	c := client(t, "127.0.0.1:0")
	for range 6 {
		sendTo(t, c, options("UDP 127.0.0.1", "1", "c1"), tr.Listeners()[0].Addr)
	}
	count(t, tr, dropNoBuffer, 2)
	for range 4 {
		receive(t, keeper.got).Release()
	}
	sendTo(t, c, options("UDP 127.0.0.1", "2", "c2"), tr.Listeners()[0].Addr)
	if p := receive(t, keeper.got); string(p.Msg.CallID) != "c2" {
		t.Errorf("Call-ID %q", p.Msg.CallID)
	}
}

// keeper keeps the packets.
type keeper struct{ got chan *Packet }

func (k *keeper) Receive(batch []*Packet) {
	for _, p := range batch {
		k.got <- p
	}
}
func (k *keeper) Closed(Flow, error) {}

func TestUDPADatagramThatCannotBeSentDoesNotStopTheOthers(t *testing.T) {
	tr, _ := start(t, Config{}, "udp 0.0.0.0:0")
	port := tr.Listeners()[0].Addr.Port()
	c := client(t, "127.0.0.1:0")
	good := Flow{Proto: UDP, Local: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Remote: addrPort(c.LocalAddr())}
	from := func(local string) Flow {
		f := good
		f.Local = netip.AddrPortFrom(netip.MustParseAddr(local), port)
		return f
	}
	to := func(remote string) Flow {
		f := good
		f.Remote = netip.MustParseAddrPort(remote)
		return f
	}
	otherPort := good
	otherPort.Local = netip.AddrPortFrom(good.Local.Addr(), port^1)

	b := tr.NewBatch()
	failed := map[Flow]error{}
	b.Failed = func(f Flow, err error) { failed[f] = err }
	m := options("UDP 127.0.0.1", "1", "c1")
	bad := []Flow{to("127.0.0.1:0"), from("198.51.100.1"), to("255.255.255.255:9"), otherPort, to("[::1]:9")}
	for i, f := range bad {
		b.Send(f, m)
		b.Send(good, fmt.Appendf(nil, "good %d", i))
	}
	tooLarge := from("127.0.0.2")
	b.Send(tooLarge, make([]byte, 65508))
	b.Flush()
	for i := range bad {
		if got, _ := readFrom(t, c); got != fmt.Sprintf("good %d", i) {
			t.Errorf("datagram %d came as %q", i, got)
		}
		if failed[bad[i]] == nil {
			t.Errorf("%v: not reported", bad[i])
		}
	}
	if failed[tooLarge] != unix.EMSGSIZE {
		t.Errorf("too large: %v", failed[tooLarge])
	}
	if len(failed) != len(bad)+1 {
		t.Errorf("failed: %v", failed)
	}
}

func TestUDPManyMessagesInOneBatch(t *testing.T) {
	tr, _ := start(t, Config{}, "udp 0.0.0.0:0", "udp [::]:0")
	b := tr.NewBatch()
	c4, c6 := client(t, "127.0.0.1:0"), client(t, "[::1]:0")
	f4, ok4 := tr.UDPFlow(addrPort(c4.LocalAddr()))
	f6, ok6 := tr.UDPFlow(addrPort(c6.LocalAddr()))
	if !ok4 || !ok6 || f4.Local.Addr().String() != "127.0.0.1" || f6.Local.Addr().String() != "::1" {
		t.Fatalf("flows %v %v", f4, f6)
	}
	const n = 40
	pad := strings.Repeat("x", 2000) // more than the arena holds
	for i := range n {
		b.Send(f4, fmt.Appendf(nil, "%d %s", i, pad))
		b.Send(f6, fmt.Appendf(nil, "%d %s", i, pad))
	}
	b.Flush()
	for i := range n {
		want := fmt.Sprintf("%d %s", i, pad)
		if got, _ := readFrom(t, c4); got != want {
			t.Fatalf("IPv4: %.10q, want %.10q", got, want)
		}
		if got, _ := readFrom(t, c6); got != want {
			t.Fatalf("IPv6: %.10q, want %.10q", got, want)
		}
	}
	count(t, tr, sentUDP, 2*n)
}

func TestAPacketIsReleasedOnce(t *testing.T) {
	p := &pool{limit: 1 << 20}
	k := p.take(100)
	k.Release()
	defer func() {
		if recover() == nil {
			t.Error("released twice without a word")
		}
	}()
	k.Release()
}
