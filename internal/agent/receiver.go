package agent

import (
	"time"

	"liaison/internal/rtp"
)

// receiver measures the audio that comes to one call, decodes what it can and keeps the recording.
// It has one owner.
type receiver struct {
	stats rtp.Stats
	level level

	codec   Codec
	file    string // of the recording; none if empty
	rec     recording
	err     error // of the recording: the call goes on
	decoder decoder

	// Where the timestamp of the last packet stands in the recording.
	placed  bool
	ssrc    uint32
	stamp   uint32
	offset  int64 // of the last packet, in ticks
	end     int64 // of the farthest
	samples []int16
}

// maxGap is how far a timestamp may move before it is taken for a new beginning and not for a gap. Without
// it one stray packet would make a recording of gigabytes.
const maxGap = 10 * time.Second

// take counts one packet of the call. The codec is the one that its payload type stands for.
func (r *receiver) take(p *rtp.Packet, c Codec, now time.Time) {
	if c != r.codec {
		r.change(c)
	}
	if !r.stats.Add(p, uint32(c.Clock), now) {
		return
	}
	r.samples = r.decoder.decode(r.samples[:0], p.Payload)
	r.level.add(r.samples)
	if r.file == "" || r.err != nil {
		return
	}
	if r.rec == nil {
		if r.rec, r.err = newRecording(r.file, c); r.err != nil {
			return
		}
	}
	r.err = r.rec.put(r.place(p, c), r.samples, p.Payload)
}

// pass counts a packet that is no audio but has its number in the stream.
func (r *receiver) pass(p *rtp.Packet, now time.Time) {
	r.stats.Add(p, uint32(r.codec.Clock), now)
}

// change begins with another codec. A recording holds one format, so it ends with the first.
func (r *receiver) change(c Codec) {
	if r.rec != nil {
		r.err = r.rec.close()
		r.rec, r.file = nil, ""
	}
	r.codec, r.decoder, r.placed = c, newDecoder(c), false
}

// place gives the offset of a packet from the first in ticks.
func (r *receiver) place(p *rtp.Packet, c Codec) int64 {
	step := int64(int32(p.Timestamp - r.stamp))
	gap := int64(maxGap/time.Second) * int64(c.Clock)
	switch {
	case !r.placed:
		r.offset, r.end = 0, 0
	case p.SSRC != r.ssrc || step > gap || step < -gap:
		r.offset = r.end // goes on behind what is there
	default:
		r.offset += step
	}
	r.placed, r.ssrc, r.stamp = true, p.SSRC, p.Timestamp
	r.end = max(r.end, r.offset+c.ticks(p.Payload, len(r.samples)))
	return r.offset
}

func (r *receiver) close() error {
	if r.rec != nil {
		if err := r.rec.close(); r.err == nil {
			r.err = err
		}
		r.rec = nil
	}
	return r.err
}

// ticks is how long a payload lasts on the RTP clock.
func (c Codec) ticks(payload []byte, samples int) int64 {
	switch c.coding {
	case opus:
		return opusSamples(payload)
	case mpa:
		return 90 * 24
	}
	return int64(samples/c.Channels) * int64(c.Clock) / int64(c.rate())
}

// decoder makes samples of a payload; none for codings that are not decoded here.
type decoder interface {
	decode(dst []int16, payload []byte) []int16
}

func newDecoder(c Codec) decoder {
	switch c.coding {
	case pcma:
		return &table711{alawTable()}
	case pcmu:
		return &table711{mulawTable()}
	case g722:
		return &g722Decoder{}
	case l16:
		return linear{}
	}
	return silent{}
}

type table711 struct{ linear [256]int16 }

func (t *table711) decode(dst []int16, payload []byte) []int16 {
	for _, v := range payload {
		dst = append(dst, t.linear[v])
	}
	return dst
}

// linear is L16: high byte first (RFC 3551 4.5.11).
type linear struct{}

func (linear) decode(dst []int16, payload []byte) []int16 {
	for ; len(payload) >= 2; payload = payload[2:] {
		dst = append(dst, int16(uint16(payload[0])<<8|uint16(payload[1])))
	}
	return dst
}

type silent struct{}

func (silent) decode(dst []int16, _ []byte) []int16 { return dst }
