package rtp

import "time"

// Limits of what counts as one running sequence (RFC 3550 A.1). The order window is wider than the RFC's
// 100 packets, because 4 ms packets are usual here: 512 of them are two seconds.
const (
	maxDropout = 3000 // a larger jump forward is a restart, once a second packet confirms it
	window     = 512  // packets that may still come late and are looked at for duplicates

	noJump      = 1 << 16 // no sequence number
	jumpSeconds = 3       // a timestamp that is off by more is not jitter
)

// Stats counts what arrived of one stream, from RTP headers alone. The zero value is ready.
// It has one owner: no locks inside, no allocation.
//
// A changed SSRC, or a sequence that jumps and goes on from there, is a restart of the sender: the order
// begins anew and the totals go on.
type Stats struct {
	packets, octets, duplicates, reordered, strays, restarts uint64

	started bool
	ssrc    uint32
	base    uint32 // extended sequence number of the first packet
	highest uint32 // extended: wraps are in the upper 16 bits
	bad     uint32 // the sequence that would confirm a jump, or noJump
	seen    [window / 64]uint64

	settled runs // what has left the window

	// RFC 3550 A.3, for this SSRC since its start and at the last report.
	received, priorReceived, priorExpected uint32

	// RFC 3550 A.8.
	epoch      time.Time
	clockRate  uint32
	transit    uint32
	jitter     uint32 // in timestamp units, times 16
	jitterPeak time.Duration

	first, last time.Time
	lastSR      uint32
	lastSRAt    time.Time
}

// runs counts packets that did not come, and in how many pieces.
type runs struct {
	lost, bursts, longest, current uint64
}

func (r *runs) next(arrived bool) {
	if arrived {
		r.current = 0
		return
	}
	r.lost++
	r.current++
	if r.current == 1 {
		r.bursts++
	}
	r.longest = max(r.longest, r.current)
}

// Summary is what a Stats has counted so far.
type Summary struct {
	Packets      uint64 // that arrived, duplicates included
	Bytes        uint64 // of payload
	Lost         uint64 // sequence numbers that did not come
	Bursts       uint64 // in how many runs of consecutive losses
	LongestBurst uint64 // packets
	Duplicates   uint64
	Reordered    uint64 // came after a later one
	Strays       uint64 // came from a place in the sequence where the stream is not, over 512 packets late perhaps
	Restarts     uint64 // changes of SSRC or of the sequence
	Jitter       time.Duration
	MaxJitter    time.Duration
	SSRC         uint32 // of the stream that runs now
	First, Last  time.Time
}

// Add counts one packet. The clock rate is that of the RTP timestamps, in Hz; now is when it arrived.
// It tells whether the packet is a new one: false for a duplicate and for a stray that fits no sequence.
func (s *Stats) Add(p *Packet, clockRate uint32, now time.Time) bool {
	s.packets++
	s.octets += uint64(len(p.Payload))
	s.last = now
	if s.first.IsZero() {
		s.first = now
	}

	if !s.started || p.SSRC != s.ssrc {
		s.restart(p.SSRC, p.Sequence)
		s.count(p, clockRate, now)
		return true
	}
	switch delta := p.Sequence - uint16(s.highest); {
	case delta == 0:
		s.duplicates++
		s.received++
		return false

	case delta < maxDropout: // in order, with a gap where delta > 1
		for range delta {
			s.advance()
		}

	case delta <= 1<<16-window: // neither near nor just behind
		// RFC 3550 A.1: a jump is believed when the next packet follows it.
		if uint32(p.Sequence) != s.bad {
			s.bad = uint32(p.Sequence + 1)
			s.strays++
			return false
		}
		s.restart(p.SSRC, p.Sequence)
		s.count(p, clockRate, now)
		return true

	default: // behind the highest by less than the window
		seq := s.highest - uint32(-delta)
		if s.marked(seq) {
			s.duplicates++
			s.received++
			return false
		}
		if int32(seq-s.base) < 0 {
			s.base = seq // overtaken by the packet that we took for the first
		}
		s.reordered++
		s.mark(seq)
		s.count(p, clockRate, now)
		return true
	}
	s.mark(s.highest)
	s.count(p, clockRate, now)
	return true
}

