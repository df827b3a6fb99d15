package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// coding is how samples become octets.
type coding uint8

const (
	codingPCMA coding = iota
	codingPCMU
	codingG722
	codingL16
	codingOpus
	codingMPA
)

// Codec is one audio format of an offer, as a=rtpmap and a=fmtp tell it.
type Codec struct {
	Name        string // encoding name as registered: "PCMA", "opus"
	Clock       int    // of the RTP timestamps, Hz; for G722 this is not the sampling rate
	Channels    int
	PayloadType uint8
	Format      string // what stands in a=fmtp after the payload type; mostly empty

	coding coding
}

// The codecs that the agent knows, in the order in which it offers them: first what every agent has, every line carries
// and this one can measure the level of; who wants to hear more names the codec.
// Payload types over 95 are its own choice and only hold for its own offers.
var codecs = []Codec{
	{Name: "PCMA", Clock: 8000, Channels: 1, PayloadType: 8, coding: codingPCMA},
	{Name: "PCMU", Clock: 8000, Channels: 1, PayloadType: 0, coding: codingPCMU},
	{Name: "G722", Clock: 8000, Channels: 1, PayloadType: 9, coding: codingG722},
	{Name: "L16", Clock: 48000, Channels: 2, PayloadType: 96, coding: codingL16},
	{Name: "L16", Clock: 48000, Channels: 1, PayloadType: 97, coding: codingL16},
	{Name: "opus", Clock: 48000, Channels: 2, PayloadType: 98, Format: "stereo=1;sprop-stereo=1;maxaveragebitrate=128000", coding: codingOpus},
	{Name: "MPA", Clock: 90000, Channels: 1, PayloadType: 14, Format: "layer=2", coding: codingMPA},
}

// Codecs gives all that the agent can send and receive, in its order of preference.
func Codecs() []Codec { return slices.Clone(codecs) }

// ParseCodec finds the codec that a user means: "PCMA", "l16", "L16/48000/1".
func ParseCodec(name string) (Codec, error) {
	for _, c := range codecs {
		if strings.EqualFold(name, c.Name) || strings.EqualFold(name, c.String()) ||
			c.Channels == 1 && strings.EqualFold(name, c.Name+"/"+strconv.Itoa(c.Clock)) {
			return c, nil
		}
	}
	var known []string
	for _, c := range codecs {
		known = append(known, c.String())
	}
	return Codec{}, fmt.Errorf("codec %q is not known: use one of %s", name, strings.Join(known, ", "))
}

// String is the codec as reports show it: "PCMA/8000/1".
func (c Codec) String() string {
	return c.Name + "/" + strconv.Itoa(c.Clock) + "/" + strconv.Itoa(c.Channels)
}

// Is tells whether the codec is what a=rtpmap or a static payload type describes. Encoding names have no case
// (RFC 4855 3); no channels are one.
func (c Codec) Is(name string, clock, channels int) bool {
	return strings.EqualFold(c.Name, name) && c.Clock == clock && c.Channels == max(channels, 1)
}

// rate is the sampling rate of the audio in Hz.
func (c Codec) rate() int {
	switch c.coding {
	case codingG722:
		return 16000 // RFC 3551 4.5.2: the RTP clock of 8,000 was a mistake that has to stay.
	case codingMPA:
		return 48000
	}
	return c.Clock
}

// maxPayload keeps a packet of ours below every usual MTU, tunnels of mobile networks included.
const maxPayload = 1200

// octetsPerMillisecond of the codings that can be cut anywhere; 0 for those that come in frames.
func (c Codec) octetsPerMillisecond() int {
	switch c.coding {
	case codingPCMA, codingPCMU, codingG722:
		return 8
	case codingL16:
		return c.Clock / 1000 * c.Channels * 2
	}
	return 0
}

// Ptime gives the packet time to send with when the peer asks for one (0: it did not): whole milliseconds
// that fit a packet, or the length of a frame.
func (c Codec) Ptime(asked time.Duration) time.Duration {
	switch c.coding {
	case codingOpus:
		return 20 * time.Millisecond
	case codingMPA:
		return 24 * time.Millisecond
	case codingL16:
		if asked == 0 {
			asked = 5 * time.Millisecond
		}
	default:
		if asked == 0 {
			asked = 20 * time.Millisecond
		}
	}
	most := time.Duration(maxPayload/c.octetsPerMillisecond()) * time.Millisecond
	return min(max(asked.Truncate(time.Millisecond), time.Millisecond), most)
}
