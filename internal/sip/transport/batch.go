package transport

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// arenaSize holds what waits to be sent: a full batch of usual messages, or one of the largest.
const arenaSize = 128 << 10

// maxDatagram is what IPv4 can carry in UDP.
const maxDatagram = 65507

// Batch collects what one goroutine sends, so that one system call sends many datagrams. Everything is copied: what
// Send was given is the caller's again. Nothing is promised to leave before Flush.
type Batch struct {
	// Failed is told during Flush what could not be sent, once for each message; nil if nobody asks. A flow that failed
	// may work the next time: only Handler.Closed ends one.
	Failed func(f Flow, err error)

	t       *Transport
	sent    counter // of datagrams
	arena   []byte
	lanes   []*lane
	streams []*stream // with bytes to flush
	failed  []failure
}

type failure struct {
	flow Flow
	err  error
}

// NewBatch makes a Batch; one for each goroutine that sends.
func (t *Transport) NewBatch() *Batch {
	return &Batch{t: t, sent: sentUDP, arena: make([]byte, 0, arenaSize)}
}

// Connected is the Transport's.
func (b *Batch) Connected(f Flow) bool { return b.t.Connected(f) }

// Send queues one message for a flow.
func (b *Batch) Send(f Flow, m []byte) {
	if b.t.tracing {
		b.t.trace("sent", f, m)
	}
	switch f.Proto {
	case UDP:
		b.sendUDP(f, m)
	case Link:
		if b.t.link == nil {
			b.fail(f, sendNoPath, ErrClosed)
			return
		}
		b.t.link.send(f, m)
	default:
		b.sendStream(f, m)
	}
}

// Flush sends what was queued and tells Failed what was not.
func (b *Batch) Flush() {
	b.flushUDP()
	for i, s := range b.streams {
		s.flush()
		b.streams[i] = nil
	}
	b.streams = b.streams[:0]
	if len(b.failed) == 0 {
		return
	}
	failed := b.failed
	b.failed = nil // Failed may send, and that may fail
	if b.Failed != nil {
		for _, f := range failed {
			b.Failed(f.flow, f.err)
		}
	}
}

func (b *Batch) fail(f Flow, reason counter, err error) {
	b.t.counters.add(reason, 1)
	if b.Failed != nil {
		b.failed = append(b.failed, failure{f, err})
	}
}

func (b *Batch) sendStream(f Flow, m []byte) {
	s := b.t.streams.find(f)
	if s == nil {
		b.fail(f, sendNoPath, ErrClosed)
		return
	}
	if err := s.queue(m); err != nil {
		b.fail(f, sendFailed, err)
		return
	}
	b.t.counters.add(sentTCP, 1)
	for _, other := range b.streams {
		if other == s {
			return
		}
	}
	if len(b.streams) >= batchSize { // keeps the search above short
		s.flush()
		return
	}
	b.streams = append(b.streams, s)
}

func (b *Batch) sendUDP(f Flow, m []byte) {
	l := b.lane(f.Local)
	if l == nil || l.s.v4 != f.Remote.Addr().Is4() {
		b.fail(f, sendNoPath, ErrClosed)
		return
	}
	if len(m) > maxDatagram {
		b.fail(f, sendTooLarge, unix.EMSGSIZE)
		return
	}
	if len(b.arena)+len(m) > cap(b.arena) {
		b.flushUDP()
	}
	if l.n == batchSize {
		l.flush()
	}
	start := len(b.arena)
	b.arena = append(b.arena, m...)
	l.add(f, b.arena[start:])
}

func (b *Batch) flushUDP() {
	for _, l := range b.lanes {
		if l.n > 0 {
			l.flush()
		}
	}
	b.arena = b.arena[:0]
}

// lane finds the socket that a local address belongs to. There are a handful: walking them is faster than any map.
func (b *Batch) lane(local netip.AddrPort) *lane {
	for _, l := range b.lanes {
		if l.s.owns(local) {
			return l
		}
	}
	for _, s := range b.t.sockets {
		if s.owns(local) {
			l := newLane(b, s)
			b.lanes = append(b.lanes, l)
			return l
		}
	}
	return nil
}

