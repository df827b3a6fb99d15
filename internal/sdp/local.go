package sdp

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

var (
	// ErrNoCodec: no media line has a codec of ours. The answer is 488.
	ErrNoCodec = errors.New("sdp: no audio line with a codec in common")
	// ErrRefused: our audio line was refused.
	ErrRefused = errors.New("sdp: the audio line was refused")
	// ErrAddress: media would go to where it cannot be sent.
	ErrAddress = errors.New("sdp: the audio line has no usable address")
)

// Local is our side of a session with one audio line, as a user agent keeps it
// from one offer and answer to the next. Change its exported fields between
// them; what was said before is kept where RFC 3264 8 wants it kept: the
// positions of media lines, the numbers of payload types, the version.
type Local struct {
	Addr      netip.Addr
	Port      uint16
	Codecs    []Codec // in order of preference
	Direction Direction
	PTime     time.Duration // what an offer asks for; 0: nothing

	id, version uint64
	last        []byte   // what was sent last, without its o= line
	at          int      // position of the audio line
	refused     []string // the other lines, as they were refused; ours is ""
	time        string
	payloads    map[Codec]int
	taken       [128]bool // payload types that mean something already
}

// NewLocal is a side that sends and receives.
func NewLocal(addr netip.Addr, port uint16, codecs []Codec) *Local {
	return &Local{
		Addr: addr, Port: port, Codecs: codecs, Direction: SendRecv,
		id: uint64(rand.Uint32()), version: 1,
		refused: []string{""}, time: "0 0", payloads: map[Codec]int{},
	}
}

// Agreement is what an offer and its answer settled about the audio line.
type Agreement struct {
	Codec     Codec
	Send      uint8 // payload type of what we send
	Recv      uint8 // payload type of what we get
	Remote    netip.AddrPort
	RTCP      netip.AddrPort
	Direction Direction     // ours
	PTime     time.Duration // what the peer wants to get; 0: not said
}

// Offer makes an offer, the first one or a later one of the session.
func (l *Local) Offer() []byte {
	b := make([]byte, 0, 512)
	b = l.appendHead(b)
	for i, line := range l.refused {
		if i != l.at {
			b = append(b, line...)
			continue
		}
		b = fmt.Appendf(b, "m=audio %d RTP/AVP", l.Port)
		for _, c := range l.Codecs {
			b = fmt.Appendf(b, " %d", l.payload(c))
		}
		b = append(b, "\r\n"...)
		for _, c := range l.Codecs {
			b = c.appendMap(b, l.payload(c))
		}
		b = l.appendTail(b, l.PTime, l.Direction)
	}
	return l.finish(b)
}

// payload is the payload type by which an offer calls a codec: the same for the
// whole session.
func (l *Local) payload(c Codec) int {
	n, ok := l.payloads[c]
	if !ok {
		if n, ok = c.staticPayload(); !ok {
			n = 96 // RFC 3551 6: 96-127 are dynamic
			for n < 127 && l.taken[n] {
				n++
			}
		}
		l.payloads[c], l.taken[n] = n, true
	}
	return n
}

// Answer makes the answer to an offer. It takes the first audio line with a
// codec of ours and refuses the others. Of that line it takes one codec, the
// first in the order of the offer (RFC 3264 6.1 recommends that order), so that
// what comes in is of the same codec as what goes out.
func (l *Local) Answer(offer *Description) ([]byte, Agreement, error) {
	at, format, codec := l.choose(offer)
	if at < 0 {
		return nil, Agreement{}, ErrNoCodec
	}
	m := &offer.Media[at]
	f := &m.Formats[format]
	a, err := agree(m, f, l.Codecs[codec], l.Direction)
	if err != nil {
		return nil, Agreement{}, err
	}
	a.Recv = a.Send // RFC 3264 6.1: the numbers of the offer

	// A number by which we offered another codec is the peer's now.
	maps.DeleteFunc(l.payloads, func(_ Codec, n int) bool { return n == f.Payload })
	l.payloads[a.Codec] = f.Payload
	for _, f := range m.Formats {
		if f.Payload >= 0 {
			l.taken[f.Payload] = true
		}
	}
	l.at, l.refused = at, make([]string, len(offer.Media))
	for i := range offer.Media {
		if i != at {
			l.refused[i] = refusal(&offer.Media[i])
		}
	}
	// RFC 3264 6: the t= line is that of the offer.
	if len(bytes.Trim(offer.Time, "0123456789 ")) == 0 && len(offer.Time) > 0 {
		l.time = string(offer.Time)
	}

	ptime := m.PTime
	if ptime == 0 {
		ptime = l.PTime
	}
	b := make([]byte, 0, 512)
	b = l.appendHead(b)
	for i, line := range l.refused {
		if i != at {
			b = append(b, line...)
			continue
		}
		b = fmt.Appendf(b, "m=audio %d %s %d\r\n", l.Port, m.Proto, f.Payload)
		b = a.Codec.appendMap(b, f.Payload)
		b = l.appendTail(b, ptime, a.Direction)
	}
	return l.finish(b), a, nil
}

