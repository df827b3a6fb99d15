package agent

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"liaison/internal/rtp"
)

func TestWhereAudioIsLearntFrom(t *testing.T) {
	pcma := mustCodec(t, "PCMA")
	const sdp, nat, phone, stranger = "10.0.0.1:4000", "203.0.113.1:40000", "203.0.113.1:50000", "198.51.100.9:4000"
	type packet struct {
		from string
		ssrc uint32
		pt   uint8
		at   time.Duration
	}
	rows := []struct {
		name    string
		in      []packet
		expect  []bool
		target  string
		sources []string
		plain   bool
	}{
		{name: "nothing came: the address of the SDP", target: sdp},
		{name: "from the address of the SDP", in: []packet{{sdp, 1, 8, 0}}, expect: []bool{true}, target: sdp},
		{name: "from behind a NAT", in: []packet{{nat, 1, 8, 0}}, expect: []bool{true}, target: nat},
		{name: "plain: the SDP counts", in: []packet{{nat, 1, 8, 0}}, expect: []bool{true}, target: sdp, plain: true},
		{name: "a payload type that is not agreed teaches nothing", in: []packet{{nat, 1, 0, 0}}, expect: []bool{false}, target: sdp},
		{name: "the first has the place", in: []packet{{nat, 1, 8, 0}, {stranger, 2, 8, 20 * time.Millisecond}, {nat, 1, 8, 40 * time.Millisecond}},
			expect: []bool{true, false, true}, target: nat},
		{name: "a stranger with the right SSRC too", in: []packet{{nat, 1, 8, 0}, {stranger, 1, 8, 20 * time.Millisecond}},
			expect: []bool{true, false}, target: nat},
		{name: "a telephone that went to another network goes on", in: []packet{{nat, 1, 8, 0}, {phone, 1, 8, 1100 * time.Millisecond}},
			expect: []bool{true, true}, target: phone},
		{name: "another one after silence does not", in: []packet{{nat, 1, 8, 0}, {stranger, 2, 8, 5 * time.Second}},
			expect: []bool{true, false}, target: nat},
		{name: "only from where the signalling came from", in: []packet{{stranger, 1, 8, 0}, {nat, 1, 8, 0}},
			expect: []bool{false, true}, target: nat, sources: []string{"203.0.113.1"}},
		{name: "or from where the SDP says", in: []packet{{sdp, 1, 8, 0}},
			expect: []bool{true}, target: sdp, sources: []string{"203.0.113.1"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			m := &media{plan: plan{remote: netip.MustParseAddrPort(sdp), codec: pcma, known: []Codec{pcma}}}
			if row.plain {
				m.learning = Plain
			}
			for _, s := range row.sources {
				m.sources = append(m.sources, netip.MustParseAddr(s))
			}
			var got []bool
			for i, k := range row.in {
				p := &rtp.Packet{SSRC: k.ssrc, PayloadType: k.pt, Sequence: uint16(i)}
				now := time.Unix(0, 0).Add(k.at)
				ok := m.expectedLocked(p, netip.MustParseAddrPort(k.from), k.pt == 8, now)
				if ok {
					m.receiver.take(p, pcma, now)
				}
				got = append(got, ok)
			}
			if !slices.Equal(got, row.expect) {
				t.Errorf("%v, want %v", got, row.expect)
			}
			if to := m.targetLocked(); to.String() != row.target {
				t.Errorf("audio goes to %s, want %s", to, row.target)
			}
		})
	}
}

