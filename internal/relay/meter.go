package relay

import (
	"time"

	"liaison/internal/rtp"
)

// Traffic is what a side has sent of a stream, from RTP alone. The times in it are those of this run of the program;
// what a session had counted before it was restored is in the sums.
type Traffic struct {
	rtp.Summary
	Sources uint64 // SSRCs: more than one when an agent restarts, or sends several streams to one port
	Control uint64 // RTCP packets
	Other   uint64 // neither RTP nor RTCP
}

// meter counts what one side sends of a stream.
type meter struct {
	running []flow // at most maxStreams, in no order
	past    Traffic
	latest  uint32 // SSRC of the packet before

	// What the payload type of the packet before meant.
	clockOf uint8
	clock   uint32

	history History
	sampled Traffic // at the end of the last sample
	due     time.Time
}

// flow is the order of one SSRC.
type flow struct {
	ssrc  uint32
	heard time.Time
	stats rtp.Stats
}

// begin starts the meter of a session of that age.
func (m *meter) begin(age time.Duration, now time.Time) {
	m.history.start(age)
	m.due = now.Add(m.history.step())
	m.clockOf = noPayloadType
}

const noPayloadType = 0xff

// add counts one packet that is forwarded.
func (m *meter) add(p *port, h header, b []byte, now time.Time) {
	switch h.kind {
	case control:
		m.past.Control++
		return
	case other:
		m.past.Other++
		return
	}
	var packet rtp.Packet
	if packet.Parse(b) != nil {
		// It looks like RTP and is not quite (encrypted padding): forwarded all the same.
		m.past.Other++
		return
	}
	if packet.PayloadType != m.clockOf {
		m.clockOf = packet.PayloadType
		m.clock = p.end.clock(packet.PayloadType)
	}
	f := m.flow(h.ssrc)
	f.heard = now
	f.stats.Add(&packet, m.clock, now)
}

// flow finds the counts of an SSRC, or makes them: an agent that changes its SSRC with every packet costs no memory.
func (m *meter) flow(ssrc uint32) *flow {
	m.latest = ssrc
	for i := range m.running {
		if m.running[i].ssrc == ssrc {
			return &m.running[i]
		}
	}
	m.past.Sources++
	if len(m.running) < maxStreams {
		m.running = append(m.running, flow{ssrc: ssrc})
		return &m.running[len(m.running)-1]
	}
	oldest := &m.running[0]
	for i := range m.running {
		if m.running[i].heard.Before(oldest.heard) {
			oldest = &m.running[i]
		}
	}
	m.past.add(oldest.stats.Summary())
	*oldest = flow{ssrc: ssrc}
	return oldest
}

// traffic sums what was counted.
func (m *meter) traffic() Traffic {
	sum := m.past
	for i := range m.running {
		s := m.running[i].stats.Summary()
		sum.add(s)
		if m.running[i].ssrc == m.latest {
			sum.SSRC, sum.Jitter = s.SSRC, s.Jitter
		}
	}
	return sum
}

func (t *Traffic) add(s rtp.Summary) {
	t.Packets += s.Packets
	t.Bytes += s.Bytes
	t.Lost += s.Lost
	t.Bursts += s.Bursts
	t.LongestBurst = max(t.LongestBurst, s.LongestBurst)
	t.Duplicates += s.Duplicates
	t.Reordered += s.Reordered
	t.Strays += s.Strays
	t.Restarts += s.Restarts
	t.MaxJitter = max(t.MaxJitter, s.MaxJitter)
	if t.First.IsZero() || !s.First.IsZero() && s.First.Before(t.First) {
		t.First = s.First
	}
	if s.Last.After(t.Last) {
		t.Last = s.Last
	}
}

// clock is the rate of a payload type that the agent sends: what the other side said about it, or the agent itself.
// Zero: neither did.
func (e *end) clock(payloadType uint8) uint32 {
	for _, clocks := range [][]Clock{e.opposite.remote.Clocks, e.remote.Clocks} {
		for _, c := range clocks {
			if c.PayloadType == payloadType {
				return c.Rate
			}
		}
	}
	return 0
}

// sample takes what came since the last one into the history when its time has come, or now if it is the end.
func (m *meter) sample(now time.Time, end bool) {
	step := m.history.step()
	if now.Before(m.due) && !end {
		return
	}
	// What is missing now may yet come: losses are taken when they are counted, and not given back.
	t, before := m.traffic(), &m.sampled
	since := func(now, before uint64) uint64 { return now - min(now, before) }
	span := step + now.Sub(m.due)
	m.history.Append(Sample{
		Span:       span.Round(time.Second),
		Packets:    since(t.Packets, before.Packets),
		Bytes:      since(t.Bytes, before.Bytes),
		Lost:       since(t.Lost, before.Lost),
		Bursts:     since(t.Bursts, before.Bursts),
		Duplicates: since(t.Duplicates, before.Duplicates),
		Reordered:  since(t.Reordered, before.Reordered),
		Jitter:     t.Jitter,
	})
	lost, bursts := max(t.Lost, before.Lost), max(t.Bursts, before.Bursts)
	m.sampled = t
	m.sampled.Lost, m.sampled.Bursts = lost, bursts
	m.due = m.due.Add(span.Round(time.Second) - step + m.history.step())
}
