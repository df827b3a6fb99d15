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

	lock lock
	mark uint8   // DSCP that the socket sends with
	left int     // packets that may still be taken in this second
	news verdict // learned or moved, and not told yet; else passed

	// Where packets go that leave from here, as it was when the address in name was written.
	to     netip.AddrPort
	name   sockaddr
	length int
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
	b, from, mark, errno := w.in.receive(p.fd)
	if errno != 0 {
		if errno != unix.EAGAIN {
			w.counters.add(errorReceive, 1)
		}
		return
	}
	if p.left--; p.left < 0 {
		w.counters.add(dropFlood, 1)
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
	p.end.meter.add(p, h, b, now)

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
	to := p.lock.destination()
	if to != p.to {
		p.to = to
		p.length = 0
		if to.IsValid() && to.Addr().Is4() == p.end.leg.v4() {
			p.length = p.name.set(to)
		}
	}
	if p.length == 0 {
		return errNowhere
	}
	if mark != p.mark {
		p.mark = mark
		setMark(p.fd, !p.end.leg.v4(), mark)
	}
	return send(p.fd, b, &p.name, p.length)
}

// errNowhere: the agent gave no address that can be sent to, and nothing came from it yet.
const errNowhere = unix.EDESTADDRREQ
