package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"liaison/internal/rtp"
)

// Learning is how an agent behind or in front of a NAT finds the way for its audio.
type Learning uint8

const (
	// Symmetric sends to the address of the SDP until audio comes, and then to where it comes from.
	Symmetric Learning = iota
	// Plain sends to the address of the SDP, whatever comes from where.
	Plain
)

// plan is what an offer and its answer have settled for the audio of a call.
type plan struct {
	remote  netip.AddrPort // of the peer's SDP; invalid: send nowhere
	control netip.AddrPort // the same for RTCP
	mux     bool           // RTP and RTCP share a port (RFC 5761)
	codec   Codec          // that we send, with the payload type of the peer's description
	known   []Codec        // that may come, with the payload types of our description
	ptime   time.Duration  // that the peer asked for; 0: it did not
	send    bool           // direction, seen from here
}

const (
	reportEvery = 5 * time.Second // RFC 3550 6.2: the least interval

	// A learnt source may move to another address when it has been silent for so long and its SSRC goes on:
	// a NAT that has rebound, a telephone that went from 4G to Wi-Fi.
	silence = time.Second
)

// media is the audio of one call: a pair of sockets, what is sent, and what is measured.
type media struct {
	log            *slog.Logger
	audio, control *net.UDPConn
	recordings     *Recordings
	echo           bool // send back what comes, and not the programme
	learning       Learning
	cname          string
	ssrc           uint32

	changed chan struct{} // the plan is another; one place, and a full one will do
	ended   chan struct{} // closed when all is over

	mu       sync.Mutex
	plan     plan
	sources  []netip.Addr   // where audio may be learnt from; empty: anywhere
	learnt   netip.AddrPort // where audio comes from
	reports  netip.AddrPort // where RTCP comes from
	heard    time.Time      // the last packet from learnt
	receiver receiver

	sequence  uint16 // of the next packet
	stamp     uint32 // of the next packet
	lastStamp uint32
	packets   uint32 // sent
	octets    uint32
	sentAt    time.Time
	strangers uint64 // packets that were not the peer's

	answeredAt time.Time // when the call was answered
}

// openMedia binds the sockets, so that the description can name them. Nothing flows before run.
func openMedia(c *Config, addr netip.Addr, listen bool, file string, echo bool) (*media, error) {
	audio, control, err := openPair(addr, c.Ports)
	if err != nil {
		return nil, err
	}
	return &media{
		log: c.Logger, audio: audio, control: control, recordings: c.Recordings, echo: echo,
		learning: c.Learning, cname: c.Product + "@" + addr.String(),
		ssrc: rand.Uint32(), sequence: uint16(rand.Uint32()), stamp: rand.Uint32(),
		changed:  make(chan struct{}, 1),
		ended:    make(chan struct{}),
		receiver: receiver{listen: listen, file: file},
	}, nil
}

