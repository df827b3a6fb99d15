package agent

import (
	"encoding/binary"
	"fmt"
	"os"
)

// recording is a file of what a call brought: 16-bit WAV, or for MPEG Layer II, which is not decoded here, the bare
// stream of its frames.
type recording interface {
	// put takes what one packet brought. The offset is the packet's RTP time since the first, in ticks.
	put(offset int64, samples []int16, payload []byte) error
	close() error
}

func newRecording(name string, c Codec) (recording, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	if c.coding == codingMPA {
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
