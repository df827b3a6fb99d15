package transport

import (
	"errors"
	"hash/maphash"
	"strconv"

	"liaison/internal/sip"
)

// refusal is the answer to a message that does not parse, sent back on its own flow and forgotten (RFC 3261 8.2.7); nil
// if none is due. The caller still owns the packet.
//
// A response, an ACK and what has no usable Via get none. Over UDP neither does one that would be larger than the
// request, give or take a quarter: sources can be forged, and we are nobody's amplifier.
func (t *Transport) refusal(p *Packet, cause error) []byte {
	var e *sip.Error
	if !errors.As(cause, &e) || e == errPanic || !p.Msg.Answerable() {
		if e != errPanic { // that is counted where it happened
			t.counters.add(dropUnparseable, 1)
		}
		return nil
	}
	b := sip.AppendRefusal(nil, &p.Msg, e, t.tag(&p.Msg))
	if p.Flow.Proto == UDP && len(b) > p.length+p.length/4 {
		t.counters.add(refuseLarger, 1)
		return nil
	}
	t.counters.add(refused, 1)
	return b
}

// tag is the same for a request that comes again (RFC 3261 8.2.7).
func (t *Transport) tag(m *sip.Message) string {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.Write(m.CallID)
	h.Write(m.Via.Branch)
	return strconv.FormatUint(h.Sum64(), 36)
}
