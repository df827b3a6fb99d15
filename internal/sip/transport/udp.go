package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"liaison/internal/stun"
)

// batchSize is how many datagrams one system call takes at most.
const batchSize = 32

// socketBuffer is asked of the kernel in each direction: room for a storm of some thousand messages.
const socketBuffer = 4 << 20

// socket is one UDP listener with its reader.
type socket struct {
	t        *Transport
	conn     *net.UDPConn
	raw      syscall.RawConn
	addr     netip.AddrPort
	v4       bool
	wildcard bool // the local address is learnt and set per datagram
	onlySTUN bool

	in     inbox
	batch  []*Packet
	out    *Batch // for refusals
	stun   *Batch // for answers of the STUN server
	answer []byte // the one that is being written
	err    error  // why read ended
}

// inbox is where recvmmsg writes: a slot of the largest datagram each, of which only the pages that were ever needed
// take memory.
type inbox struct {
	hdrs     [batchSize]mmsghdr
	iovs     [batchSize]unix.Iovec
	names    [batchSize]sockaddr
	controls [batchSize]control
	slots    []byte
}

const slotSize = 64 << 10

// ListenUDP binds one address, such as "0.0.0.0:5060" or "[::]:5060"; these two are separate sockets. Before Run.
func (t *Transport) ListenUDP(addr string) error {
	if t.started.Load() {
		return errStarted
	}
	network, a, err := listenAddr(UDP, addr)
	if err != nil {
		return err
	}
	s, err := t.bindUDP(network, a)
	if err != nil {
		return listenError(UDP, addr, err)
	}
	t.listeners = append(t.listeners, Listener{UDP, s.addr})
	return nil
}

// bindUDP makes a socket that Run reads.
func (t *Transport) bindUDP(network string, a netip.AddrPort) (*socket, error) {
	s := &socket{t: t, v4: a.Addr().Is4(), wildcard: a.Addr().IsUnspecified()}
	var lc net.ListenConfig
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = s.setOptions(int(fd)) }); e != nil {
			return e
		}
		return err
	}
	conn, err := lc.ListenPacket(context.Background(), network, a.String())
	if err != nil {
		return nil, err
	}
	s.conn = conn.(*net.UDPConn)
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		s.conn.Close()
		return nil, err
	}
	s.addr = addrPort(s.conn.LocalAddr())
	t.sockets = append(t.sockets, s)
	return s, nil
}

func (s *socket) setOptions(fd int) error {
	// A refused buffer size is no reason not to serve: the kernel gives what its limits allow.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	}
	// Package net allows broadcasts; no message of ours goes to one, whatever a Contact says.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 0); err != nil {
		return fmt.Errorf("SO_BROADCAST: %w", err)
	}
	if !s.v4 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("IPV6_V6ONLY: %w", err)
		}
	}
	switch {
	case !s.wildcard: // the address is the socket's own
	case s.v4:
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
			return fmt.Errorf("IP_PKTINFO: %w", err)
		}
	default:
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return fmt.Errorf("IPV6_RECVPKTINFO: %w", err)
		}
	}
	return nil
}

// read serves the socket until it is closed. The whole life is one RawConn.Read: receive reads until the kernel has no
// more, and returning false waits for the poller.
func (s *socket) read() error {
	s.init()
	err := s.raw.Read(s.receive)
	if s.err != nil {
		err = s.err
	}
	if s.t.ending.Load() {
		return nil
	}
	return fmt.Errorf("udp %s: %w", s.addr, err)
}

// init makes what the reader needs.
func (s *socket) init() {
	s.in.init(s)
	s.batch = make([]*Packet, 0, batchSize)
	s.out = s.t.NewBatch()
	s.stun = newSTUNBatch(s)
	s.answer = make([]byte, 0, stun.MaxAnswer)
}

func (in *inbox) init(s *socket) {
	in.slots = make([]byte, batchSize*slotSize)
	for i := range in.hdrs {
		in.iovs[i].Base = &in.slots[i*slotSize]
		in.iovs[i].SetLen(slotSize)
		h := &in.hdrs[i].hdr
		h.Name = &in.names[i][0]
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		if s.wildcard {
			h.Control = in.controls[i].pointer()
		}
		in.reset(i, s.wildcard)
	}
}

// reset makes a header ready for the next call: the kernel has written lengths into it.
func (in *inbox) reset(i int, wildcard bool) {
	h := &in.hdrs[i].hdr
	h.Namelen = uint32(len(in.names[i]))
	if wildcard {
		h.SetControllen(control6)
	}
}

