//go:build e2e

package audio

import "encoding/binary"

// PCMA decodes the A-law packets (payload type 8) of an RTP stream in the order in which they
// came; everything else is left out.
func PCMA(packets [][]byte) *Recording {
	r := &Recording{Rate: 8000, Channels: make([][]float64, 1)}
	for _, b := range packets {
		if len(b) < 12 || b[0]>>6 != 2 || b[1]&0x7f != 8 {
			continue
		}
		header := 12 + int(b[0]&15)*4
		if b[0]&0x10 != 0 && len(b) >= header+4 {
			header += 4 + 4*int(binary.BigEndian.Uint16(b[header+2:]))
		}
		for _, a := range b[min(header, len(b)):] {
			r.Channels[0] = append(r.Channels[0], alaw(a))
		}
	}
	return r
}

// alaw is ITU-T G.711 table 1a: sign, three bits of exponent, four of mantissa.
func alaw(a byte) float64 {
	a ^= 0x55
	exponent, v := a>>4&7, float64(a&15)*2+1
	if exponent > 0 {
		v = (v + 32) * float64(int(1)<<(exponent-1))
	}
	if a&0x80 == 0 {
		v = -v
	}
	return v / 4096
}
