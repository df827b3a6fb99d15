// Package stun answers Binding requests: it tells an agent the address that its datagrams come from, as that looks from
// here (RFC 8489, and RFC 3489 for older agents), and answers from a second address and port where there is one, so
// that the agent learns how its NAT behaves (RFC 5780). It reads and writes bytes; the sockets are the transport's.
//
// STUN is made for forged senders as much as for honest ones, so an answer goes to where the request came from and
// nowhere else, is never longer than MaxAnswer, and is limited by source.
package stun

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	headerSize  = 20
	magicCookie = 0x2112a442

	// maxRequest is what is read at all. An honest request has tens of bytes; PADDING (RFC 5780 7.6), which we refuse,
	// makes it a little longer than a packet.
	maxRequest = 2048
)

// Types of messages: method Binding in the three classes that we send or tell apart.
const (
	bindingRequest    = 0x0001
	bindingIndication = 0x0011
	bindingSuccess    = 0x0101
	bindingError      = 0x0111
)

// attribute is the type of an attribute. Up to 0x7fff whoever does not know it must not answer as if it were not there.
type attribute uint16

const (
	mappedAddress       attribute = 0x0001
	changeRequest       attribute = 0x0003
	sourceAddress       attribute = 0x0004 // RFC 3489 only
	changedAddress      attribute = 0x0005 // RFC 3489 only
	messageIntegrity    attribute = 0x0008
	errorCode           attribute = 0x0009
	unknownAttributes   attribute = 0x000a
	reflectedFrom       attribute = 0x000b // RFC 3489 only, and the last that it knows
	realm               attribute = 0x0014
	nonce               attribute = 0x0015
	messageIntegritySHA attribute = 0x001c
	passwordAlgorithm   attribute = 0x001d
	userhash            attribute = 0x001e
	xorMappedAddress    attribute = 0x0020
	firstOptional       attribute = 0x8000
	fingerprint         attribute = 0x8028
	responseOrigin      attribute = 0x802b
	otherAddress        attribute = 0x802c
)

// The flags of CHANGE-REQUEST.
const (
	changeIP   = 4
	changePort = 2
)

const (
	fingerprintSize = 8 // with its header
	fingerprintXOR  = 0x5354554e
)

// maxUnknown is how many attributes a 420 names at most.
const maxUnknown = 8

// unknownReason is the reason phrase of a 420, padded with spaces: to RFC 3489 11.2.9 its length is a multiple of four.
const unknownReason = "Unknown Attribute   "

// request is what a Binding request asks for.
type request struct {
	classic     bool // RFC 3489: no magic cookie
	fingerprint bool // it has one, so the answer gets one
	hasChange   bool
	changeIP    bool
	changePort  bool
	unknown     [maxUnknown]attribute // that cannot be passed over
	unknowns    int
}

// read reads a datagram; every outcome but Answered ends it.
func (r *request) read(b []byte) Outcome {
	if len(b) < headerSize || len(b) > maxRequest || b[0]&0xc0 != 0 {
		return Malformed
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length != len(b)-headerSize || length%4 != 0 {
		return Malformed
	}
	switch binary.BigEndian.Uint16(b) {
	case bindingRequest:
	case bindingIndication:
		return Indication
	default:
		return NotBinding
	}
	r.classic = binary.BigEndian.Uint32(b[4:]) != magicCookie
	return r.readAttributes(b)
}

func (r *request) readAttributes(b []byte) Outcome {
	protected := false
	for rest := b[headerSize:]; len(rest) > 0; {
		kind := attribute(binary.BigEndian.Uint16(rest))
		length := int(binary.BigEndian.Uint16(rest[2:]))
		size := 4 + (length+3)&^3
		if size > len(rest) {
			return Malformed
		}
		switch {
		case kind == fingerprint && !r.classic:
			// RFC 8489 14.7: the last attribute.
			if length != 4 || len(rest) != fingerprintSize {
				return Malformed
			}
			if binary.BigEndian.Uint32(rest[4:]) != fingerprintOf(b[:len(b)-fingerprintSize]) {
				return BadFingerprint
			}
			r.fingerprint = true
		case protected:
			// RFC 8489 14.5: what follows MESSAGE-INTEGRITY is not there, but for FINGERPRINT.
		case kind == messageIntegrity, kind == messageIntegritySHA && !r.classic:
			// We know no passwords: STUN that has to be trusted is ICE's, between the agents.
			protected = true
		case kind == changeRequest:
			if length != 4 {
				return Malformed
			}
			flags := binary.BigEndian.Uint32(rest[4:])
			r.hasChange, r.changeIP, r.changePort = true, flags&changeIP != 0, flags&changePort != 0
		case !r.understands(kind):
			r.refuse(kind)
		}
		rest = rest[size:]
	}
	return Answered
}

// understands tells of an attribute that it may stand in a request without changing the answer.
//
// RESPONSE-ADDRESS (RFC 3489 11.2.2) is among them: it is not obeyed, because an answer to somebody else is a weapon.
// RESPONSE-PORT and PADDING (RFC 5780) are not: the one would send an answer to a port that did not ask, the other
// makes answers large, and a client that wants them is to know that it does not get them.
func (r *request) understands(kind attribute) bool {
	switch {
	case kind >= firstOptional, kind >= mappedAddress && kind <= reflectedFrom:
		return true
	case r.classic:
		return false
	}
	switch kind {
	case realm, nonce, passwordAlgorithm, userhash, xorMappedAddress:
		return true
	}
	return false
}

// refuse notes an attribute for the error, once; what comes after the first few is not worth a longer answer.
func (r *request) refuse(kind attribute) {
	for _, known := range r.unknown[:r.unknowns] {
		if known == kind {
			return
		}
	}
	if r.unknowns < maxUnknown {
		r.unknown[r.unknowns] = kind
		r.unknowns++
	}
}

// fingerprintOf is the value of a FINGERPRINT behind b, whose length field must count it already (RFC 8489 14.7).
func fingerprintOf(b []byte) uint32 { return crc32.ChecksumIEEE(b) ^ fingerprintXOR }
