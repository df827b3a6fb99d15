package sdp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Codec is an encoding as RTP names it. G722 has the rate 8000, which is wrong
// and fixed (RFC 3551 4.5.2); MPA has 90000 whatever its sampling rate is.
type Codec struct {
	Name     string
	Rate     int
	Channels int    // 0 for what is not audio
	FMTP     string // format parameters to announce, "" for none
}

// String gives "PCMA/8000/1".
func (c Codec) String() string {
	if c.Channels == 0 {
		return c.Name + "/" + strconv.Itoa(c.Rate)
	}
	return c.Name + "/" + strconv.Itoa(c.Rate) + "/" + strconv.Itoa(c.Channels)
}

// static are the payload types that need no rtpmap. RFC 3551 6.
var static = [35]Codec{
	0:  {Name: "PCMU", Rate: 8000, Channels: 1},
	3:  {Name: "GSM", Rate: 8000, Channels: 1},
	4:  {Name: "G723", Rate: 8000, Channels: 1},
	5:  {Name: "DVI4", Rate: 8000, Channels: 1},
	6:  {Name: "DVI4", Rate: 16000, Channels: 1},
	7:  {Name: "LPC", Rate: 8000, Channels: 1},
	8:  {Name: "PCMA", Rate: 8000, Channels: 1},
	9:  {Name: "G722", Rate: 8000, Channels: 1},
	10: {Name: "L16", Rate: 44100, Channels: 2},
	11: {Name: "L16", Rate: 44100, Channels: 1},
	12: {Name: "QCELP", Rate: 8000, Channels: 1},
	13: {Name: "CN", Rate: 8000, Channels: 1},
	14: {Name: "MPA", Rate: 90000, Channels: 1},
	15: {Name: "G728", Rate: 8000, Channels: 1},
	16: {Name: "DVI4", Rate: 11025, Channels: 1},
	17: {Name: "DVI4", Rate: 22050, Channels: 1},
	18: {Name: "G729", Rate: 8000, Channels: 1},
	25: {Name: "CelB", Rate: 90000},
	26: {Name: "JPEG", Rate: 90000},
	28: {Name: "nv", Rate: 90000},
	31: {Name: "H261", Rate: 90000},
	32: {Name: "MPV", Rate: 90000},
	33: {Name: "MP2T", Rate: 90000},
	34: {Name: "H263", Rate: 90000},
}

// names are spelt here as they are registered, so that a record has one name
// for a codec, however an agent writes it.
var names = []string{"PCMU", "PCMA", "G722", "L16", "L20", "L24", "opus", "MPA", "G729", "telephone-event", "CN"}

func spell(name []byte) string {
	for _, n := range names {
		if len(n) == len(name) && (n == string(name) || strings.EqualFold(n, string(name))) {
			return n
		}
	}
	return string(name)
}

// staticPayload is the payload type of a codec that has a fixed one.
func (c Codec) staticPayload() (int, bool) {
	for n, s := range static {
		if s.Name != "" && c.same(s) {
			return n, true
		}
	}
	return 0, false
}

func (c Codec) same(o Codec) bool {
	return c.Rate == o.Rate && strings.EqualFold(c.Name, o.Name) && (c.Channels == o.Channels || c.framed())
}

// framed: how many channels there are stands in each frame, so the number in
// the rtpmap says nothing: RFC 7587 7 fixes it, RFC 3551 has none for MPA.
func (c Codec) framed() bool {
	return strings.EqualFold(c.Name, "MPA") || strings.EqualFold(c.Name, "opus")
}

// reads tells whether a codec of ours can take what a format describes.
func (c Codec) reads(f *Format) bool {
	if f.Codec.Name == "" || !c.same(f.Codec) {
		return false
	}
	// RFC 3555 4.1.17: Layers I, II and III are all called MPA.
	want, have := parameter(c.FMTP, "layer"), parameter(string(f.FMTP), "layer")
	return want == "" || have == "" || want == have
}