func (s *socket) owns(local netip.AddrPort) bool {
	return s.addr.Port() == local.Port() && (s.wildcard && s.v4 == local.Addr().Is4() || s.addr.Addr() == local.Addr())
}

// lane is what waits for one socket.
type lane struct {
	b *Batch
	s *socket
	n int

	hdrs     [batchSize]mmsghdr
	iovs     [batchSize]unix.Iovec
	names    [batchSize]sockaddr
	controls [batchSize]control
	send     func(fd uintptr) // made once: a closure for each flush would be garbage
}

func newLane(b *Batch, s *socket) *lane {
	l := &lane{b: b, s: s}
	l.send = l.sendAll
	for i := range l.hdrs {
		h := &l.hdrs[i].hdr
		h.Name = &l.names[i][0]
		h.Namelen = unix.SizeofSockaddrInet6
		h.Iov = &l.iovs[i]
		h.SetIovlen(1)
		if s.v4 {
			h.Namelen = unix.SizeofSockaddrInet4
		}
		if s.wildcard {
			h.Control = l.controls[i].pointer()
			l.controls[i].init(s.v4)
			if s.v4 {
				h.SetControllen(control4)
			} else {
				h.SetControllen(control6)
			}
		}
	}
	return l
}

// add takes a message that lies in the batch's arena.
func (l *lane) add(f Flow, m []byte) {
	i := l.n
	l.n++
	l.iovs[i].SetLen(len(m))
	l.iovs[i].Base = nil
	if len(m) > 0 {
		l.iovs[i].Base = &m[0]
	}
	if l.s.v4 {
		l.names[i].put4(f.Remote)
	} else {
		l.names[i].put6(f.Remote)
	}
	if l.s.wildcard { // the answer leaves from the address that was asked
		if l.s.v4 {
			l.controls[i].put4(f.Local.Addr())
		} else {
			l.controls[i].put6(f.Local.Addr())
		}
	}
}

// flow is the one that datagram i was added for.
func (l *lane) flow(i int) Flow {
	f := Flow{Proto: UDP, Local: l.s.addr}
	if l.s.v4 {
		f.Remote = l.names[i].addr4()
	} else {
		f.Remote = l.names[i].addr6()
	}
	if l.s.wildcard {
		if a, ok := l.controls[i].local(l.s.v4); ok {
			f.Local = netip.AddrPortFrom(a, l.s.addr.Port())
		}
	}
	return f
}

// flush sends what waits. Control and not Write: Write would let one shard at a time into the socket.
func (l *lane) flush() {
	if err := l.s.raw.Control(l.send); err != nil {
		for i := range l.n {
			l.b.fail(l.flow(i), sendNoPath, ErrClosed)
		}
	}
	l.n = 0
}

// sendAll sends every datagram or counts why not. sendmmsg tells an error only of the first of its datagrams: that one
// is skipped, the others go on.
func (l *lane) sendAll(fd uintptr) {
	sent := 0
	blocked := false
	for i := 0; i < l.n; {
		n, errno := sendmmsg(fd, l.hdrs[i:l.n])
		if errno == 0 && n > 0 {
			sent += n
			i += n
			blocked = false
			continue
		}
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN && !blocked:
			// The socket's buffer is full: a network that is slower than we are. A moment's wait, once.
			waitWritable(fd)
			blocked = true
			continue
		}
		l.b.fail(l.flow(i), sendReason(errno), errno)
		i++
	}
	l.b.t.counters.add(l.b.sent, sent)
}

func sendReason(errno syscall.Errno) counter {
	switch errno {
	case unix.EAGAIN, unix.ENOBUFS:
		return sendBlocked
	case unix.ECONNREFUSED, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN:
		return sendUnreachable
	case unix.EMSGSIZE:
		return sendTooLarge
	}
	return sendFailed
}
