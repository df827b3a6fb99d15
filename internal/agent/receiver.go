package agent

import (
	"time"

	"github.com/pion/opus"

	"liaison/internal/rtp"
)

// receiver measures the audio that comes to one call, decodes what it can and keeps the recording.
// It has one owner.
type receiver struct {
	stats  rtp.Stats
	level  level
	listen bool // decode, for the level; the test number has no need of that

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
	r.codec, r.decoder, r.placed = c, silent{}, false
	if r.listen {
		r.decoder = newDecoder(c)
	}
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
	r.end = max(r.end, r.offset+c.ticks(len(r.samples)))
	return r.offset
}

// close ends the recording. The error is the first that it met.
func (r *receiver) close() error {
	if r.rec != nil {
		if err := r.rec.close(); r.err == nil {
			r.err = err
		}
		r.rec = nil
	}
	return r.err
}

// ticks is how long the samples of a packet last on the RTP clock.
func (c Codec) ticks(samples int) int64 {
	if c.coding == codingMPA {
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
	case codingPCMA:
		return &table711{alawTable()}
	case codingPCMU:
		return &table711{mulawTable()}
	case codingG722:
		return &g722Decoder{}
	case codingL16:
		return linear{}
	case codingOpus:
		return &opusDecoder{}
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

// opusDecoder gives 48 kHz stereo, whatever is in the packets.
type opusDecoder struct {
	opus.Decoder
	ready  bool
	broken bool
	out    []int16
}

// maxOpus is the longest packet, 120 ms, in samples of both sides (RFC 6716 3.2.1).
const maxOpus = 5760 * 2

func (d *opusDecoder) decode(dst []int16, payload []byte) (samples []int16) {
	if d.broken {
		return dst
	}
	if !d.ready {
		d.ready, d.out = true, make([]int16, maxOpus)
		if d.Init(48000, 2) != nil {
			d.broken = true
			return dst
		}
	}
	// The payload is from the network and the decoder is young: a packet that it fails at must not end the call.
	defer func() {
		if recover() != nil {
			d.broken, samples = true, dst
		}
	}()
	n, err := d.DecodeToInt16(payload, d.out)
	if err != nil {
		return dst
	}
	return append(dst, d.out[:2*n]...)
}

type silent struct{}

func (silent) decode(dst []int16, _ []byte) []int16 { return dst }