// parameter is a value in "layer=2; mode=stereo", "" if it is not there.
func parameter(fmtp, name string) string {
	for p := range strings.SplitSeq(fmtp, ";") {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// appendMap appends an a=rtpmap and, if there are parameters, an a=fmtp.
func (c Codec) appendMap(dst []byte, payload int) []byte {
	dst = fmt.Appendf(dst, "a=rtpmap:%d %s/%d", payload, c.Name, c.Rate)
	if c.Channels > 1 && !strings.EqualFold(c.Name, "MPA") {
		dst = fmt.Appendf(dst, "/%d", c.Channels)
	}
	dst = append(dst, "\r\n"...)
	if c.FMTP != "" {
		dst = fmt.Appendf(dst, "a=fmtp:%d %s\r\n", payload, c.FMTP)
	}
	return dst
}

// Format is one format of a media line: for RTP a payload type and the codec
// that it stands for.
type Format struct {
	Text    []byte // as the m= line has it
	Payload int    // -1: not a number, so not RTP
	Codec   Codec  // without a name: not said. Its FMTP is empty
	FMTP    []byte // the first a=fmtp
}

func newFormat(text []byte) Format {
	f := Format{Text: text, Payload: -1}
	if n, ok := number(text); ok && n <= 127 {
		f.Payload = n
		if n < len(static) {
			f.Codec = static[n]
		}
	}
	return f
}

// format is the format with a payload type as text, nil if the line has none.
func (m *Media) format(text []byte) *Format {
	for i := range m.Formats {
		if bytes.Equal(m.Formats[i].Text, text) {
			return &m.Formats[i]
		}
	}
	return nil
}

// mapped reads "L16/48000/2" of an a=rtpmap. One that cannot be read leaves
// what the payload type means by itself.
func (f *Format) mapped(b []byte, audio bool) {
	name, rest, _ := bytes.Cut(b, []byte{'/'})
	rate, channels, more := bytes.Cut(rest, []byte{'/'})
	n, ok := number(rate)
	if !ok || n == 0 || !token(name) {
		return
	}
	c := Codec{Name: spell(name), Rate: n}
	if audio {
		c.Channels = 1
		if more {
			if c.Channels, ok = number(channels); !ok || c.Channels == 0 {
				return
			}
		}
	}
	f.Codec = c
}

// token: RFC 8866 9, and so nothing that could disturb a log or a page.
func token(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]", c) >= 0 {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 64
}

func (f *Format) String() string {
	switch {
	case f.Codec.Name != "":
		return f.Codec.String()
	case token(f.Text):
		return string(f.Text)
	}
	return "?"
}

// auxiliary: goes beside audio and is none.
func (f *Format) auxiliary() bool {
	switch strings.ToLower(f.Codec.Name) {
	case "telephone-event", "cn", "red", "parityfec", "ulpfec", "flexfec":
		return true
	}
	return false
}

// maxListed bounds what a description puts into a record.
const maxListed = 64

// Offered lists the codecs of an offer in its order, as "opus/48000/2,PCMA/8000/1".
// A format of which it says nothing stands there as its payload type.
func (d *Description) Offered() string {
	return d.list(func(*Format) bool { return true }, maxFormats)
}

// Agreed lists the codec that an answer puts first for each media line that it
// accepts. Events and error correction go beside a codec and are passed over.
func (d *Description) Agreed() string {
	return d.list(func(f *Format) bool { return !f.auxiliary() }, 1)
}

func (d *Description) list(take func(*Format) bool, perMedia int) string {
	var b strings.Builder
	listed := 0
	for i := range d.Media {
		m := &d.Media[i]
		if m.Port == 0 {
			continue
		}
		taken := 0
		for j := range m.Formats {
			if taken == perMedia || listed == maxListed {
				break
			}
			if f := &m.Formats[j]; take(f) {
				if listed > 0 {
					b.WriteByte(',')
				}
				b.WriteString(f.String())
				taken++
				listed++
			}
		}
	}
	return b.String()
}
