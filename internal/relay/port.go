package relay

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// port is one UDP port of ours, which faces one side of a session.
type port struct {
	session *Session
	end     *end
	control bool // for RTCP
	fd      int  // -1: closed

	lock   lock
	mark   uint8     // DSCP that the socket sends with
	second time.Time // since when left counts
	left   int       // packets that may still be taken in this second
	news   verdict   // learned or moved, and not told yet; else passed

	// Where packets go that leave from here, as it was when the address in name was written.
	to        netip.AddrPort
	name      sockaddr
	length    int // of name; zero: nowhere
	connected bool
}

// maxRate is how many packets one port takes in a second. It is far above any codec (1 ms packets, twice, of two lines:
// 4,000); it bounds what an agent that floods, or packets that run in a ring through several sessions, cost the others.
const maxRate = 10000

// forward reads one datagram and sends it to the other side.
func (p *port) forward(w *worker, now time.Time) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.fd < 0 {
		return // closed since the event was reported
	}
	b, from, errno := w.in.receive(p.fd)
	if errno == unix.ECONNREFUSED { // about what was sent before: the agent had no ear there
		b, from, errno = w.in.receive(p.fd)
	}
	if errno != 0 {
		if errno != unix.EAGAIN {
			w.counters.add(errorReceive, 1)
		}
		return
	}
	h := inspect(b)
	v := p.lock.judge(from, h, p.beside(), now)
	if v != passed {
		w.counters.add(judged[v], 1)
		if !v.passes() {
			return
		}
		p.news = v
	}
	if now.Sub(p.second) >= time.Second {
		p.second, p.left = now, maxRate
	}
	if p.left--; p.left < 0 {
		w.counters.add(dropFlood, 1)
		return
	}
	mark, arrived := w.in.look(now)
	p.end.meter.add(p, h, b, arrived)

	out := p.opposite(h)
	if errno := out.send(b, mark); errno != 0 {
		w.counters.add(errorOf(errno), 1)
		return
	}
	w.counters.add(forwardedPackets, 1)
	w.counters.add(forwardedBytes, len(b))
}

// beside is the lock of the RTP port of the pair, if this is the one for RTCP.
func (p *port) beside() *lock {
	if p.control {
		return &p.end.rtp.lock
	}
	return nil
}

// opposite is the port that a packet leaves from.
func (p *port) opposite(h header) *port {
	to := p.end.opposite
	if (p.control || h.kind == control) && !to.mux {
		return &to.rtcp
	}
	return &to.rtp
}

// send sends a datagram to the agent that the port faces, and where that is.
func (p *port) send(b []byte, mark uint8) syscall.Errno {
	if p.aim(); p.length == 0 {
		return errNowhere
	}
	if mark != p.mark {
		p.mark = mark
		setMark(p.fd, !p.end.leg.v4(), mark)
	}
	if !p.connected {
		return send(p.fd, b, &p.name, p.length)
	}
	errno := send(p.fd, b, nil, 0)
	if errno == unix.ECONNREFUSED { // about the packet before; this one was not sent
		errno = send(p.fd, b, nil, 0)
	}
	return errno
}

// aim finds out where packets go.
func (p *port) aim() {
	to := p.lock.destination()
	if to == p.to {
		return
	}
	p.disconnect()
	p.to = to
	p.length = 0
	if to.IsValid() && to.Addr().Is4() == p.end.leg.v4() {
		p.length = p.name.set(to)
	}
}

// settle connects the socket to a source that is not going to change, and takes that back in time.
//
// A connected socket spares the kernel a search for the way of each packet, a seventh of all the work, and what
// strangers send does not fill its queue. But it is deaf to an agent that moves, so that it stays connected only while
// the agent is heard.
func (p *port) settle(now time.Time) {
	p.aim()
	switch {
	case p.control || p.to != p.lock.source || p.length == 0 || !p.lock.settled(now):
		p.disconnect()
	case !p.connected:
		p.connected = connect(p.fd, &p.name, p.length) == 0
	}
}

func (p *port) disconnect() {
	if p.connected {
		var unspecified sockaddr // AF_UNSPEC takes a connection back (connect(2))
		_ = connect(p.fd, &unspecified, len(unspecified))
		p.connected = false
	}
}

// errNowhere: the agent gave no address that can be sent to, and nothing came from it yet.
const errNowhere = unix.EDESTADDRREQ
