package agent

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// recording is a file of what a call brought. The kind of file follows the codec, because there is no decoder
// for all of them here: 16-bit WAV for G.711, G.722 and L16, Ogg Opus for Opus, the bare stream of frames for
// MPEG Layer II.
type recording interface {
	// put takes what one packet brought: decoded samples or, for coded formats, the payload. The offset is
	// the packet's RTP time since the first, in ticks.
	put(offset int64, samples []int16, payload []byte) error
	close() error
}

func newRecording(name string, c Codec) (recording, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	switch c.coding {
	case opus:
		return newOgg(f)
	case mpa:
		return &rawFile{file: f}, nil
	}
	return newWAV(f, c)
}

// wavFile puts samples where their timestamp says: lost packets leave silence, late ones find their place.
type wavFile struct {
	file     *os.File
	rate     int
	channels int
	clock    int
	size     int64 // bytes of audio
	buffer   []byte
}

const wavHeader = 44

func newWAV(f *os.File, c Codec) (*wavFile, error) {
	w := &wavFile{file: f, rate: c.rate(), channels: c.Channels, clock: c.Clock}
	return w, w.header()
}

func (w *wavFile) header() error {
	le := binary.LittleEndian
	size := uint32(min(w.size, 1<<32-1-wavHeader))
	b := make([]byte, 0, wavHeader)
	b = le.AppendUint32(append(b, "RIFF"...), wavHeader-8+size)
	b = le.AppendUint32(append(b, "WAVEfmt "...), 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, uint16(w.channels))
	b = le.AppendUint32(b, uint32(w.rate))
	b = le.AppendUint32(b, uint32(w.rate*w.channels*2))
	b = le.AppendUint16(b, uint16(w.channels*2))
	b = le.AppendUint16(b, 16)
	b = le.AppendUint32(append(b, "data"...), size)
	if _, err := w.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

func (w *wavFile) put(offset int64, samples []int16, _ []byte) error {
	at := offset * int64(w.rate) / int64(w.clock) * int64(w.channels) * 2
	if at < 0 {
		return nil // from before the first packet
	}
	w.buffer = w.buffer[:0]
	for _, v := range samples {
		w.buffer = binary.LittleEndian.AppendUint16(w.buffer, uint16(v))
	}
	if _, err := w.file.WriteAt(w.buffer, wavHeader+at); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	w.size = max(w.size, at+int64(len(w.buffer)))
	return nil
}

func (w *wavFile) close() error {
	err := w.header()
	if e := w.file.Close(); err == nil {
		err = e
	}
	return err
}

// rawFile is a stream of frames one after the other. What comes late is left out.
type rawFile struct {
	file *os.File
	next int64
}

func (r *rawFile) put(offset int64, _ []int16, payload []byte) error {
	if offset < r.next || len(payload) <= mpaHeader {
		return nil
	}
	r.next = offset
	if _, err := r.file.Write(payload[mpaHeader:]); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

func (r *rawFile) close() error { return r.file.Close() }

// oggFile is an Ogg Opus file (RFC 3533, RFC 7845), a page for every packet: simple, and whole at any moment.
// What comes late is left out; what is lost is a gap in the granule positions.
type oggFile struct {
	file   *os.File
	page   uint32
	next   int64
	buffer []byte
	table  [256]uint32
}

func newOgg(f *os.File) (*oggFile, error) {
	o := &oggFile{file: f}
	for i := range o.table { // CRC of RFC 3533 6: polynomial 0x04c11db7, not reflected
		v := uint32(i) << 24
		for range 8 {
			if v&(1<<31) != 0 {
				v = v<<1 ^ 0x04c11db7
			} else {
				v <<= 1
			}
		}
		o.table[i] = v
	}
	le := binary.LittleEndian
	head := append([]byte("OpusHead"), 1, 2) // version, channels
	head = le.AppendUint16(head, 0)          // pre-skip: we come in the middle of a stream
	head = le.AppendUint32(head, 48000)
	head = append(head, 0, 0, 0) // gain, mapping family
	if err := o.write(2, 0, head); err != nil {
		return nil, err
	}
	tags := le.AppendUint32([]byte("OpusTags"), uint32(len("liaison")))
	tags = le.AppendUint32(append(tags, "liaison"...), 0)
	return o, o.write(0, 0, tags)
}

func (o *oggFile) write(flags byte, granule int64, packet []byte) error {
	le := binary.LittleEndian
	b := append(o.buffer[:0], "OggS"...)
	b = append(b, 0, flags)
	b = le.AppendUint64(b, uint64(granule))
	b = le.AppendUint32(b, 1) // serial number
	b = le.AppendUint32(b, o.page)
	b = le.AppendUint32(b, 0) // checksum, below
	b = append(b, byte(len(packet)/255+1))
	for n := len(packet); ; n -= 255 {
		b = append(b, byte(min(n, 255)))
		if n < 255 {
			break
		}
	}
	b = append(b, packet...)
	var crc uint32
	for _, v := range b {
		crc = crc<<8 ^ o.table[byte(crc>>24)^v]
	}
	le.PutUint32(b[22:], crc)
	o.buffer = b
	o.page++
	if _, err := o.file.Write(b); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

func (o *oggFile) put(offset int64, _ []int16, payload []byte) error {
	n := opusSamples(payload)
	if offset < o.next || n == 0 || len(payload) > 255*254 {
		return nil
	}
	o.next = offset + n
	return o.write(0, o.next, payload)
}

func (o *oggFile) close() error { return o.file.Close() }

// opusSamples is how long an Opus packet lasts, in samples at 48 kHz (RFC 6716 3.1); 0 if it is none.
func opusSamples(payload []byte) int64 {
	if len(payload) == 0 {
		return 0
	}
	var frame time.Duration
	switch config := payload[0] >> 3; {
	case config < 12: // SILK
		frame = []time.Duration{10, 20, 40, 60}[config%4] * time.Millisecond
	case config < 16: // hybrid
		frame = []time.Duration{10, 20}[config%2] * time.Millisecond
	default: // CELT
		frame = 2500 * time.Microsecond << (config % 4)
	}
	frames := int64(2)
	switch payload[0] & 3 {
	case 0:
		frames = 1
	case 3:
		if len(payload) < 2 {
			return 0
		}
		frames = int64(payload[1] & 0x3f)
	}
	return frames * int64(frame) * 48 / int64(time.Millisecond)
}
