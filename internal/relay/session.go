package relay

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Session relays the media of one call. Its methods may be called from any goroutine.
type Session struct {
	relay  *Relay
	id     string
	pool   string
	worker *worker
	began  time.Time
	legs   [2]leg

	mu      sync.Mutex
	streams []*stream
	closed  bool
	silence silence
}

// stream is what has an address of its own in the offer.
type stream struct{ ends [2]end }

// end is one side of a stream: the pair of ports that faces it and what is known of its agent.
type end struct {
	side      Side
	leg       *leg
	opposite  *end
	pair      uint16
	rtp, rtcp port
	remote    Remote
	set       bool // remote was signalled
	mux       bool // RTCP goes to the RTP port
	meter     meter
}

// Remote is what an offer or an answer says about a stream of its sender.
type Remote struct {
	// RTP and RTCP are where the sender receives. RTP is 0.0.0.0 if it holds the stream in the way of RFC 2543, and not
	// valid if it gave a name. RTCP not valid: the port above. A stream that is refused has no Remote: nothing of it
	// passes.
	RTP, RTCP netip.AddrPort
	Source    netip.Addr // where the signalling came from; not valid: nothing is learned but what was signalled
	Mux       bool       // a=rtcp-mux: holds once both sides say it
	Clocks    []Clock    // of the payload types that the sender receives, for jitter
}

// Clock is the rate of the timestamps of a payload type, in Hz.
type Clock struct {
	PayloadType uint8
	Rate        uint32
}

func (r *Relay) newSession(id, pool string) *Session {
	// The worker with the fewest sessions.
	w := slices.MinFunc(r.workers, func(a, b *worker) int { return int(a.sessions.Load() - b.sessions.Load()) })
	w.sessions.Add(1)
	now := r.now()
	return &Session{relay: r, id: id, pool: pool, worker: w, began: now, silence: silence{armed: now}}
}

// ID is the one of the Plan.
func (s *Session) ID() string { return s.id }

// Pool is the name of the pool that the ports are from.
func (s *Session) Pool() string { return s.pool }

// Streams is how many streams the session has ports for.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Grow takes ports for further streams, for an offer that has more of them than those before. Without an error there
// are at least so many afterwards; with one nothing has changed.
func (s *Session) Grow(streams int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	n := streams - len(s.streams)
	if n <= 0 {
		return nil
	}
	var pairs [2][]pair
	for side := range pairs {
		var err error
		if pairs[side], err = s.legs[side].bind(n); err != nil {
			s.giveBack(pairs)
			return err
		}
	}
	return s.addStreams(pairs, nil)
}

// addStreams makes streams of bound pairs and waits for them, or gives all back. If the session is restored, was is
// what they were.
func (s *Session) addStreams(pairs [2][]pair, was []stream) error {
	before, now := len(s.streams), s.relay.now()
	for i := range pairs[Caller] {
		st := new(stream)
		for side := range st.ends {
			e, p := &st.ends[side], pairs[side][i]
			*e = end{side: Side(side), leg: &s.legs[side], opposite: &st.ends[1-side], pair: p.port}
			e.rtp = port{session: s, end: e, fd: p.fds[0]}
			e.rtcp = port{session: s, end: e, fd: p.fds[1], control: true}
			e.meter.begin(now.Sub(s.began), now)
			if was != nil {
				e.resume(&was[i].ends[side], now)
			}
		}
		for side := range st.ends {
			st.ends[side].agreeMux()
		}
		s.streams = append(s.streams, st)
	}
	for p := range s.ports(before) {
		if err := s.worker.add(p); err != nil {
			for p := range s.ports(before) {
				s.worker.remove(p)
			}
			s.streams = s.streams[:before]
			s.giveBack(pairs)
			return err
		}
	}
	return nil
}

func (s *Session) giveBack(pairs [2][]pair) {
	for side, some := range pairs {
		for _, p := range some {
			s.legs[side].at.close(p)
		}
	}
}

// ports gives every port of the streams from one on.
func (s *Session) ports(from int) func(yield func(*port) bool) {
	return func(yield func(*port) bool) {
		for _, st := range s.streams[from:] {
			for side := range st.ends {
				if e := &st.ends[side]; !yield(&e.rtp) || !yield(&e.rtcp) {
					return
				}
			}
		}
	}
}

// Local is what a side is told: where it sends RTP and RTCP of a stream to.
func (s *Session) Local(side Side, stream int) (rtp, rtcp netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &s.streams[stream].ends[side]
	a := e.leg.at.Announce
	return netip.AddrPortFrom(a, e.pair), netip.AddrPortFrom(a, e.pair+1)
}