// receive reads what there is. It returns false to wait: rightly after a batch that was not full, without asking the
// kernel once more, because the poller is edge-triggered and every datagram that comes after the call is an edge.
func (s *socket) receive(fd uintptr) (done bool) {
	for {
		n, errno := recvmmsg(fd, s.in.hdrs[:])
		switch errno {
		case 0:
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			continue
		default:
			s.err = errno
			return true
		}
		s.serve(n)
		if n < batchSize {
			return false
		}
		if s.t.ending.Load() {
			return true
		}
		// Let the shards serve what they got before reading on: what they have no time for waits in the kernel's buffer.
		runtime.Gosched()
	}
}

// serve sorts n datagrams, copies the SIP among them into packets of their size, parses and hands it on.
func (s *socket) serve(n int) {
	in, pool := &s.in, &s.t.pool
	var slots [batchSize]uint8
	messages := slots[:0]
	for i := range n {
		if s.isSIP(i, in.datagram(i)) {
			messages = append(messages, uint8(i))
		}
	}
	s.stun.Flush()

	s.batch = s.batch[:0]
	pool.mu.Lock() // one lock for the batch
	for _, i := range messages {
		length := int(in.hdrs[i].n)
		p := pool.takeLocked(length)
		if p == nil {
			s.t.counters.add(dropNoBuffer, 1)
			continue
		}
		p.length, p.slot = length, i
		s.batch = append(s.batch, p)
	}
	pool.mu.Unlock()

	parsed := s.batch[:0]
	for _, p := range s.batch {
		i := int(p.slot)
		copy(p.buf, in.datagram(i))
		p.Flow = s.flow(i)
		if s.accept(p) {
			parsed = append(parsed, p)
		}
	}
	for i := range n {
		in.reset(i, s.wildcard)
	}
	if len(parsed) > 0 {
		s.t.counters.add(receivedUDP, len(parsed))
		s.t.handler.Receive(parsed)
	}
	s.out.Flush()
}

// datagram is what was received into slot i.
func (in *inbox) datagram(i int) []byte { return in.slots[i*slotSize:][:in.hdrs[i].n] }

// isSIP tells by the first byte whether a datagram is SIP (RFC 7983 7); everything else ends here.
func (s *socket) isSIP(i int, m []byte) bool {
	c := &s.t.counters
	if len(m) == 0 {
		c.add(dropEmpty, 1)
		return false
	}
	switch first := m[0]; {
	case first <= 3:
		s.answerSTUN(i, m)
		return false
	case s.onlySTUN:
		c.add(dropNotSTUN, 1)
		return false
	case first == '\r' || first == '\n':
		if onlyLineBreaks(m) { // RFC 5626 3.5.1 is for streams: on UDP a keep-alive gets no answer and leaves nothing
			c.add(keepAliveUDP, 1)
			return false
		}
	case first <= ' ' || first >= 0x7f:
		c.add(dropNotSIP, 1)
		return false
	}
	if s.in.hdrs[i].hdr.Flags&unix.MSG_TRUNC != 0 {
		c.add(dropTruncated, 1)
		return false
	}
	return true
}

func onlyLineBreaks(b []byte) bool {
	for _, c := range b {
		if c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// flow is where datagram i came from and which address it came to.
func (s *socket) flow(i int) Flow {
	f := Flow{Proto: UDP, Local: s.addr}
	if s.v4 {
		f.Remote = s.in.names[i].addr4()
	} else {
		f.Remote = s.in.names[i].addr6()
	}
	if s.wildcard {
		if a, ok := s.in.controls[i].local(s.v4); ok {
			f.Local = netip.AddrPortFrom(a, s.addr.Port())
		}
	}
	return f
}

// accept parses a packet. What does not parse is refused where that can be, and is gone.
func (s *socket) accept(p *Packet) bool {
	if p.Flow.Remote.Port() == 0 { // nobody can be answered there
		s.t.counters.add(dropSourcePort, 1)
		p.Release()
		return false
	}
	err := s.t.parse(p)
	if err == nil {
		return true
	}
	if b := s.t.refusal(p, err); b != nil {
		s.out.Send(p.Flow, b)
	}
	p.Release()
	return false
}

// kernelDrops is how many datagrams found the socket's buffer full.
func (s *socket) kernelDrops() (n uint32) {
	_ = s.raw.Control(func(fd uintptr) { n = socketDrops(fd) })
	return n
}

// UDPFlow is the flow to an address that nothing came from yet: from our first UDP listener of its family, with the
// local address that the route to it has. It costs a few system calls.
func (t *Transport) UDPFlow(remote netip.AddrPort) (Flow, bool) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	for _, s := range t.sockets {
		if s.onlySTUN || s.v4 != remote.Addr().Is4() {
			continue
		}
		local := s.addr
		if s.wildcard {
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote)) // sends nothing; asks for the route
			if err != nil {
				return Flow{}, false
			}
			local = netip.AddrPortFrom(addrPort(conn.LocalAddr()).Addr(), s.addr.Port())
			conn.Close()
		}
		return Flow{Proto: UDP, Local: local, Remote: remote}, true
	}
	return Flow{}, false
}
