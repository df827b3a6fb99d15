package rtp

import (
	"encoding/binary"
	"errors"
)

// HeaderSize is the length of an RTP header without CSRC and extension, in bytes.
const HeaderSize = 12

// What is wrong with a packet that Parse refuses.
var (
	ErrShort   = errors.New("rtp: packet is shorter than its header says")
	ErrVersion = errors.New("rtp: not version 2")
	ErrPadding = errors.New("rtp: padding is longer than the packet")
)

// Packet is one RTP packet as views into the datagram it was read from, valid as long as that is.
type Packet struct {
	PayloadType uint8 // 0..127
	Marker      bool
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
	CSRC        []byte // contributing sources, 4 bytes each, network order; nil if none
	Profile     uint16 // "defined by profile" word of the header extension
	Extension   []byte // extension data without its 4-byte header; nil if the packet has none
	Payload     []byte // without padding
	Padding     int    // padding bytes, the count byte included
}

// Parse reads one datagram. It keeps b and allocates nothing. After an error p is not usable.
func (p *Packet) Parse(b []byte) error {
	if len(b) < HeaderSize {
		return ErrShort
	}
	if b[0]>>6 != 2 {
		return ErrVersion
	}
	p.Marker = b[1]&0x80 != 0
	p.PayloadType = b[1] & 0x7f
	p.Sequence = binary.BigEndian.Uint16(b[2:])
	p.Timestamp = binary.BigEndian.Uint32(b[4:])
	p.SSRC = binary.BigEndian.Uint32(b[8:])
	p.CSRC, p.Extension, p.Profile, p.Padding = nil, nil, 0, 0

	rest := b[HeaderSize:]
	if n := int(b[0]&0x0f) * 4; n > 0 {
		if len(rest) < n {
			return ErrShort
		}
		p.CSRC, rest = rest[:n:n], rest[n:]
	}
	if b[0]&0x10 != 0 { // RFC 3550 5.3.1: one extension, its length counted in words without the first.
		if len(rest) < 4 {
			return ErrShort
		}
		p.Profile = binary.BigEndian.Uint16(rest)
		n := int(binary.BigEndian.Uint16(rest[2:])) * 4
		rest = rest[4:]
		if len(rest) < n {
			return ErrShort
		}
		p.Extension, rest = rest[:n:n], rest[n:]
	}
	if b[0]&0x20 != 0 { // RFC 3550 5.1: the last byte counts the padding, itself included.
		if len(rest) == 0 {
			return ErrPadding
		}
		n := int(rest[len(rest)-1])
		if n == 0 || n > len(rest) {
			return ErrPadding
		}
		p.Padding, rest = n, rest[:len(rest)-n]
	}
	p.Payload = rest
	return nil
}

// Header is what a sender of ours puts before a payload: no CSRC, no extension, no padding.
type Header struct {
	PayloadType uint8
	Marker      bool
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
}

// AppendTo appends the 12 bytes of the header.
func (h Header) AppendTo(dst []byte) []byte {
	second := h.PayloadType & 0x7f
	if h.Marker {
		second |= 0x80
	}
	dst = append(dst, 0x80, second)
	dst = binary.BigEndian.AppendUint16(dst, h.Sequence)
	dst = binary.BigEndian.AppendUint32(dst, h.Timestamp)
	return binary.BigEndian.AppendUint32(dst, h.SSRC)
}

// IsControl tells RTCP from RTP where both come to one port.
//
// RFC 5761 4: the second byte of RTCP is 192..223, which RTP payload types must leave free
// (64..95 with the marker set).
func IsControl(b []byte) bool {
	return len(b) >= 2 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223
}