// SetRemote takes what a side's offer or answer says about a stream, the first one and every one after it: it opens the
// window in which its source may be learned. A side without a locked source gets a new window also when the other one
// speaks, because an agent that offered may send only when it has the answer.
func (s *Session) SetRemote(side Side, stream int, r Remote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := s.relay.now()
	r = r.normal()
	e := &s.streams[stream].ends[side]
	e.remote, e.set = r, true
	e.rtp.lock.signal(r.RTP, r.Source, now)
	e.rtcp.lock.signal(r.RTCP, r.Source, now)
	e.agreeMux()
	e.opposite.agreeMux()
	e.opposite.rtp.lock.reopen(now)
	e.opposite.rtcp.lock.reopen(now)
	e.rtp.settle(now)
	e.opposite.rtp.settle(now)
	s.silence.arm(now)
}

// normal fills in what the defaults of SDP say.
func (r Remote) normal() Remote {
	r.RTP = netip.AddrPortFrom(r.RTP.Addr().Unmap(), r.RTP.Port())
	r.RTCP = netip.AddrPortFrom(r.RTCP.Addr().Unmap(), r.RTCP.Port())
	r.Source = r.Source.Unmap()
	r.Clocks = slices.Clone(r.Clocks)
	// RFC 3550 11: RTCP goes to the next port up.
	if !r.RTCP.Addr().IsValid() && r.RTP.Addr().IsValid() && r.RTP.Port() < 1<<16-1 {
		r.RTCP = netip.AddrPortFrom(r.RTP.Addr(), r.RTP.Port()+1)
	}
	return r
}

// agreeMux decides where RTCP for the agent goes.
func (e *end) agreeMux() {
	// RFC 5761 5.1.1: only if offer and answer have it. An a=rtcp with the port of RTP needs no agreement.
	e.mux = e.remote.Mux && e.opposite.remote.Mux || e.remote.RTP.IsValid() && e.remote.RTP == e.remote.RTCP
}

// Reopen gives a side that nothing was learned of another window: its agent was heard of, and may begin to send only
// now.
func (s *Session) Reopen(side Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := s.relay.now()
	for _, st := range s.streams {
		st.ends[side].rtp.lock.reopen(now)
		st.ends[side].rtcp.lock.reopen(now)
		st.ends[side].rtp.settle(now)
	}
}

// Observation is what was seen of a side's media.
type Observation struct {
	Signalled netip.AddrPort // where it says that it receives
	Source    netip.AddrPort // where its RTP comes from; not valid: none came
	Local     netip.AddrPort // the address of ours that it came to, as announced
	Probe     bool           // which is the probe address
	Since     time.Time      // Source was learned
	Control   netip.AddrPort // where RTCP comes from, on its port
}

// Observed tells where the RTP of a stream comes from. An agent is what it announces if Source is Signalled.
func (s *Session) Observed(side Side, stream int) Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[stream].ends[side].observed()
}

func (e *end) observed() Observation {
	o := Observation{
		Signalled: e.remote.RTP,
		Local:     netip.AddrPortFrom(e.leg.at.Announce, e.pair),
		Probe:     e.leg.Probe,
		Control:   e.rtcp.lock.source,
	}
	// Something that keeps a NAT open is not media.
	if e.rtp.lock.proven {
		o.Source, o.Since = e.rtp.lock.source, e.rtp.lock.since
	}
	return o
}

// Traffic is what a side has sent of a stream so far.
func (s *Session) Traffic(side Side, stream int) Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[stream].ends[side].meter.traffic()
}

// History is the traffic over time.
func (s *Session) History(side Side, stream int) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[stream].ends[side].meter.history.Samples()
}

// Totals is what is left of a session.
type Totals struct {
	Pool    string
	Streams [][2]Total // by Side
}

// Total is one direction of a stream.
type Total struct {
	Observation Observation
	Traffic     Traffic
	History     []byte // see DecodeHistory
}

// Close closes the ports at once. Closed again, a session gives nothing.
func (s *Session) Close() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	totals := Totals{Pool: s.pool}
	if s.closed {
		return totals
	}
	now := s.relay.now()
	for _, st := range s.streams {
		var total [2]Total
		for side := range st.ends {
			e := &st.ends[side]
			e.meter.sample(now, true)
			total[side].Observation = e.observed()
			total[side].Traffic = e.meter.traffic()
			total[side].History = e.meter.history.AppendTo(nil)
		}
		totals.Streams = append(totals.Streams, total)
	}
	s.closed = true
	for p := range s.ports(0) {
		s.worker.remove(p)
	}
	for _, st := range s.streams {
		for side := range st.ends {
			e := &st.ends[side]
			e.leg.at.close(pair{e.pair, [2]int{e.rtp.fd, e.rtcp.fd}})
			e.rtp.fd, e.rtcp.fd = -1, -1
		}
	}
	s.worker.sessions.Add(-1)
	s.relay.leave(s)
	return totals
}
