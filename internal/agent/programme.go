package agent

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

//go:embed programme/programme.*
var recordings embed.FS

// Facts of the recordings; programme/README.md tells the formats.
const (
	programmeLength = 28800 * time.Millisecond
	mpaFrame        = 768
	l16Frames       = 1382400
)

// Recordings are what the test number plays, once per codec. They are opened once and serve any number of calls.
type Recordings struct {
	pcma, pcmu, g722, mpa []byte
	opus                  [][]byte

	// Linear audio takes 8 MB unpacked, so only who asks for it pays.
	stereo, mono func() []byte
}

// OpenRecordings opens the embedded recordings.
func OpenRecordings() (*Recordings, error) {
	p := &Recordings{}
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{"pcma", &p.pcma}, {"pcmu", &p.pcmu}, {"g722", &p.g722}, {"mp2", &p.mpa}} {
		b, err := recordings.ReadFile("programme/programme." + f.name)
		if err != nil {
			return nil, fmt.Errorf("programme: %w", err)
		}
		*f.to = b
	}
	b, err := recordings.ReadFile("programme/programme.opus")
	if err != nil {
		return nil, fmt.Errorf("programme: %w", err)
	}
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint16(b))
		p.opus, b = append(p.opus, b[2:2+n]), b[2+n:]
	}
	p.stereo = sync.OnceValue(func() []byte {
		pcm, err := unpackLinear()
		if err != nil {
			panic(err) // the file is part of this program
		}
		return pcm
	})
	p.mono = sync.OnceValue(func() []byte { return downmix(p.stereo()) })
	return p, nil
}

// unpackLinear gives 16-bit stereo as L16 wants it: left before right, high byte first.
func unpackLinear() ([]byte, error) {
	packed, err := recordings.ReadFile("programme/programme.l16.gz")
	if err != nil {
		return nil, fmt.Errorf("programme: %w", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("programme: %w", err)
	}
	planes := make([]byte, 4*l16Frames)
	if _, err := io.ReadFull(r, planes); err != nil {
		return nil, fmt.Errorf("programme: %w", err)
	}
	out := make([]byte, 4*l16Frames)
	for channel := range 2 {
		low := planes[channel*2*l16Frames:]
		high := low[l16Frames:]
		var value, slope int16
		for i := range l16Frames {
			z := uint16(low[i]) | uint16(high[i])<<8
			slope += int16(z>>1) ^ -int16(z&1)
			value += slope
			v := uint16(value)
			if channel == 1 { // the right side came as its difference from the left
				v += binary.BigEndian.Uint16(out[4*i:])
			}
			binary.BigEndian.PutUint16(out[4*i+2*channel:], v)
		}
	}
	return out, nil
}

// downmix gives the mean of both sides.
func downmix(stereo []byte) []byte {
	out := make([]byte, len(stereo)/2)
	for i := 0; i < len(out); i += 2 {
		left := int(int16(binary.BigEndian.Uint16(stereo[2*i:])))
		right := int(int16(binary.BigEndian.Uint16(stereo[2*i+2:])))
		binary.BigEndian.PutUint16(out[i:], uint16(int16((left+right)/2)))
	}
	return out
}

// Stream is what one listener gets, packet by packet, for ever. It has one owner.
type Stream struct {
	Ptime time.Duration // between packets
	Ticks uint32        // of the RTP clock between packets

	octets []byte // a loop that is cut anywhere; or nil
	size   int

	frames func(n int) []byte // a loop of packets
	count  int

	at int
}

// Stream begins the programme for one listener. The codec must be one of Codecs.
func (p *Recordings) Stream(c Codec, ptime time.Duration) *Stream {
	ptime = c.Ptime(ptime)
	s := &Stream{Ptime: ptime, Ticks: uint32(int64(ptime) * int64(c.Clock) / int64(time.Second))}
	switch c.coding {
	case codingPCMA:
		s.octets = p.pcma
	case codingPCMU:
		s.octets = p.pcmu
	case codingG722:
		s.octets = p.g722
	case codingL16:
		s.octets = p.mono()
		if c.Channels == 2 {
			s.octets = p.stereo()
		}
	case codingOpus:
		s.count = len(p.opus)
		s.frames = func(n int) []byte { return p.opus[n] }
	case codingMPA:
		s.count = len(p.mpa) / mpaFrame
		s.frames = func(n int) []byte { return p.mpa[n*mpaFrame : (n+1)*mpaFrame] }
		s.size = mpaHeader
	}
	if s.octets != nil {
		s.size = c.octetsPerMillisecond() * int(ptime/time.Millisecond)
	}
	return s
}

// mpaHeader is the length of what stands before Layer II audio (RFC 2250 3.5): 16 zero bits and the offset of
// the fragment in its frame. Ours are whole frames, so all of it is zero.
const mpaHeader = 4

// AppendNext appends the payload of the next packet.
func (s *Stream) AppendNext(dst []byte) []byte {
	if s.octets == nil {
		dst = append(dst, make([]byte, s.size)...)
		dst = append(dst, s.frames(s.at)...)
		s.at = (s.at + 1) % s.count
		return dst
	}
	for need := s.size; need > 0; {
		n := min(need, len(s.octets)-s.at)
		dst = append(dst, s.octets[s.at:s.at+n]...)
		s.at = (s.at + n) % len(s.octets)
		need -= n
	}
	return dst
}
