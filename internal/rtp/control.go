package rtp

import (
	"encoding/binary"
	"iter"
	"time"
)

// ControlType is the packet type byte of RTCP.
type ControlType uint8

const (
	SenderReport   ControlType = 200
	ReceiverReport ControlType = 201
	SourceDescribe ControlType = 202
	Bye            ControlType = 203
	Application    ControlType = 204
)

// Control is one packet of an RTCP datagram as a view into it.
type Control struct {
	Type  ControlType
	Count int    // reports, chunks or sources, as the type has it
	Body  []byte // after the 4-byte header, without padding
}

// Controls gives the packets of an RTCP datagram in order. It stops at the first that does not fit.
//
// RFC 3550 6.1 wants a report first in every datagram; RFC 5506 lifts that, so we take what comes.
func Controls(b []byte) iter.Seq[Control] {
	return func(yield func(Control) bool) {
		for len(b) >= 4 && b[0]>>6 == 2 {
			n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
			if n > len(b) {
				return
			}
			body := b[4:n:n]
			if b[0]&0x20 != 0 {
				if len(body) == 0 {
					return
				}
				pad := int(body[len(body)-1])
				if pad == 0 || pad > len(body) {
					return
				}
				body = body[:len(body)-pad]
			}
			if !yield(Control{Type: ControlType(b[1]), Count: int(b[0] & 0x1f), Body: body}) {
				return
			}
			b = b[n:]
		}
	}
}

// SSRC of the sender of the packet; 0 if the packet is too short to have one.
func (c Control) SSRC() uint32 {
	if len(c.Body) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(c.Body)
}

// SenderInfo is the second part of a sender report (RFC 3550 6.4.1).
type SenderInfo struct {
	NTP       uint64 // 32 bits seconds since 1900, 32 bits fraction
	Timestamp uint32
	Packets   uint32
	Bytes     uint32
}

// SenderInfo of a sender report; ok is false for any other packet.
func (c Control) SenderInfo() (info SenderInfo, ok bool) {
	if c.Type != SenderReport || len(c.Body) < 24 {
		return info, false
	}
	b := c.Body[4:]
	return SenderInfo{
		NTP:       binary.BigEndian.Uint64(b),
		Timestamp: binary.BigEndian.Uint32(b[8:]),
		Packets:   binary.BigEndian.Uint32(b[12:]),
		Bytes:     binary.BigEndian.Uint32(b[16:]),
	}, true
}

// Report is one report block: what its sender received from SSRC (RFC 3550 6.4.1).
type Report struct {
	SSRC     uint32
	Fraction uint8  // lost since the last report, of 256
	Lost     int32  // lost since the beginning, 24 bits signed: duplicates make it negative
	Highest  uint32 // extended highest sequence number
	Jitter   uint32 // in timestamp units
	LastSR   uint32 // middle 32 bits of the NTP time of the last sender report, 0 if none came
	Delay    uint32 // since then, in 1/65536 s
}

const reportSize = 24

// Reports gives the report blocks of a sender or receiver report.
func (c Control) Reports() iter.Seq[Report] {
	return func(yield func(Report) bool) {
		skip := 4
		switch c.Type {
		case SenderReport:
			skip = 24
		case ReceiverReport:
		default:
			return
		}
		if len(c.Body) < skip {
			return
		}
		b := c.Body[skip:]
		for i := 0; i < c.Count && len(b) >= reportSize; i, b = i+1, b[reportSize:] {
			lost := binary.BigEndian.Uint32(b[4:])
			r := Report{
				SSRC:     binary.BigEndian.Uint32(b),
				Fraction: uint8(lost >> 24),
				Lost:     int32(lost<<8) >> 8,
				Highest:  binary.BigEndian.Uint32(b[8:]),
				Jitter:   binary.BigEndian.Uint32(b[12:]),
				LastSR:   binary.BigEndian.Uint32(b[16:]),
				Delay:    binary.BigEndian.Uint32(b[20:]),
			}
			if !yield(r) {
				return
			}
		}
	}
}

// AppendSenderReport appends a sender report with one report block, or none if about is nil.
func AppendSenderReport(dst []byte, ssrc uint32, info SenderInfo, about *Report) []byte {
	dst = appendControlHeader(dst, SenderReport, 24, about)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = binary.BigEndian.AppendUint64(dst, info.NTP)
	dst = binary.BigEndian.AppendUint32(dst, info.Timestamp)
	dst = binary.BigEndian.AppendUint32(dst, info.Packets)
	dst = binary.BigEndian.AppendUint32(dst, info.Bytes)
	return appendReport(dst, about)
}

// AppendReceiverReport appends a receiver report with one report block, or none if about is nil.
func AppendReceiverReport(dst []byte, ssrc uint32, about *Report) []byte {
	dst = appendControlHeader(dst, ReceiverReport, 4, about)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	return appendReport(dst, about)
}

func appendControlHeader(dst []byte, t ControlType, size int, about *Report) []byte {
	first := byte(0x80)
	if about != nil {
		first, size = first|1, size+reportSize
	}
	dst = append(dst, first, byte(t))
	return binary.BigEndian.AppendUint16(dst, uint16(size/4))
}

func appendReport(dst []byte, r *Report) []byte {
	if r == nil {
		return dst
	}
	// RFC 3550 A.3: the cumulative loss is clamped to what 24 bits hold.
	lost := min(max(r.Lost, -0x800000), 0x7fffff)
	dst = binary.BigEndian.AppendUint32(dst, r.SSRC)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Fraction)<<24|uint32(lost)&0xffffff)
	dst = binary.BigEndian.AppendUint32(dst, r.Highest)
	dst = binary.BigEndian.AppendUint32(dst, r.Jitter)
	dst = binary.BigEndian.AppendUint32(dst, r.LastSR)
	return binary.BigEndian.AppendUint32(dst, r.Delay)
}

// AppendName appends a source description with a CNAME, which every compound packet must carry
// (RFC 3550 6.1). A name over 255 bytes is cut.
func AppendName(dst []byte, ssrc uint32, cname string) []byte {
	cname = cname[:min(len(cname), 255)]
	// The list ends with a zero byte and is padded with zeros to a word (RFC 3550 6.5).
	size := 4 + 2 + len(cname) + 1
	size += -size & 3
	dst = append(dst, 0x81, byte(SourceDescribe))
	dst = binary.BigEndian.AppendUint16(dst, uint16(size/4))
	end := len(dst) + size
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, 1, byte(len(cname)))
	dst = append(dst, cname...)
	for len(dst) < end {
		dst = append(dst, 0)
	}
	return dst
}

// AppendBye appends the goodbye of one source.
func AppendBye(dst []byte, ssrc uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0x81, byte(Bye), 0, 1), ssrc)
}

// NTP gives the 64-bit NTP time of t, as sender reports carry it.
func NTP(t time.Time) uint64 {
	const since1900 = 2208988800 // seconds from 1900 to 1970
	return uint64(t.Unix()+since1900)<<32 | uint64(t.Nanosecond())<<32/1e9
}