// choose finds the media line, its format and the codec of ours to answer with;
// -1 if there is none.
func (l *Local) choose(offer *Description) (media, format, codec int) {
	for i := range offer.Media {
		m := &offer.Media[i]
		if !m.audio() || m.Port == 0 || !plain(m.Proto) {
			continue
		}
		for j := range m.Formats {
			f := &m.Formats[j]
			if c := l.reads(f); c >= 0 {
				return i, j, c
			}
		}
	}
	return -1, 0, 0
}

// reads gives the codec of ours that takes a format, -1 if none does.
func (l *Local) reads(f *Format) int {
	if f.Payload < 0 {
		return -1
	}
	return slices.IndexFunc(l.Codecs, func(c Codec) bool { return c.reads(f) })
}

// plain: RTP that is not encrypted. The feedback of AVPF is optional.
func plain(proto []byte) bool {
	return bytes.EqualFold(proto, []byte("RTP/AVP")) || bytes.EqualFold(proto, []byte("RTP/AVPF"))
}

// refusal is the m= line that refuses another. RFC 3264 6: port 0, the rest is
// ignored but must be there.
func refusal(m *Media) string {
	formats := m.formats
	if len(formats) == 0 {
		formats = []byte("0")
	}
	return fmt.Sprintf("m=%s 0 %s %s\r\n", m.Kind, m.Proto, formats)
}

// Accept reads the answer to the last Offer.
func (l *Local) Accept(answer *Description) (Agreement, error) {
	if l.at >= len(answer.Media) || answer.Media[l.at].Port == 0 {
		return Agreement{}, ErrRefused
	}
	m := &answer.Media[l.at]
	for i := range m.Formats {
		f := &m.Formats[i]
		if c := l.reads(f); c >= 0 {
			a, err := agree(m, f, l.Codecs[c], l.Direction)
			a.Recv = uint8(l.payload(a.Codec))
			return a, err
		}
	}
	return Agreement{}, ErrNoCodec
}

func agree(m *Media, f *Format, c Codec, want Direction) (Agreement, error) {
	a := Agreement{
		Codec: c, Send: uint8(f.Payload), Remote: m.Remote(), PTime: m.PTime,
		// RFC 3264 6.1: what the peer sends we may receive, and the other way round.
		Direction: m.Direction.Reverse() & want,
	}
	if a.Remote.IsValid() {
		a.RTCP = netip.AddrPortFrom(a.Remote.Addr(), m.RTCP)
	} else if a.Direction&SendOnly != 0 {
		return Agreement{}, ErrAddress
	}
	return a, nil
}

func (l *Local) appendHead(dst []byte) []byte {
	dst = append(dst, "s=-\r\nc=IN "...)
	dst = appendAddr(dst, l.Addr)
	return fmt.Appendf(dst, "\r\nt=%s\r\n", l.time)
}

func (l *Local) appendTail(dst []byte, ptime time.Duration, d Direction) []byte {
	if ptime > 0 {
		ms := strconv.FormatFloat(float64(ptime)/float64(time.Millisecond), 'f', -1, 64)
		dst = fmt.Appendf(dst, "a=ptime:%s\r\n", ms)
	}
	return fmt.Appendf(dst, "a=%s\r\n", d)
}

// finish puts the v= and o= lines before the rest. RFC 3264 8: the version goes
// up by one whenever the description is another than the last.
func (l *Local) finish(rest []byte) []byte {
	if l.last != nil && !bytes.Equal(l.last, rest) {
		l.version++
	}
	l.last = rest
	b := fmt.Appendf(nil, "v=0\r\no=- %d %d IN ", l.id, l.version)
	b = append(appendAddr(b, l.Addr), "\r\n"...)
	return append(b, rest...)
}
