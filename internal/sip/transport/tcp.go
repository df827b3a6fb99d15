package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout ends a connection whose peer has confirmed nothing for so long: an agent that lost its network would
// otherwise look connected for a quarter of an hour.
const userTimeout = 30 * time.Second

// dialTimeout is shorter than timer B (RFC 3261 17.1.1.2), so that a dead next hop leaves time for another.
const dialTimeout = 8 * time.Second

// keepAlive finds peers that went away without a word, and keeps NATs open.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// acceptor is one TCP listener.
type acceptor struct {
	t        *Transport
	listener net.Listener
	addr     netip.AddrPort
}

// ListenTCP binds one address, such as "0.0.0.0:5060" or "[::]:5060"; these two are separate sockets. Before Run.
func (t *Transport) ListenTCP(addr string) error {
	if t.started.Load() {
		return errStarted
	}
	network, a, err := listenAddr(TCP, addr)
	if err != nil {
		return err
	}
	lc := net.ListenConfig{Control: setUserTimeout, KeepAliveConfig: keepAlive}
	l, err := lc.Listen(context.Background(), network, a.String()) // tcp6 means IPV6_V6ONLY
	if err != nil {
		return listenError(TCP, addr, err)
	}
	t.acceptors = append(t.acceptors, &acceptor{t: t, listener: l, addr: addrPort(l.Addr())})
	t.listeners = append(t.listeners, Listener{TCP, addrPort(l.Addr())})
	return nil
}

func setUserTimeout(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}

// accept takes connections until the listener is closed.
func (a *acceptor) accept(ctx context.Context) error {
	const longestPause = time.Second
	pause := time.Duration(0)
	for {
		conn, err := a.listener.Accept()
		if err == nil {
			pause = 0
			a.t.accepted(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return err // by Close
		}
		// Out of descriptors or memory: what is connected goes on, and the next may be luckier.
		a.t.counters.add(acceptFailed, 1)
		pause = min(max(2*pause, 5*time.Millisecond), longestPause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// accepted serves a connection, if the limits allow it. One that is refused gets no word: whoever floods us does not
// read it.
func (t *Transport) accepted(conn net.Conn) {
	source := t.limited(addrPort(conn.RemoteAddr()).Addr())
	if reason, ok := t.streams.admit(source, &t.config); !ok {
		t.counters.add(reason, 1)
		abort(conn)
		return
	}
	s := newStream(t, TCP, conn, source)
	if !t.serve(s) {
		s.conn.Close()
	}
}

// limited is what a source is counted under: an IPv4 address or an IPv6 /64, which is what one site has. The zero
// address is not limited.
func (t *Transport) limited(a netip.Addr) netip.Addr {
	for _, p := range t.config.Trusted {
		if p.Contains(a) {
			return netip.Addr{}
		}
	}
	if a.Is4() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}

// abort ends a connection without leaving anything of it in the kernel.
func abort(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	conn.Close()
}

// Dial gives the flow of a connection to an address: one that exists, or a new one. It waits for the connection, so it
// is not for a shard's goroutine. Callers that ask for the same address at a time share one attempt.
func (t *Transport) Dial(ctx context.Context, proto Proto, addr netip.AddrPort) (Flow, error) {
	if proto != TCP {
		return Flow{}, fmt.Errorf("%s cannot be dialled", proto)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	// Not with this caller's patience: others may come to wait for the same connection.
	attemptCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTimeout)
	s, a, mine := t.streams.dial(addr, cancel)
	if !mine {
		cancel()
	}
	if s != nil {
		return s.flow, nil
	}
	if mine {
		try := func() {
			a.flow, a.err = t.dialTCP(attemptCtx, addr)
			cancel()
			t.streams.dialled(addr, a)
		}
		if !t.tasks.start(try) {
			try() // Run is over and has cancelled the attempt
		}
	}
	select {
	case <-a.done:
		return a.flow, a.err
	case <-ctx.Done():
		return Flow{}, fmt.Errorf("tcp %s: %w", addr, ctx.Err())
	}
}

func (t *Transport) dialTCP(ctx context.Context, addr netip.AddrPort) (Flow, error) {
	if reason, ok := t.streams.admit(netip.Addr{}, &t.config); !ok {
		t.counters.add(reason, 1)
		return Flow{}, fmt.Errorf("tcp %s: too many connections", addr)
	}
	d := net.Dialer{Control: setUserTimeout, KeepAliveConfig: keepAlive}
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		t.streams.leave(netip.Addr{})
		return Flow{}, fmt.Errorf("tcp %s: %w", addr, err)
	}
	s := newStream(t, TCP, conn, netip.Addr{})
	s.used = true // we know whom we asked
	if !t.serve(s) {
		s.conn.Close()
		return Flow{}, fmt.Errorf("tcp %s: %w", addr, ErrClosed)
	}
	return s.flow, nil
}

// serve registers a stream and starts its reader.
func (t *Transport) serve(s *stream) bool {
	if t.ending.Load() || !t.streams.add(s) {
		t.streams.leave(s.source)
		return false
	}
	if !t.tasks.start(s.read) {
		t.streams.remove(s)
		return false
	}
	return true
}
