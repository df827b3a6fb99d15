//go:build e2e

// Package audio measures what an agent recorded: is it what the other side sent, how loud, and
// without holes.
package audio

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
)

// Recording is decoded sound, one slice of samples (-1..1) per channel.
type Recording struct {
	Rate     int
	Channels [][]float64
}

// Seconds is how long it is.
func (r *Recording) Seconds() float64 {
	return float64(len(r.Channels[0])) / float64(r.Rate)
}

// From leaves out what was before the given second.
func (r *Recording) From(second float64) *Recording {
	out := &Recording{Rate: r.Rate}
	for _, c := range r.Channels {
		out.Channels = append(out.Channels, c[min(len(c), int(second*float64(r.Rate))):])
	}
	return out
}

// To leaves out what comes after the given second.
func (r *Recording) To(second float64) *Recording {
	out := &Recording{Rate: r.Rate}
	for _, c := range r.Channels {
		out.Channels = append(out.Channels, c[:min(len(c), int(second*float64(r.Rate)))])
	}
	return out
}

// ReadWAV reads a PCM file. A recorder that was killed, or is still at work, has not written the
// lengths into its header: the file's end counts, not the header.
func ReadWAV(path string) (*Recording, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, fmt.Errorf("%s: not a WAV file", path)
	}
	var rate, channels, bits, format int
	for at := 12; at+8 <= len(b); {
		id, size := string(b[at:at+4]), int(binary.LittleEndian.Uint32(b[at+4:]))
		body := b[at+8:]
		switch id {
		case "fmt ":
			if len(body) < 16 {
				return nil, fmt.Errorf("%s: short format chunk", path)
			}
			format = int(binary.LittleEndian.Uint16(body))
			channels = int(binary.LittleEndian.Uint16(body[2:]))
			rate = int(binary.LittleEndian.Uint32(body[4:]))
			bits = int(binary.LittleEndian.Uint16(body[14:]))
		case "data":
			if bits != 16 || channels == 0 || rate == 0 || format != 1 && format != 0xfffe {
				return nil, fmt.Errorf("%s: format %d with %d bits, want 16-bit PCM", path, format, bits)
			}
			if size > 0 && size < len(body) {
				body = body[:size]
			}
			return split(body, rate, channels), nil
		}
		at += 8 + size + size&1
	}
	return nil, fmt.Errorf("%s: no data chunk", path)
}

func split(pcm []byte, rate, channels int) *Recording {
	r := &Recording{Rate: rate, Channels: make([][]float64, channels)}
	for at := 0; at+2*channels <= len(pcm); at += 2 * channels {
		for c := range channels {
			v := int16(binary.LittleEndian.Uint16(pcm[at+2*c:]))
			r.Channels[c] = append(r.Channels[c], float64(v)/32768)
		}
	}
	return r
}

// WriteTone writes a WAV file with one sine per channel; amplitude 1 is full scale.
func WriteTone(path string, rate int, seconds, amplitude float64, hertz ...float64) error {
	n := int(float64(rate) * seconds)
	block := 2 * len(hertz)
	b := make([]byte, 0, 44+n*block)
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(36+n*block))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(hertz)))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate*block))
	b = binary.LittleEndian.AppendUint16(b, uint16(block))
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(n*block))
	for i := range n {
		for _, hz := range hertz {
			s := amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))
			b = binary.LittleEndian.AppendUint16(b, uint16(int16(s*32767)))
		}
	}
	return os.WriteFile(path, b, 0o600)
}