func TestWhereReportsGo(t *testing.T) {
	addr := netip.MustParseAddrPort
	rows := []struct {
		name, learnt, reports string
		mux                   bool
		want                  string
	}{
		{name: "where the SDP says", want: "10.0.0.1:4711"},
		{name: "beside learnt audio", learnt: "203.0.113.1:40000", want: "203.0.113.1:40001"},
		{name: "where reports came from", learnt: "203.0.113.1:40000", reports: "203.0.113.1:61000", want: "203.0.113.1:61000"},
		{name: "on the one port of both", learnt: "203.0.113.1:40000", mux: true, want: "203.0.113.1:40000"},
	}
	for _, row := range rows {
		m := &media{plan: plan{remote: addr("10.0.0.1:4000"), control: addr("10.0.0.1:4711"), mux: row.mux}}
		if row.learnt != "" {
			m.learnt = addr(row.learnt)
		}
		if row.reports != "" {
			m.reports = addr(row.reports)
		}
		if to := m.controlTargetLocked(); to.String() != row.want {
			t.Errorf("%s: %s", row.name, to)
		}
	}
}

// The sockets for real: the programme goes to the SDP's address, then after the packet that came; at the end there is
// a report and a goodbye.
func TestAudioOnTheWire(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	first, control, err := openPair(loopback, Ports{})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	defer control.Close()
	second, err := listen(loopback, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()

	c := Config{Recordings: mustRecordings(t), Product: "test"}
	m, err := openMedia(&c, loopback, true, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if m.port()%2 != 0 {
		t.Errorf("RTP on port %d, RFC 3550 11 wants an even one", m.port())
	}
	local := func(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
	pcma := mustCodec(t, "PCMA")
	ctx, cancel := context.WithCancel(t.Context())
	go m.run(ctx)
	m.set(plan{remote: local(first), control: local(control), codec: pcma, known: []Codec{pcma}, ptime: 4 * time.Millisecond, send: true})

	var before rtp.Packet
	for n := range 20 {
		p := receive(t, first)
		if p.PayloadType != 8 || len(p.Payload) != 32 || p.Marker != (n == 0) {
			t.Fatalf("packet %d: %+v", n, p)
		}
		if n > 0 && (p.Sequence != before.Sequence+1 || p.Timestamp != before.Timestamp+32 || p.SSRC != before.SSRC) {
			t.Fatalf("packet %d: %+v after %+v", n, p, before)
		}
		before = p
	}
	out := rtp.Header{PayloadType: 8, SSRC: 99}.AppendTo(nil)
	if _, err := second.WriteToUDPAddrPort(append(out, make([]byte, 32)...), netip.AddrPortFrom(loopback, m.port())); err != nil {
		t.Fatal(err)
	}
	if p := receive(t, second); p.SSRC != before.SSRC {
		t.Errorf("%+v", p)
	}
	// RTCP comes to the port beside, which nobody has bound for the second one: only the counts are looked at.
	cancel()
	<-m.ended
	var r Report
	if err := m.into(&r); err != nil || r.Received.Packets != 1 || r.Sent.Packets < 20 || r.Sent.Bytes != r.Sent.Packets*32 {
		t.Errorf("%+v %v", r, err)
	}
	b := m.reportLocked(time.Now(), true)
	var types []rtp.ControlType
	for k := range rtp.Controls(b) {
		types = append(types, k.Type)
		for about := range k.Reports() {
			if about.SSRC != 99 {
				t.Errorf("%+v", about)
			}
		}
	}
	if !slices.Equal(types, []rtp.ControlType{rtp.SenderReport, rtp.SourceDescribe}) {
		t.Errorf("%v", types)
	}
}

func receive(t *testing.T, c *net.UDPConn) rtp.Packet {
	t.Helper()
	b := make([]byte, 2000)
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	var p rtp.Packet
	if err := p.Parse(b[:n]); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPortsFromARange(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	for range 20 {
		audio, control, err := openPair(loopback, Ports{First: 55004, Last: 55999})
		if err != nil {
			t.Fatal(err)
		}
		port := audio.LocalAddr().(*net.UDPAddr).Port
		if port%2 != 0 || port < 55004 || port > 55998 {
			t.Errorf("port %d", port)
		}
		audio.Close()
		control.Close()
	}
	// An address that is announced but not ours is served from all.
	audio, control, err := openPair(netip.MustParseAddr("192.0.2.1"), Ports{})
	if err != nil {
		t.Fatal(err)
	}
	audio.Close()
	control.Close()
}
