package sdp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	pcma    = Codec{Name: "PCMA", Rate: 8000, Channels: 1}
	pcmu    = Codec{Name: "PCMU", Rate: 8000, Channels: 1}
	g722    = Codec{Name: "G722", Rate: 8000, Channels: 1}
	stereo  = Codec{Name: "L16", Rate: 48000, Channels: 2}
	mono    = Codec{Name: "L16", Rate: 48000, Channels: 1}
	cd      = Codec{Name: "L16", Rate: 44100, Channels: 2}
	opus    = Codec{Name: "opus", Rate: 48000, Channels: 2, FMTP: "stereo=1;sprop-stereo=1"}
	layerII = Codec{Name: "MPA", Rate: 90000, Channels: 2, FMTP: "layer=2"}

	all = []Codec{opus, stereo, mono, cd, layerII, g722, pcma, pcmu}
)

func local(codecs ...Codec) *Local {
	l := NewLocal(netip.MustParseAddr("198.51.100.1"), 4000, codecs)
	l.id = 7
	return l
}

func lines(b []byte) string { return strings.ReplaceAll(string(b), "\r\n", "\n") }

func TestOffer(t *testing.T) {
	l := local(all...)
	l.PTime = 20 * time.Millisecond
	offer := l.Offer()
	want := `v=0
o=- 7 1 IN IP4 198.51.100.1
s=-
c=IN IP4 198.51.100.1
t=0 0
m=audio 4000 RTP/AVP 96 97 98 10 14 9 8 0
a=rtpmap:96 opus/48000/2
a=fmtp:96 stereo=1;sprop-stereo=1
a=rtpmap:97 L16/48000/2
a=rtpmap:98 L16/48000
a=rtpmap:10 L16/44100/2
a=rtpmap:14 MPA/90000
a=fmtp:14 layer=2
a=rtpmap:9 G722/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=ptime:20
a=sendrecv
`
	if diff := cmp.Diff(want, lines(offer)); diff != "" {
		t.Error(diff)
	}
	d, err := Parse(offer)
	if err != nil {
		t.Fatal(err)
	}
	agrees(t, d)
}

