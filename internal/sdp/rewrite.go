package sdp

import (
	"iter"
	"net/netip"
	"strconv"
)

// Stream is one flow of packets that a description asks for.
type Stream struct {
	Media int // index of the m= section
	Kind  StreamKind
	Addr  netip.AddrPort // where the sender of the description receives it; no address if it is a name
}

// StreamKind tells the streams of a media line apart.
type StreamKind uint8

const (
	RTP  StreamKind = iota // the port of the m= line
	RTCP                   // the port of an a=rtcp; without one RTCP goes where Media.RTCP says
	FEC                    // the port in the a=fmtp of a parity FEC
)

// Streams gives every stream that the description names a port for, in its
// order. Several media lines may name the same address and port. Refused lines
// have none.
func (d *Description) Streams() iter.Seq[Stream] {
	return func(yield func(Stream) bool) {
		for i := range d.places {
			if s, ok := d.stream(i); ok && !yield(s) {
				return
			}
		}
	}
}

// stream is the stream whose port stands at a place.
func (d *Description) stream(i int) (Stream, bool) {
	p := d.places[i]
	s := Stream{Media: p.media}
	switch p.what {
	case mediaPort:
		s.Kind = RTP
	case rtcpPort:
		s.Kind = RTCP
	case fecPort:
		s.Kind = FEC
	default:
		return Stream{}, false
	}
	m := &d.Media[p.media]
	port, _ := number(d.Raw[p.from:p.to])
	if m.Port == 0 || port == 0 {
		return Stream{}, false
	}
	addr := m.Address
	if i+1 < len(d.places) && (d.places[i+1].what == rtcpAddress || d.places[i+1].what == fecAddress) {
		q := d.places[i+1]
		w := words{b: d.Raw, at: q.from, end: q.to}
		w.next() // address family
		addr = parseAddr(w.text())
	}
	s.Addr = netip.AddrPortFrom(addr, uint16(port))
	return s, true
}

// Rewrite is what a relay makes of a description: media goes to an address of
// its own, each stream to a port of its own.
type Rewrite struct {
	Addr   netip.Addr
	Origin bool // also in o=, so that the far side does not learn the address there
	// Port gives the port that takes the place of a stream's.
	Port func(Stream) uint16
}

// AppendRewritten appends the description with its addresses and ports changed
// and every other byte as it was. What says that media is held (0.0.0.0) or
// refused (port 0) keeps saying so. ICE candidates are left alone: they name
// addresses that the relay does not stand for.
func (d *Description) AppendRewritten(dst []byte, r Rewrite) []byte {
	last := 0
	for i, p := range d.places {
		switch p.what {
		case mediaPort, rtcpPort, fecPort:
			s, ok := d.stream(i)
			if !ok {
				continue
			}
			dst = append(dst, d.Raw[last:p.from]...)
			dst = strconv.AppendUint(dst, uint64(r.Port(s)), 10)
		case origin:
			if !r.Origin {
				continue
			}
			fallthrough
		default:
			dst = append(dst, d.Raw[last:p.from]...)
			dst = appendAddr(dst, r.Addr)
		}
		last = p.to
	}
	return append(dst, d.Raw[last:]...)
}

// appendAddr appends "IP4 192.0.2.7".
func appendAddr(dst []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		dst = append(dst, "IP4 "...)
	} else {
		dst = append(dst, "IP6 "...)
	}
	return a.AppendTo(dst)
}
