package stun

import (
	"encoding/binary"
	"net/netip"
)

// MaxAnswer bounds every answer, in bytes: with IPv6, a second address and a FINGERPRINT it has 124. Most have 32. A
// request has at least 20, so that with their headers an answer is about twice as long as its request at most.
const MaxAnswer = 128

// Outcome is what became of a datagram.
type Outcome uint8

// What can become of a datagram. Up to Refused there is an answer.
const (
	Answered        Outcome = iota // RFC 8489
	AnsweredClassic                // RFC 3489
	Refused                        // 420: it asks for something that we do not do
	Indication                     // a keep-alive that wants no answer
	NotBinding                     // a response, or another method
	Malformed
	BadFingerprint
	BadSource   // nobody can be answered there
	NoAlternate // an old client asks for an answer from another address, and there is none
	Limited     // the source asks too often
	numOutcomes
)

// Respond answers one datagram that came from an address to one of ours: it appends the answer to dst and says which of
// our addresses it leaves from. The answer goes to from. With an outcome beyond Refused there is none. It allocates
// nothing if dst has room for MaxAnswer bytes.
func Respond(dst, datagram []byte, from, to netip.AddrPort, t *Topology) (answer []byte, replyFrom netip.AddrPort, o Outcome) {
	if a := from.Addr(); from.Port() == 0 || !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
		return dst, to, BadSource
	}
	var r request
	if o := r.read(datagram); o != Answered {
		return dst, to, o
	}
	other, hasOther := t.other(to)
	if r.hasChange && !hasOther {
		if !r.classic {
			// RFC 5780 6.1: without an alternate address CHANGE-REQUEST is refused.
			r.refuse(changeRequest)
		} else if r.changeIP || r.changePort {
			// Clients that descend from the first public implementation look at nothing but the transaction ID. An
			// error would tell them of an open NAT; silence tells them of a closed one, which does no harm.
			return dst, to, NoAlternate
		}
	}
	if r.unknowns > 0 {
		return r.appendError(dst, datagram), to, Refused
	}

	// RFC 5780 6.1: table 1. RFC 3489 8.1 has the same.
	replyFrom = to
	if r.changeIP {
		replyFrom = netip.AddrPortFrom(other.Addr(), replyFrom.Port())
	}
	if r.changePort {
		replyFrom = netip.AddrPortFrom(replyFrom.Addr(), other.Port())
	}
	start := len(dst)
	dst = appendHeader(dst, bindingSuccess, datagram)
	if r.classic {
		// RFC 3489 8.1: MAPPED-ADDRESS, SOURCE-ADDRESS, CHANGED-ADDRESS. We omit the last one where nothing listens.
		dst = appendAddress(dst, mappedAddress, from)
		dst = appendAddress(dst, sourceAddress, t.announced(replyFrom, from))
		if hasOther {
			dst = appendAddress(dst, changedAddress, t.announced(other, from))
		}
		return r.finish(dst, start), replyFrom, AnsweredClassic
	}
	dst = appendXORAddress(dst, from, datagram[4:headerSize])
	if hasOther {
		// RFC 5780 6.1: both forms of the mapped address, the origin and the other address, asked for or not.
		dst = appendAddress(dst, mappedAddress, from)
		dst = appendAddress(dst, responseOrigin, t.announced(replyFrom, from))
		dst = appendAddress(dst, otherAddress, t.announced(other, from))
	}
	return r.finish(dst, start), replyFrom, Answered
}

// appendError is the 420 (RFC 8489 6.3.1, RFC 3489 8.1).
func (r *request) appendError(dst, datagram []byte) []byte {
	start := len(dst)
	dst = appendHeader(dst, bindingError, datagram)
	dst = appendAttribute(dst, errorCode, 4+len(unknownReason))
	dst = append(dst, 0, 0, 4, 20)
	dst = append(dst, unknownReason...)
	unknown := r.unknown[:r.unknowns]
	last := unknown[len(unknown)-1]
	n := len(unknown)
	if r.classic {
		n += n % 2 // RFC 3489 11.2.10: an even number, one of them twice
	}
	dst = appendAttribute(dst, unknownAttributes, 2*n)
	for _, kind := range unknown {
		dst = binary.BigEndian.AppendUint16(dst, uint16(kind))
	}
	if len(unknown)%2 != 0 { // in RFC 8489 it is the padding, which may hold anything
		dst = binary.BigEndian.AppendUint16(dst, uint16(last))
	}
	return r.finish(dst, start)
}

// appendHeader takes the transaction ID over, with RFC 3489 all 16 bytes of it (RFC 5389 12.2).
func appendHeader(dst []byte, kind uint16, datagram []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = append(dst, 0, 0)
	return append(dst, datagram[4:headerSize]...)
}

// finish writes the length of the message that begins at start, and the FINGERPRINT.
func (r *request) finish(dst []byte, start int) []byte {
	length := len(dst) - start - headerSize
	if r.fingerprint {
		length += fingerprintSize
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(length))
	if r.fingerprint {
		sum := fingerprintOf(dst[start:])
		dst = appendAttribute(dst, fingerprint, 4)
		dst = binary.BigEndian.AppendUint32(dst, sum)
	}
	return dst
}

func appendAttribute(dst []byte, kind attribute, length int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(kind))
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// appendAddress writes an attribute in the form of MAPPED-ADDRESS (RFC 8489 14.1).
func appendAddress(dst []byte, kind attribute, a netip.AddrPort) []byte {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		b := ip.As4()
		dst = append(appendAttribute(dst, kind, 8), 0, 1)
		dst = binary.BigEndian.AppendUint16(dst, a.Port())
		return append(dst, b[:]...)
	}
	b := ip.As16()
	dst = append(appendAttribute(dst, kind, 20), 0, 2)
	dst = binary.BigEndian.AppendUint16(dst, a.Port())
	return append(dst, b[:]...)
}

// appendXORAddress hides the address from NATs that rewrite addresses in payloads: mask is the magic cookie and the
// transaction ID (RFC 8489 14.2).
func appendXORAddress(dst []byte, a netip.AddrPort, mask []byte) []byte {
	dst = appendAddress(dst, xorMappedAddress, a)
	ip := 4
	if !a.Addr().Unmap().Is4() {
		ip = 16
	}
	hidden := dst[len(dst)-ip:]
	for i := range hidden {
		hidden[i] ^= mask[i]
	}
	port := dst[len(dst)-ip-2:]
	port[0] ^= mask[0]
	port[1] ^= mask[1]
	return dst
}