func TestAnswer(t *testing.T) {
	const head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n"
	const ours = "v=0\no=- 7 1 IN IP4 198.51.100.1\ns=-\nc=IN IP4 198.51.100.1\nt=0 0\n"
	remote := netip.MustParseAddrPort("192.0.2.1:5004")
	rtcp := netip.MustParseAddrPort("192.0.2.1:5005")
	for _, row := range []struct {
		name  string
		offer string
		want  string
		agree Agreement
	}{
		{"the caller's first codec, by the caller's number",
			head + "m=audio 5004 RTP/AVP 101 111 8\na=rtpmap:111 opus/48000/2\na=rtpmap:101 telephone-event/8000\n",
			ours + "m=audio 4000 RTP/AVP 111\na=rtpmap:111 opus/48000/2\na=fmtp:111 stereo=1;sprop-stereo=1\na=sendrecv\n",
			Agreement{opus, 111, 111, remote, rtcp, SendRecv, 0}},
		{"static payload types, and the caller's packet time",
			head + "m=audio 5004 RTP/AVP 18 8 0\na=ptime:4\n",
			ours + "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=ptime:4\na=sendrecv\n",
			Agreement{pcma, 8, 8, remote, rtcp, SendRecv, 4 * time.Millisecond}},
		{"L16 stereo is not L16 mono",
			head + "m=audio 5004 RTP/AVP 96 97\na=rtpmap:96 L16/48000/6\na=rtpmap:97 L16/48000\n",
			ours + "m=audio 4000 RTP/AVP 97\na=rtpmap:97 L16/48000\na=sendrecv\n",
			Agreement{mono, 97, 97, remote, rtcp, SendRecv, 0}},
		{"MPEG Layer III is not Layer II",
			head + "m=audio 5004 RTP/AVP 96 97\na=rtpmap:96 MPA/90000\na=fmtp:96 layer=3\na=rtpmap:97 MPA/90000\na=fmtp:97 mode=stereo; layer=2\n",
			ours + "m=audio 4000 RTP/AVP 97\na=rtpmap:97 MPA/90000\na=fmtp:97 layer=2\na=sendrecv\n",
			Agreement{layerII, 97, 97, remote, rtcp, SendRecv, 0}},
		{"other lines are refused where they stand",
			head + "m=video 5000 RTP/AVP 31 32\nm=audio 5002 RTP/SAVP 8\nm=audio 5004 RTP/AVPF 8\nm=audio 5004 RTP/AVP 8\nm=application 5006 TCP/BFCP *\n",
			ours + "m=video 0 RTP/AVP 31 32\nm=audio 0 RTP/SAVP 8\nm=audio 4000 RTP/AVPF 8\na=rtpmap:8 PCMA/8000\na=sendrecv\nm=audio 0 RTP/AVP 8\nm=application 0 TCP/BFCP *\n",
			Agreement{pcma, 8, 8, remote, rtcp, SendRecv, 0}},
		{"held by sendonly",
			head + "m=audio 5004 RTP/AVP 8\na=sendonly\n",
			ours + "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=recvonly\n",
			Agreement{pcma, 8, 8, remote, rtcp, RecvOnly, 0}},
		{"receiving only, said for the session",
			head + "a=recvonly\nm=audio 5004 RTP/AVP 8\n",
			ours + "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=sendonly\n",
			Agreement{pcma, 8, 8, remote, rtcp, SendOnly, 0}},
		{"inactive",
			head + "m=audio 5004 RTP/AVP 8\na=inactive\n",
			ours + "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=inactive\n",
			Agreement{pcma, 8, 8, remote, rtcp, Inactive, 0}},
		{"held by 0.0.0.0: nothing is sent there",
			head + "m=audio 5004 RTP/AVP 8\nc=IN IP4 0.0.0.0\n",
			ours + "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=recvonly\n",
			Agreement{pcma, 8, 8, netip.AddrPort{}, netip.AddrPort{}, RecvOnly, 0}},
		{"the time is the caller's",
			strings.Replace(head, "t=0 0", "t=3034423619 3042462419", 1) + "m=audio 5004 RTP/AVP 8\n",
			strings.Replace(ours, "t=0 0", "t=3034423619 3042462419", 1) + "m=audio 4000 RTP/AVP 8\na=rtpmap:8 PCMA/8000\na=sendrecv\n",
			Agreement{pcma, 8, 8, remote, rtcp, SendRecv, 0}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, agreement, err := local(all...).Answer(parse(t, row.offer))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, lines(got)); diff != "" {
				t.Error(diff)
			}
			if agreement != row.agree {
				t.Errorf("got  %+v\nwant %+v", agreement, row.agree)
			}
			d, err := Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			agrees(t, d)
		})
	}
}

func TestAnswerRefuses(t *testing.T) {
	for _, row := range []struct {
		name  string
		offer string
		err   error
	}{
		{"no codec in common", "v=0\nc=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 18 101\na=rtpmap:101 telephone-event/8000\n", ErrNoCodec},
		{"only video", "v=0\nc=IN IP4 192.0.2.1\nm=video 5004 RTP/AVP 31\n", ErrNoCodec},
		{"only encrypted", "v=0\nc=IN IP4 192.0.2.1\nm=audio 5004 RTP/SAVP 8\n", ErrNoCodec},
		{"no media line", "v=0\nc=IN IP4 192.0.2.1\n", ErrNoCodec},
		{"no address", "v=0\nm=audio 5004 RTP/AVP 8\n", ErrAddress},
	} {
		t.Run(row.name, func(t *testing.T) {
			if b, _, err := local(all...).Answer(parse(t, row.offer)); !errors.Is(err, row.err) {
				t.Errorf("error %v, want %v, answer\n%s", err, row.err, b)
			}
		})
	}
}

