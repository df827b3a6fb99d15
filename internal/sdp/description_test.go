package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	pion "github.com/pion/sdp/v3"
)

func parse(t testing.TB, text string) *Description {
	t.Helper()
	d, err := Parse([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// show writes down all that was read of the media.
func show(d *Description) string {
	var b strings.Builder
	for i := range d.Media {
		m := &d.Media[i]
		fmt.Fprintf(&b, "%s %v:%d", m.Kind, m.Address, m.Port)
		if m.Ports != 1 {
			fmt.Fprintf(&b, "/%d", m.Ports)
		}
		fmt.Fprintf(&b, " rtcp %d %s %v", m.RTCP, m.Proto, m.Direction)
		for j := range m.Formats {
			f := &m.Formats[j]
			fmt.Fprintf(&b, " %s=%v", f.Text, f)
			if f.FMTP != nil {
				fmt.Fprintf(&b, "(%s)", f.FMTP)
			}
		}
		for _, flag := range []struct {
			name string
			set  bool
		}{{"held", m.Held}, {"mux", m.Mux}, {"ice", m.ICE}, {"dtls", m.DTLS}, {"sdes", m.SDES}} {
			if flag.set {
				b.WriteString(" " + flag.name)
			}
		}
		if m.PTime != 0 || m.MaxPTime != 0 {
			fmt.Fprintf(&b, " ptime %v max %v", m.PTime, m.MaxPTime)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, row := range []struct {
		name string
		text string
		want string
	}{
		{"a softphone's offer",
			"v=0\no=- 3 3 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 96 9 8 0 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1;sprop-stereo=1\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=maxptime:60\na=sendrecv\n",
			"audio 192.0.2.1:4000 rtcp 4001 RTP/AVP sendrecv 96=opus/48000/2(stereo=1;sprop-stereo=1) 9=G722/8000/1 8=PCMA/8000/1 0=PCMU/8000/1 101=telephone-event/8000/1(0-15) ptime 20ms max 60ms\n"},
		{"static payload types without rtpmap",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 10 11 14 18 127\n",
			"audio 192.0.2.1:4000 rtcp 4001 RTP/AVP sendrecv 10=L16/44100/2 11=L16/44100/1 14=MPA/90000/1 18=G729/8000/1 127=127\n"},
		{"names in another case are spelt as registered",
			"v=0\nc=IN IP4 192.0.2.1\nm=AUDIO 4000 RTP/AVP 96 8\na=rtpmap:96 l16/48000/2\na=rtpmap:8 pcma/8000/1\n",
			"AUDIO 192.0.2.1:4000 rtcp 4001 RTP/AVP sendrecv 96=L16/48000/2 8=PCMA/8000/1\n"},
		{"each line its own address and direction",
			"v=0\nc=IN IP4 192.0.2.1\na=inactive\nm=audio 4000 RTP/AVP 8\nc=IN IP4 192.0.2.2\na=sendonly\nm=video 4002/2 RTP/AVPF 31\n",
			"audio 192.0.2.2:4000 rtcp 4001 RTP/AVP sendonly 8=PCMA/8000/1\nvideo 192.0.2.1:4002/2 rtcp 4003 RTP/AVPF inactive 31=H261/90000\n"},
		{"the order of lines does not matter: c= after b= and a=",
			"v=0\nm=audio 4000 RTP/AVP 8\nb=AS:80\na=recvonly\nc=IN IP6 2001:db8::1\n",
			"audio 2001:db8::1:4000 rtcp 4001 RTP/AVP recvonly 8=PCMA/8000/1\n"},
		{"lines that are none, blank lines and white space",
			"v=0\n\nc=IN IP4 192.0.2.1  \nnonsense\nx\n=\nm= audio  4000\tRTP/AVP  8 \na=rtpmap: 8  PCMA/8000 \na= ptime : 20 \nzzz=\n\x00\x00",
			"audio 192.0.2.1:4000 rtcp 4001 RTP/AVP sendrecv 8=PCMA/8000/1 ptime 20ms max 0s\n"},
		{"held by 0.0.0.0",
			"v=0\nc=IN IP4 0.0.0.0\nm=audio 4000 RTP/AVP 8\n",
			"audio 0.0.0.0:4000 rtcp 4001 RTP/AVP sendonly 8=PCMA/8000/1 held\n"},
		{"held by 0.0.0.0, and receiving only at that",
			"v=0\nc=IN IP4 0.0.0.0\nm=audio 4000 RTP/AVP 8\na=recvonly\n",
			"audio 0.0.0.0:4000 rtcp 4001 RTP/AVP inactive 8=PCMA/8000/1 held\n"},
		{"multicast: the time to live is not of the address",
			"v=0\nc=IN IP4 239.1.2.3/127\nm=audio 4000 RTP/AVP 8\nc=IN IP4 239.1.2.4/127/3\nc=IN IP4 239.1.2.9/127\n",
			"audio 239.1.2.4:4000 rtcp 4001 RTP/AVP sendrecv 8=PCMA/8000/1\n"},
		{"an address that is a name",
			"v=0\nc=IN IP4 studio.example.org\nm=audio 4000 RTP/AVP 8\n",
			"audio invalid IP:4000 rtcp 4001 RTP/AVP sendrecv 8=PCMA/8000/1\n"},
		{"no address at all",
			"v=0\nm=audio 4000 RTP/AVP 8\n",
			"audio invalid IP:4000 rtcp 4001 RTP/AVP sendrecv 8=PCMA/8000/1\n"},
		{"RTCP on a port of its own, or on that of RTP",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8\na=rtcp:53020 IN IP4 192.0.2.9\nm=audio 4002 RTP/AVP 8\na=rtcp-mux\nm=audio 4004 RTP/AVP 8\na=rtcp:nonsense\n",
			"audio 192.0.2.1:4000 rtcp 53020 RTP/AVP sendrecv 8=PCMA/8000/1\naudio 192.0.2.1:4002 rtcp 4002 RTP/AVP sendrecv 8=PCMA/8000/1 mux\naudio 192.0.2.1:4004 rtcp 4005 RTP/AVP sendrecv 8=PCMA/8000/1\n"},
		{"a browser: ICE and DTLS, said for the session or for the line",
			"v=0\nc=IN IP4 192.0.2.1\na=fingerprint:sha-256 AB\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=ice-ufrag:x\na=rtcp-mux\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\n",
			"audio 192.0.2.1:9 rtcp 9 UDP/TLS/RTP/SAVPF sendrecv 111=111 mux ice dtls\napplication 192.0.2.1:9 rtcp 10 UDP/DTLS/SCTP sendrecv webrtc-datachannel=webrtc-datachannel dtls\n"},
		{"a key in the description",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/SAVP 8\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\n",
			"audio 192.0.2.1:4000 rtcp 4001 RTP/SAVP sendrecv 8=PCMA/8000/1 sdes\n"},
		{"packet times of broadcast: 4 ms and 125 us",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8\na=ptime:4\nm=audio 4002 RTP/AVP 8\na=ptime:0.125\nm=audio 4004 RTP/AVP 8\na=ptime:soon\n",
			"audio 192.0.2.1:4000 rtcp 4001 RTP/AVP sendrecv 8=PCMA/8000/1 ptime 4ms max 0s\naudio 192.0.2.1:4002 rtcp 4003 RTP/AVP sendrecv 8=PCMA/8000/1 ptime 125µs max 0s\naudio 192.0.2.1:4004 rtcp 4005 RTP/AVP sendrecv 8=PCMA/8000/1\n"},
		{"an rtpmap that cannot be read",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 8 96 97 98\na=rtpmap:8 PCMA/none\na=rtpmap:96 \x1b[31m/8000\na=rtpmap:97\na=rtpmap:99 opus/48000/2\na=rtpmap:98 L16/48000/none\n",
			"audio 192.0.2.1:4000 rtcp 4001 RTP/AVP sendrecv 8=PCMA/8000/1 96=96 97=97 98=98\n"},
		{"refused lines",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 8\nm=image 0 udptl t38\n",
			"audio 192.0.2.1:0 rtcp 0 RTP/AVP sendrecv 8=PCMA/8000/1\nimage 192.0.2.1:0 rtcp 0 udptl sendrecv t38=t38\n"},
		{"the last port has none after it",
			"v=0\nc=IN IP4 192.0.2.1\nm=audio 65535 RTP/AVP 8\n",
			"audio 192.0.2.1:65535 rtcp 0 RTP/AVP sendrecv 8=PCMA/8000/1\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := row.text
			for range 2 { // with CRLF, then with LF
				d, err := Parse([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				if got := show(d); got != row.want {
					t.Errorf("got\n%swant\n%s", got, row.want)
				}
				text = strings.ReplaceAll(row.text, "\n", "\r\n")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, row := range []struct{ name, text string }{
		{"nothing", ""},
		{"something else", "--boundary\r\nContent-Type: text/plain\r\n\r\nhello\r\n"},
		{"m= without a port", "v=0\r\nm=audio\r\n"},
		{"m= with a port that is no number", "v=0\r\nm=audio x RTP/AVP 8\r\n"},
		{"m= with a port that is too high", "v=0\r\nm=audio 65536 RTP/AVP 8\r\n"},
		{"m= with a negative port", "v=0\r\nm=audio -1 RTP/AVP 8\r\n"},
		{"m= with no ports at all", "v=0\r\nm=audio 4000/0 RTP/AVP 8\r\n"},
		{"m= without a protocol", "v=0\r\nm=audio 4000\r\n"},
		{"media lines without end", "v=0\r\n" + strings.Repeat("m=audio 4000 RTP/AVP 8\r\n", maxMedia+1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if d, err := Parse([]byte(row.text)); err == nil {
				t.Errorf("read as\n%s", show(d))
			}
		})
	}
}

func TestCodecLists(t *testing.T) {
	d := parse(t, "v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 101 96 8 120\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\nm=video 0 RTP/AVP 31\nm=audio 4002 RTP/AVP 9\n")
	if got, want := d.Offered(), "telephone-event/8000/1,opus/48000/2,PCMA/8000/1,120,G722/8000/1"; got != want {
		t.Errorf("Offered %s, want %s", got, want)
	}
	if got, want := d.Agreed(), "opus/48000/2,G722/8000/1"; got != want {
		t.Errorf("Agreed %s, want %s", got, want)
	}
	d = parse(t, "v=0\nm=audio 4000 RTP/AVP "+strings.Repeat("8 ", 1000)+"\n")
	if got := strings.Count(d.Offered(), ","); got >= maxListed {
		t.Errorf("%d codecs in a record", got+1)
	}
}

func TestDirectionReverse(t *testing.T) {
	for d, want := range map[Direction]Direction{SendRecv: SendRecv, SendOnly: RecvOnly, RecvOnly: SendOnly, Inactive: Inactive} {
		if got := d.Reverse(); got != want {
			t.Errorf("%v reversed is %v", d, got)
		}
	}
}

// agrees compares with another reader, which wants descriptions to be well
// formed.
func agrees(t *testing.T, d *Description) {
	t.Helper()
	var o pion.SessionDescription
	if err := o.Unmarshal(d.Raw); err != nil {
		t.Fatalf("%v in\n%s", err, d.Raw)
	}
	if len(o.MediaDescriptions) != len(d.Media) {
		t.Fatalf("%d media lines, want %d", len(d.Media), len(o.MediaDescriptions))
	}
	for i, om := range o.MediaDescriptions {
		m := &d.Media[i]
		conn := om.ConnectionInformation
		if conn == nil {
			conn = o.ConnectionInformation
		}
		if conn != nil && conn.Address != nil {
			if want := netip.MustParseAddr(conn.Address.Address); m.Address != want {
				t.Errorf("line %d: address %v, want %v", i, m.Address, want)
			}
		}
		if int(m.Port) != om.MediaName.Port.Value || string(m.Kind) != om.MediaName.Media ||
			string(m.Proto) != strings.Join(om.MediaName.Protos, "/") || len(m.Formats) != len(om.MediaName.Formats) {
			t.Errorf("line %d: %s, want %v", i, show(d), om.MediaName)
			continue
		}
		for j, text := range om.MediaName.Formats {
			f := &m.Formats[j]
			if string(f.Text) != text {
				t.Errorf("line %d: format %s, want %s", i, f.Text, text)
			}
			if _, said := om.Attribute("rtpmap"); !said || f.Payload < 0 {
				continue
			}
			if want, err := o.GetCodecForPayloadType(uint8(f.Payload)); err == nil {
				if !strings.EqualFold(f.Codec.Name, want.Name) || f.Codec.Rate != int(want.ClockRate) || string(f.FMTP) != want.Fmtp {
					t.Errorf("line %d: %s is %v (%s), want %v", i, text, f, f.FMTP, want)
				}
			}
		}
	}
}

func TestParseAgreesWithPion(t *testing.T) {
	for _, text := range []string{
		"v=0\no=- 3 3 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 96 9 8 0 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1;sprop-stereo=1\na=rtpmap:9 G722/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=sendrecv\n",
		"v=0\no=jdoe 2890844526 2890842807 IN IP4 10.47.16.5\ns=SDP Seminar\ni=A Seminar\nu=http://www.example.com/sdp.pdf\ne=j.doe@example.com\nc=IN IP4 224.2.17.12/127\nt=2873397496 2873404696\na=recvonly\nm=audio 49170 RTP/AVP 0\nm=video 51372 RTP/AVP 99\nc=IN IP6 2001:db8::2\na=rtpmap:99 h263-1998/90000\n",
	} {
		d := parse(t, text)
		if strings.Contains(text, "/127") {
			// Only here is the time to live on its own.
			d.Raw = bytes.ReplaceAll(d.Raw, []byte("/127"), nil)
		}
		agrees(t, d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("v=0\r\no=- 3 3 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000/2 RTP/AVP 96 8\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:97 5006 IN IP4 192.0.2.7\r\na=rtcp:4001 IN IP6 ::1\r\na=ptime:2.5\r\n"))
	f.Add([]byte("m=audio 0 x\nc=IN IP4 0.0.0.0/1\ra=fmtp:8 1 IN IP4 x y\n\n"))
	f.Add([]byte("m=0 0 0\nc=IN IP4 0\nc=IN IP4 0.0.0.0"))
	codecs := []Codec{{Name: "opus", Rate: 48000, Channels: 2}, {Name: "PCMA", Rate: 8000, Channels: 1}}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		d.Offered()
		d.Agreed()
		// Each port replaced by itself: only addresses may have changed, and the
		// description says what it said.
		addr := netip.MustParseAddr("198.51.100.9")
		out := d.AppendRewritten(nil, Rewrite{Addr: addr, Origin: true, Port: func(s Stream) uint16 { return s.Addr.Port() }})
		e, err := Parse(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", b, out, err)
		}
		if len(e.Media) != len(d.Media) || e.Offered() != d.Offered() || e.Agreed() != d.Agreed() || len(e.places) != len(d.places) {
			t.Fatalf("%q became %q", b, out)
		}
		for i := range d.Media {
			if d.Media[i].Port != e.Media[i].Port || d.Media[i].Direction != e.Media[i].Direction || d.Media[i].RTCP != e.Media[i].RTCP {
				t.Fatalf("%q became %q", b, out)
			}
		}
		// Rewritten again it is the same, byte for byte.
		if again := e.AppendRewritten(nil, Rewrite{Addr: addr, Origin: true, Port: func(s Stream) uint16 { return s.Addr.Port() }}); !bytes.Equal(again, out) {
			t.Fatalf("%q became %q", out, again)
		}
		// Nothing edited, nothing changed.
		d.places = nil
		if same := d.AppendRewritten(nil, Rewrite{}); !bytes.Equal(same, b) {
			t.Fatalf("%q became %q", b, same)
		}
		// What can be answered is answered with something that can be read.
		l := NewLocal(addr, 55004, codecs)
		if answer, a, err := l.Answer(d); err == nil {
			x, err := Parse(answer)
			if err != nil || len(x.Media) != len(d.Media) || x.Agreed() != a.Codec.String() {
				t.Fatalf("%q answered by %q: %v", b, answer, err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := []byte(strings.ReplaceAll("v=0\no=- 3 3 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 96 9 8 0 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1;sprop-stereo=1\na=rtpmap:9 G722/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=sendrecv\n", "\n", "\r\n"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}