// port is where we receive RTP; RTCP comes to the next one.
func (m *media) port() uint16 {
	return m.audio.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// trust says where audio may be learnt from, beside the address of the SDP.
func (m *media) trust(sources []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sources = sources
}

// answer notes when the call was answered.
func (m *media) answer(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answeredAt = at
}

// set makes a plan hold from now on. What was learnt of the way stays unless the peer names another address.
func (m *media) set(p plan) {
	m.mu.Lock()
	if p.remote != m.plan.remote {
		m.learnt, m.reports = netip.AddrPort{}, netip.AddrPort{}
	}
	m.plan = p
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// run sends and receives until ctx ends, and says goodbye.
func (m *media) run(ctx context.Context) {
	defer close(m.ended)
	var readers, writers sync.WaitGroup
	readers.Go(func() { m.read(m.audio, m.receiveAudio) })
	readers.Go(func() { m.read(m.control, m.receiveControl) })
	writers.Go(func() { m.send(ctx) })
	writers.Go(func() { m.report(ctx) })
	writers.Wait()
	m.sayBye()
	m.close()
	readers.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.receiver.close()
}

// discard ends what never ran.
func (m *media) discard() {
	m.close()
	close(m.ended)
}

func (m *media) close() {
	m.audio.Close()
	m.control.Close()
}

// read serves one socket until it is closed.
func (m *media) read(conn *net.UDPConn, serve func(b []byte, from netip.AddrPort)) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of a packet that we sent: the peer may not be there yet
		}
		serve(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

func (m *media) receiveAudio(b []byte, from netip.AddrPort) {
	if rtp.IsControl(b) {
		m.receiveControl(b, from)
		return
	}
	var p rtp.Packet
	if p.Parse(b) != nil {
		return
	}
	now := time.Now()
	m.mu.Lock()
	i := slices.IndexFunc(m.plan.known, func(c Codec) bool { return c.PayloadType == p.PayloadType })
	if !m.expectedLocked(&p, from, i >= 0, now) {
		m.strangers++
		m.mu.Unlock()
		return
	}
	if i < 0 {
		// Telephone events, comfort noise: they have numbers in the same sequence, but are not audio.
		m.receiver.pass(&p, now)
		m.mu.Unlock()
		return
	}
	m.receiver.take(&p, m.plan.known[i], now)
	var out []byte
	to := m.targetLocked()
	if m.echo && m.plan.send && to.IsValid() {
		h := rtp.Header{PayloadType: p.PayloadType, Marker: p.Marker, Sequence: p.Sequence, Timestamp: p.Timestamp, SSRC: m.ssrc}
		out = append(h.AppendTo(make([]byte, 0, len(b))), p.Payload...)
		m.sentLocked(p.Timestamp, len(p.Payload), now)
	}
	m.mu.Unlock()
	if out != nil {
		m.audio.WriteToUDPAddrPort(out, to)
	}
}

// expectedLocked tells whether a packet belongs to the call, and learns from it where the peer is. A stranger
// who sprays our ports must neither get the audio nor put in his own.
func (m *media) expectedLocked(p *rtp.Packet, from netip.AddrPort, known bool, now time.Time) bool {
	switch {
	case len(m.plan.known) == 0:
		return false // nothing is agreed yet
	case m.learnt == from:
		m.heard = now
		return true
	case m.learnt.IsValid():
		if !known || now.Sub(m.heard) < silence || p.SSRC != m.receiver.stats.Summary().SSRC {
			return false
		}
	case !known:
		return false
	}
	if from.Addr() != m.plan.remote.Addr() && len(m.sources) > 0 && !slices.Contains(m.sources, from.Addr()) {
		return false
	}
	m.learnt, m.heard = from, now
	return true
}

// targetLocked is where audio goes now.
func (m *media) targetLocked() netip.AddrPort {
	if m.learning == Symmetric && m.learnt.IsValid() && m.plan.remote.IsValid() {
		return m.learnt
	}
	return m.plan.remote
}

// controlTargetLocked is where RTCP goes now: if audio goes elsewhere than the SDP says, RTCP is beside it, at
// the port that it came from or else the next one.
func (m *media) controlTargetLocked() netip.AddrPort {
	to := m.targetLocked()
	switch {
	case m.plan.mux || !to.IsValid():
		return to
	case m.learning == Symmetric && m.reports.IsValid():
		return m.reports
	case to == m.plan.remote:
		return m.plan.control
	}
	return netip.AddrPortFrom(to.Addr(), to.Port()+1)
}

func (m *media) receiveControl(b []byte, from netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from.Addr() != m.learnt.Addr() && from.Addr() != m.plan.remote.Addr() {
		m.strangers++
		return
	}
	for c := range rtp.Controls(b) {
		m.reports = from
		if info, ok := c.SenderInfo(); ok && c.SSRC() == m.receiver.stats.Summary().SSRC {
			m.receiver.stats.SenderReported(info, time.Now())
		}
	}
}

// send plays the programme. It keeps to the clock of the first packet, not to that of the last: delays of one
// packet do not add up.
func (m *media) send(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var (
		stream *Stream
		codec  Codec
		asked  time.Duration
		next   time.Time
		marker bool
		buf    = make([]byte, 0, 2048)
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		case <-timer.C:
		}
		m.mu.Lock()
		p, to := m.plan, m.targetLocked()
		m.mu.Unlock()
		if m.echo || !p.send || !to.IsValid() {
			stream = nil
			continue // until the plan changes
		}
		now := time.Now()
		if stream == nil || p.codec != codec || p.ptime != asked {
			stream, codec, asked = m.recordings.Stream(p.codec, p.ptime), p.codec, p.ptime
			next, marker = now, true
			m.mu.Lock()
			if !m.sentAt.IsZero() { // the time that passed in silence, on this codec's clock
				m.stamp += uint32(now.Sub(m.sentAt).Seconds() * float64(codec.Clock))
			}
			m.mu.Unlock()
		}
		if now.Sub(next) > time.Second {
			next = now // the machine was asleep: do not pour out what was missed
		}
		for ; !now.Before(next); next = next.Add(stream.Ptime) {
			m.mu.Lock()
			h := rtp.Header{PayloadType: codec.PayloadType, Marker: marker, Sequence: m.sequence, Timestamp: m.stamp, SSRC: m.ssrc}
			m.sequence++
			buf = stream.AppendNext(h.AppendTo(buf[:0]))
			m.sentLocked(m.stamp, len(buf)-rtp.HeaderSize, now)
			m.stamp += stream.Ticks
			m.mu.Unlock()
			m.audio.WriteToUDPAddrPort(buf, to)
			marker = false
		}
		timer.Reset(time.Until(next))
	}
}

func (m *media) sentLocked(stamp uint32, octets int, now time.Time) {
	m.packets++
	m.octets += uint32(octets)
	m.sentAt = now
	m.lastStamp = stamp
}

// report sends RTCP every five seconds.
func (m *media) report(ctx context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	var before uint32
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			m.mu.Lock()
			b := m.reportLocked(now, m.packets != before)
			before = m.packets
			to := m.controlTargetLocked()
			mux := m.plan.mux
			m.mu.Unlock()
			m.writeControl(b, to, mux)
		}
	}
}

// reportLocked makes a compound packet: a sender report if something was sent, else a receiver report.
func (m *media) reportLocked(now time.Time, sent bool) []byte {
	about := m.receiver.stats.Report(now)
	var b []byte
	if sent {
		info := rtp.SenderInfo{NTP: rtp.NTP(now), Packets: m.packets, Bytes: m.octets}
		// RFC 3550 6.4.1: the RTP time of the same instant as the NTP time.
		info.Timestamp = m.lastStamp + uint32(now.Sub(m.sentAt).Seconds()*float64(m.plan.codec.Clock))
		b = rtp.AppendSenderReport(b, m.ssrc, info, about)
	} else {
		b = rtp.AppendReceiverReport(b, m.ssrc, about)
	}
	return rtp.AppendName(b, m.ssrc, m.cname)
}

func (m *media) sayBye() {
	now := time.Now()
	m.mu.Lock()
	b := rtp.AppendBye(m.reportLocked(now, m.packets > 0), m.ssrc)
	to, mux := m.controlTargetLocked(), m.plan.mux
	m.mu.Unlock()
	m.writeControl(b, to, mux)
}

func (m *media) writeControl(b []byte, to netip.AddrPort, mux bool) {
	switch {
	case !to.IsValid() || to.Port() == 0:
	case mux:
		m.audio.WriteToUDPAddrPort(b, to)
	default:
		m.control.WriteToUDPAddrPort(b, to)
	}
}
