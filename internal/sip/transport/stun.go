package transport

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"liaison/internal/stun"
)

// AnswerSTUN has s answer on the ports for SIP over UDP too, where agents keep their flow open and learn of its end by
// STUN (RFC 5626 4.4.2). Before Run.
func (t *Transport) AnswerSTUN(s *stun.Server) { t.stun = s }

// ListenSTUN binds one address that answers nothing but STUN, such as "0.0.0.0:3478". Before Run.
func (t *Transport) ListenSTUN(addr string) error {
	if t.started.Load() {
		return errStarted
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address with a port, such as 0.0.0.0:3478: change stun.listen", addr)
	}
	network := "udp6"
	if a.Addr().Is4() {
		network = "udp4"
	}
	s, err := t.bindUDP(network, a)
	if err != nil {
		return listenSTUNError(a, err)
	}
	s.onlySTUN = true
	return nil
}

// STUNAddrs are the addresses that answer nothing but STUN, with their real ports, in the order in which they were
// bound.
func (t *Transport) STUNAddrs() (addrs []netip.AddrPort) {
	for _, s := range t.sockets {
		if s.onlySTUN {
			addrs = append(addrs, s.addr)
		}
	}
	return addrs
}

// listenSTUNError says what to do about an address that cannot be bound.
func listenSTUNError(a netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("udp %v is taken by another program, perhaps another STUN server: stop it or change stun.listen", a)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("udp %v is not an address of this machine: change stun.listen or stun.alternate", a)
	}
	return fmt.Errorf("udp %v cannot be bound for STUN: %w", a, err)
}

// newSTUNBatch sends a socket's answers. They are counted apart from SIP, and short.
func newSTUNBatch(s *socket) *Batch {
	b := &Batch{t: s.t, sent: answeredSIPPort, arena: make([]byte, 0, batchSize*stun.MaxAnswer)}
	if s.onlySTUN {
		b.sent = answeredSTUN
	}
	return b
}

// answerSTUN answers datagram i from its slot, before anything is copied. An answer may leave from another socket than
// the one that was asked (RFC 5780 6.1).
func (s *socket) answerSTUN(i int, m []byte) {
	if s.t.stun == nil {
		s.t.counters.add(dropSTUN, 1)
		return
	}
	f := s.flow(i)
	answer, from, ok := s.t.stun.Answer(s.answer[:0], m, f.Remote, f.Local)
	if ok {
		s.stun.Send(Flow{Proto: UDP, Local: from, Remote: f.Remote}, answer)
	}
}
