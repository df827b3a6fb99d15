package relay

import (
	"net/netip"
	"time"
)

// Limits of learning.
const (
	// learnFor is the window after an offer, an answer or Reopen, in which a source may be learned.
	learnFor = 10 * time.Second
	// movedAfter is how long a source must have been silent before another one may be its new address. An agent that
	// changes its network is heard again within 2 s.
	movedAfter = time.Second
	// controlMovedAfter is the same for RTCP that comes from another port of an address: two of its usual intervals.
	controlMovedAfter = 10 * time.Second
)

// verdict on a packet that arrived.
type verdict uint8

const (
	passed   verdict = iota // from the locked source
	learned                 // passed: the source is locked from now on
	moved                   // passed: the agent has a new address
	stranger                // dropped: from an address that was not signalled
	late                    // dropped: from a possible address, but the window is over
	foreign                 // dropped: another source is locked
)

func (v verdict) passes() bool { return v <= moved }

// lock says who may send to a port, and where packets go that leave from it. It is a pure function of what was
// signalled, of packets and of their times; it knows no socket and no clock.
//
//	            signalled                     packet from a possible source
//	closed ------------------> open (10 s) ---------------------------------> locked <-+
//	                              |                                        ^   |   |   | signalled anew, or
//	                  window over |      packet from exactly the address   |   |   +---+ silent for 1 s and then SSRC
//	                              v      that was signalled                |   |         and sequence go on elsewhere
//	                            late --------------------------------------+   +--> everything else is dropped
//
// Possible sources are the address that was signalled and the address that the signalling came from, with any port:
// a NAT chooses the port. Nobody else is ever learned, in the window neither.
type lock struct {
	signalled netip.AddrPort // not valid: nothing, or a name
	from      netip.Addr     // where the signalling came from
	until     time.Time      // end of the window
	renewed   time.Time      // signalled changed while a source was locked, which has not been confirmed since

	source netip.AddrPort // the locked one; not valid: none
	proven bool           // it sent what the port is for, RTP or RTCP, not just something that opens a NAT
	since  time.Time      // source was learned
	heard  time.Time      // last packet of source
	media  time.Time      // last RTP packet of source

	// The streams that came from source, the latest first. An agent may send several to one port.
	streams [maxStreams]position
	count   int
}

// maxStreams is how many SSRCs of one source are told apart.
const maxStreams = 4

// position is how far an RTP stream has come.
type position struct {
	ssrc     uint32
	sequence uint16
}

// signal takes what an offer or an answer says and opens the window.
func (l *lock) signal(signalled netip.AddrPort, from netip.Addr, now time.Time) {
	if !signalled.IsValid() && !from.IsValid() {
		*l = lock{} // the stream is refused
		return
	}
	// A refresh that says the same again (session timers) must not open a locked port for others.
	if l.source.IsValid() && (signalled != l.signalled || from != l.from) {
		l.renewed = now
	}
	l.signalled, l.from = signalled, from
	l.until = now.Add(learnFor)
}

// reopen opens the window again if it is still needed.
func (l *lock) reopen(now time.Time) {
	if !l.source.IsValid() || !l.proven || !l.renewed.IsZero() {
		l.until = now.Add(learnFor)
	}
}

// settled tells that no source but the locked one can be learned now or in the next moment.
func (l *lock) settled(now time.Time) bool {
	return l.source.IsValid() && l.proven && l.renewed.IsZero() && now.Sub(l.heard) < movedAfter-watchEvery &&
		(l.source == l.signalled || !now.Before(l.until))
}

// destination is where packets to the agent go; not valid: nowhere.
func (l *lock) destination() netip.AddrPort {
	// RFC 3264 8.4: held by 0.0.0.0, nothing is to be sent.
	if l.signalled.Addr().IsUnspecified() {
		return netip.AddrPort{}
	}
	if l.source.IsValid() && (l.renewed.IsZero() || !usable(l.signalled, l.from)) {
		return l.source
	}
	if usable(l.signalled, l.from) {
		return l.signalled
	}
	return netip.AddrPort{}
}

