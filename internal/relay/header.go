package relay

import (
	"encoding/binary"

	"liaison/internal/rtp"
)

// kind of a datagram on a media port.
type kind uint8

const (
	other   kind = iota // STUN, DTLS, an empty one that keeps a NAT open: passes like everything
	media               // RTP, also SRTP
	control             // RTCP
)

// header is what a lock looks at.
type header struct {
	kind     kind
	ssrc     uint32
	sequence uint16 // of RTP
}

// inspect reads it from a datagram.
func inspect(b []byte) header {
	switch {
	case len(b) < 8 || b[0]>>6 != 2: // RFC 7983 7: STUN and DTLS begin with other bits.
		return header{}
	case rtp.IsControl(b):
		return header{kind: control, ssrc: binary.BigEndian.Uint32(b[4:])}
	case len(b) < rtp.HeaderSize:
		return header{}
	}
	return header{kind: media, ssrc: binary.BigEndian.Uint32(b[8:]), sequence: binary.BigEndian.Uint16(b[2:])}
}