func (s *Stats) restart(ssrc uint32, seq uint16) {
	if s.started {
		s.walk(&s.settled)
		s.settled.current = 0
		s.restarts++
	}
	s.started = true
	s.ssrc = ssrc
	s.base, s.highest = uint32(seq), uint32(seq)
	s.bad = noJump
	s.seen = [window / 64]uint64{}
	s.received, s.priorReceived, s.priorExpected = 0, 0, 0
	s.epoch, s.jitter = time.Time{}, 0
	s.lastSR, s.lastSRAt = 0, time.Time{}
	s.mark(s.highest)
}

// advance moves the window by one packet and settles the one that leaves it.
func (s *Stats) advance() {
	s.bad = noJump
	s.highest++
	if leaves := s.highest - window; int32(leaves-s.base) >= 0 {
		s.settled.next(s.marked(leaves))
	}
	s.seen[s.highest%window/64] &^= 1 << (s.highest % 64)
}

func (s *Stats) mark(seq uint32)        { s.seen[seq%window/64] |= 1 << (seq % 64) }
func (s *Stats) marked(seq uint32) bool { return s.seen[seq%window/64]&(1<<(seq%64)) != 0 }

// walk counts what is still in the window.
func (s *Stats) walk(r *runs) {
	seq := s.base
	if int32(s.highest-window+1-seq) > 0 {
		seq = s.highest - window + 1
	}
	for ; int32(s.highest-seq) >= 0; seq++ {
		r.next(s.marked(seq))
	}
}

// count takes a new packet into the report and the jitter.
func (s *Stats) count(p *Packet, clockRate uint32, now time.Time) {
	s.received++

	// RFC 3550 A.8, with whole seconds and the rest apart: a call may last for weeks.
	if s.epoch.IsZero() || clockRate != s.clockRate {
		s.epoch, s.clockRate = now, clockRate
		s.transit = -p.Timestamp
		return
	}
	since := now.Sub(s.epoch)
	arrival := uint32(uint64(since/time.Second)*uint64(clockRate) +
		uint64(since%time.Second)*uint64(clockRate)/uint64(time.Second))
	transit := arrival - p.Timestamp
	d := int32(transit - s.transit)
	s.transit = transit
	if d < 0 {
		d = -d
	}
	if d < 0 || uint32(d) > jumpSeconds*clockRate {
		return // the sender set its timestamps anew: that is no jitter
	}
	s.jitter += uint32(d) - (s.jitter+8)>>4
	s.jitterPeak = max(s.jitterPeak, s.duration(s.jitter))
}

func (s *Stats) duration(jitter uint32) time.Duration {
	if s.clockRate == 0 {
		return 0
	}
	return time.Duration(uint64(jitter) * uint64(time.Second) / 16 / uint64(s.clockRate))
}

// Summary gives the counts so far. Packets that are still missing count as lost, though they may yet come.
func (s *Stats) Summary() Summary {
	r := s.settled
	if s.started {
		s.walk(&r)
	}
	return Summary{
		Packets: s.packets, Bytes: s.octets,
		Lost: r.lost, Bursts: r.bursts, LongestBurst: r.longest,
		Duplicates: s.duplicates, Reordered: s.reordered, Strays: s.strays, Restarts: s.restarts,
		Jitter: s.duration(s.jitter), MaxJitter: s.jitterPeak,
		SSRC: s.ssrc, First: s.first, Last: s.last,
	}
}

// SenderReported notes a sender report of the stream, for the round trip that the next Report lets the sender
// compute.
func (s *Stats) SenderReported(info SenderInfo, now time.Time) {
	s.lastSR, s.lastSRAt = uint32(info.NTP>>16), now
}

// Report gives the block for the next sender or receiver report and begins a new interval; nil if nothing
// came yet.
func (s *Stats) Report(now time.Time) *Report {
	if !s.started {
		return nil
	}
	// RFC 3550 A.3.
	expected := s.highest - s.base + 1
	r := &Report{
		SSRC:    s.ssrc,
		Lost:    int32(expected - s.received),
		Highest: s.highest,
		Jitter:  s.jitter >> 4,
	}
	interval := expected - s.priorExpected
	lost := int64(interval) - int64(s.received-s.priorReceived)
	s.priorExpected, s.priorReceived = expected, s.received
	if interval > 0 && lost > 0 {
		r.Fraction = uint8(min(lost<<8/int64(interval), 255))
	}
	if s.lastSR != 0 {
		r.LastSR = s.lastSR
		r.Delay = uint32(uint64(now.Sub(s.lastSRAt)) << 16 / uint64(time.Second))
	}
	return r
}