// judge decides on one packet. rtp is the lock of the RTP port beside it if this one is for RTCP, else nil.
func (l *lock) judge(from netip.AddrPort, p header, rtp *lock, now time.Time) verdict {
	if from == l.source {
		if !l.renewed.IsZero() && now.Sub(l.renewed) > movedAfter {
			l.renewed = time.Time{} // no straggler: the agent stays where it was
		}
		l.proven = l.proven || meant(p, rtp)
		l.note(p, now)
		return passed
	}
	v := l.admit(from, p, rtp, now)
	if v.passes() {
		// What the old source sent says nothing about the streams of another one.
		if v == learned {
			l.count = 0
		}
		l.source, l.since = from, now
		l.proven = meant(p, rtp)
		l.renewed = time.Time{}
		l.note(p, now)
	}
	return v
}

// meant tells whether a packet is of the kind that the port is for.
func meant(p header, rtp *lock) bool {
	if rtp != nil {
		return p.kind == control
	}
	return p.kind == media
}

// admit decides on a packet that is not from the locked source.
func (l *lock) admit(from netip.AddrPort, p header, rtp *lock, now time.Time) verdict {
	free := !l.source.IsValid()
	exact := from == l.signalled
	possible := from.Addr() == l.from || from.Addr() == l.signalled.Addr()
	open := now.Before(l.until)
	silent := now.Sub(l.heard)

	switch {
	case free && possible && (open || exact):
		return learned
	case free && l.beside(from, p, rtp):
		return learned // RTCP may begin long after RTP
	case free && possible:
		return late
	case free:
		return stranger
	}
	if silent >= movedAfter && l.goesOn(p, silent) {
		return moved
	}
	if l.beside(from, p, rtp) && (l.source.Addr() != from.Addr() || silent >= controlMovedAfter) {
		return moved
	}
	if !possible {
		return stranger
	}
	if !open {
		return foreign
	}
	if p.kind != other && (exact || !l.renewed.IsZero() || silent >= movedAfter) {
		return learned
	}
	if !l.proven && meant(p, rtp) {
		return learned
	}
	return foreign
}

// beside tells RTCP of a stream whose RTP comes from the same address.
func (l *lock) beside(from netip.AddrPort, p header, rtp *lock) bool {
	return rtp != nil && p.kind == control && rtp.source.IsValid() && rtp.source.Addr() == from.Addr() &&
		rtp.position(p.ssrc) != nil
}

// goesOn tells whether an RTP packet continues a stream of the locked source that has been silent for so long.
func (l *lock) goesOn(p header, silent time.Duration) bool {
	if p.kind != media {
		return false
	}
	at := l.position(p.ssrc)
	if at == nil {
		return false
	}
	// Not backwards, and not further than a fast sender (1 ms packets) comes in that time.
	ahead := time.Duration(p.sequence - at.sequence)
	return ahead > 0 && ahead < min(500+silent/time.Millisecond, 1<<15)
}

func (l *lock) position(ssrc uint32) *position {
	for i := range l.streams[:l.count] {
		if l.streams[i].ssrc == ssrc {
			return &l.streams[i]
		}
	}
	return nil
}

// note takes a packet of the locked source into account.
func (l *lock) note(p header, now time.Time) {
	l.heard = now
	if p.kind != media {
		return
	}
	l.media = now
	if at := l.position(p.ssrc); at != nil {
		// An overtaken packet does not set the stream back; a jump does.
		if back := at.sequence - p.sequence; back == 0 || back > 500 {
			at.sequence = p.sequence
		}
		return
	}
	// The one that was heard of first makes room: an agent that restarts has a new SSRC each time.
	if l.count < maxStreams {
		l.count++
	}
	copy(l.streams[1:l.count], l.streams[:])
	l.streams[0] = position{p.ssrc, p.sequence}
}
