package relay

import (
	"errors"
	"fmt"
	"time"
)

// stateVersion is the first byte of a state. A state of another version is refused, so that a changed layout must
// change it.
const stateVersion = 1

var errState = errors.New("relay: not the state of a session")

// State is what it takes to go on after the program was killed: ports, what was signalled, learned sources, sums. It
// changes with SetRemote, Hold and Grow, with a Learned or Moved notice, and the sums with every packet.
func (s *Session) State() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := writer{stateVersion}
	w.string(s.id)
	w.string(s.pool)
	w.int(s.began.UnixMilli())
	w.bool(s.silence.held)
	for side := range s.legs {
		l := &s.legs[side]
		w.bool(l.Probe)
		w.addr(l.at.Announce)
	}
	w.uint(uint64(len(s.streams)))
	for _, st := range s.streams {
		for side := range st.ends {
			e := &st.ends[side]
			w.uint(uint64(e.pair))
			w.bool(e.set)
			w.remote(&e.remote)
			w.lock(&e.rtp.lock)
			w.lock(&e.rtcp.lock)
			w.traffic(e.meter.traffic())
		}
	}
	return w
}

// Restore opens a session from its State: the same ports, the same sources. What was not learned yet may be learned in
// a new window. It fails if the address is not configured any more or a port is taken.
func (r *Relay) Restore(state []byte) (*Session, error) {
	d := reader{b: state}
	if d.byte() != stateVersion {
		return nil, errState
	}
	id, poolName := d.string(), d.string()
	began := d.int()
	held := d.bool()
	s := r.newSession(id, poolName)
	s.began = time.UnixMilli(began)
	s.silence.held = held
	// Until it is among the sessions, nobody else knows it.
	if err := s.restore(&d); err != nil {
		s.Close()
		return nil, err
	}
	if err := r.enter(s); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) restore(d *reader) error {
	for side := range s.legs {
		l := Leg{Probe: d.bool(), Address: d.addr()}
		if d.failed {
			return errState
		}
		if err := s.legs[side].find(s.relay, s.pool, l); err != nil {
			return err
		}
	}
	n := d.uint()
	if d.failed || n == 0 || n > 1<<10 {
		return errState
	}
	// All of it is read before anything is bound.
	streams := make([]stream, n)
	for i := range streams {
		for side := range streams[i].ends {
			e := &streams[i].ends[side]
			e.pair = uint16(d.uint())
			e.set = d.bool()
			e.remote = d.remote()
			e.rtp.lock = d.lock()
			e.rtcp.lock = d.lock()
			e.meter.past = d.traffic()
		}
	}
	if d.failed || len(d.b) > 0 {
		return errState
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var pairs [2][]pair
	for i := range streams {
		for side := range pairs {
			p, err := s.legs[side].at.bindAt(streams[i].ends[side].pair)
			if err != nil {
				s.giveBack(pairs)
				return fmt.Errorf("relay pool %q: %w", s.pool, err)
			}
			pairs[side] = append(pairs[side], p)
		}
	}
	return s.addStreams(pairs, streams)
}

// find sets the address that a leg had.
func (l *leg) find(r *Relay, poolName string, was Leg) error {
	p := r.probe
	if !was.Probe {
		var err error
		if p, err = r.pool(poolName); err != nil {
			return err
		}
	}
	if p != nil {
		for _, a := range p.addresses {
			if a.Announce == was.Address {
				*l = leg{Leg: was, pool: p, at: a, log: r.log}
				return nil
			}
		}
	}
	return fmt.Errorf("relay pool %q has no address %s any more", poolName, was.Address)
}

// bindAt opens a certain pair.
func (a *address) bindAt(port uint16) (pair, error) {
	if !a.claim(port) {
		return pair{}, fmt.Errorf("port %d of %s is in use or out of range", port, a.Announce)
	}
	fds, err := a.listen(port)
	if err != nil {
		a.give(port)
		return pair{}, err
	}
	return pair{port, fds}, nil
}

// resume takes over what was before into a new end, as if it had just been signalled: what was learned stays.
func (e *end) resume(was *end, now time.Time) {
	e.set, e.remote = was.set, was.remote
	e.meter.past = was.meter.past
	e.meter.sampled = was.meter.past
	for _, l := range []struct{ to, was *lock }{{&e.rtp.lock, &was.rtp.lock}, {&e.rtcp.lock, &was.rtcp.lock}} {
		*l.to = *l.was
		if l.to.source.IsValid() {
			l.to.since, l.to.heard, l.to.media = now, now, now
		}
		if e.set {
			l.to.reopen(now)
		}
	}
	e.rtp.lock.signalled, e.rtp.lock.from = e.remote.RTP, e.remote.Source
	e.rtcp.lock.signalled, e.rtcp.lock.from = e.remote.RTCP, e.remote.Source
}