func TestAccept(t *testing.T) {
	remote := netip.MustParseAddrPort("192.0.2.1:5004")
	rtcp := netip.MustParseAddrPort("192.0.2.1:5004")
	for _, row := range []struct {
		name   string
		answer string
		want   Agreement
		err    error
	}{
		{"the first codec of the answer", "v=0\nc=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 8 96\na=rtpmap:96 opus/48000/2\na=rtcp-mux\n",
			Agreement{pcma, 8, 8, remote, rtcp, SendRecv, 0}, nil},
		{"numbers may differ by direction", "v=0\nc=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 111\na=rtpmap:111 OPUS/48000/2\na=rtcp-mux\na=ptime:10\n",
			Agreement{opus, 111, 96, remote, rtcp, SendRecv, 10 * time.Millisecond}, nil},
		{"the peer only listens", "v=0\nc=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 8\na=recvonly\na=rtcp-mux\n",
			Agreement{pcma, 8, 8, remote, rtcp, SendOnly, 0}, nil},
		{"refused", "v=0\nc=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 8\n", Agreement{}, ErrRefused},
		{"no media line", "v=0\nc=IN IP4 192.0.2.1\n", Agreement{}, ErrRefused},
		{"a codec that was not offered", "v=0\nc=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 18\n", Agreement{}, ErrNoCodec},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := local(opus, pcma)
			l.Offer()
			got, err := l.Accept(parse(t, row.answer))
			if !errors.Is(err, row.err) {
				t.Fatalf("error %v, want %v", err, row.err)
			}
			if err == nil && got != row.want {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

// RFC 3264 8: the version goes up when something changes, and only then; media
// lines and payload types stay what they were.
func TestSessionFromOfferToOffer(t *testing.T) {
	l := local(opus, stereo, pcma)
	const offer = "v=0\nc=IN IP4 192.0.2.1\nt=0 0\nm=video 5000 RTP/AVP 31\nm=audio 5004 RTP/AVP 96\na=rtpmap:96 L16/48000/2\n"
	version := func(b []byte) string {
		d, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(d.Version)
	}
	answer, _, err := l.Answer(parse(t, offer))
	if err != nil || version(answer) != "1" {
		t.Fatalf("%v\n%s", err, answer)
	}
	again, _, _ := l.Answer(parse(t, offer))
	if string(again) != string(answer) {
		t.Errorf("the same offer is answered in another way:\n%s", again)
	}
	held, a, err := l.Answer(parse(t, offer+"a=sendonly\n"))
	if err != nil || version(held) != "2" || a.Direction != RecvOnly {
		t.Errorf("held: %v %+v\n%s", err, a, held)
	}
	want := `v=0
o=- 7 3 IN IP4 198.51.100.1
s=-
c=IN IP4 198.51.100.1
t=0 0
m=video 0 RTP/AVP 31
m=audio 4000 RTP/AVP 97 96 8
a=rtpmap:97 opus/48000/2
a=fmtp:97 stereo=1;sprop-stereo=1
a=rtpmap:96 L16/48000/2
a=rtpmap:8 PCMA/8000
a=sendrecv
`
	reoffer := l.Offer()
	if diff := cmp.Diff(want, lines(reoffer)); diff != "" {
		t.Error(diff)
	}
	if string(l.Offer()) != string(reoffer) {
		t.Error("an offer made again is another one")
	}
	a, err = l.Accept(parse(t, "v=0\nc=IN IP4 192.0.2.1\nm=video 0 RTP/AVP 31\nm=audio 5004 RTP/AVP 97\na=rtpmap:97 opus/48000/2\n"))
	if err != nil || a.Codec != opus {
		t.Errorf("%+v, %v", a, err)
	}
	l.Direction = Inactive
	if b := l.Offer(); version(b) != "4" || !strings.Contains(string(b), "a=inactive") {
		t.Errorf("%s", b)
	}
}

func TestPeerTakesANumberOfOurs(t *testing.T) {
	l := local(opus, stereo)
	l.Offer() // opus is 96, L16 is 97
	if _, a, err := l.Answer(parse(t, "v=0\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 5004 RTP/AVP 96\na=rtpmap:96 L16/48000/2\n")); err != nil || a.Codec != stereo {
		t.Fatalf("%+v, %v", a, err)
	}
	if got := string(l.Offer()); !strings.Contains(got, "m=audio 4000 RTP/AVP 98 96\r\n") {
		t.Errorf("%s", got)
	}
}
