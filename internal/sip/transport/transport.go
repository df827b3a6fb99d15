// Package transport moves SIP messages between sockets and whoever handles them (RFC 3261 18): UDP in batches, TCP by
// connection, and pairs of stacks inside the process. It knows the flow of every message, parses it where it was read,
// and answers by itself only what cannot be parsed, and STUN.
package transport

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"liaison/internal/stun"
)

// Handler takes what was received. Its methods are called on the readers' goroutines and must not wait for anything.
type Handler interface {
	// Receive takes over the packets; the slice itself is the transport's again when Receive returns.
	Receive(batch []*Packet)
	// Closed says that a connection has ended, after its last packet. It is not called for those that the end of Run
	// closes.
	Closed(f Flow, err error)
}

// Config is what a Transport is made of. Zero fields get the default behind them.
type Config struct {
	Handler  Handler // may come later: see Handle
	Logger   *slog.Logger
	Announce []netip.Addr // what Via and Record-Route say when it is not the bound address: see Announced

	PacketMemory int // bytes of packets that may be under way at a time: 64 MB

	// Limits of connections. An attacker finds their end long before an honest site does.
	MaxConnections          int            // 10000
	MaxConnectionsPerSource int            // 100; a source is an IPv4 address or an IPv6 /64
	Trusted                 []netip.Prefix // sources without a limit of their own
	MessageTimeout          time.Duration  // from the first byte of a message to its last: 10 s
	UnusedTimeout           time.Duration  // for a connection that never brought a valid message: 30 s
	IdleTimeout             time.Duration  // for one that did: 1 h
	WriteTimeout            time.Duration  // how long a peer may take nothing: 10 s
	WriteQueue              int            // bytes that may wait for a peer that takes them slowly: 256 kB
}

func (c *Config) setDefaults() {
	c.PacketMemory = positive(c.PacketMemory, 64<<20)
	c.MaxConnections = positive(c.MaxConnections, 10000)
	c.MaxConnectionsPerSource = positive(c.MaxConnectionsPerSource, 100)
	c.MessageTimeout = positive(c.MessageTimeout, 10*time.Second)
	c.UnusedTimeout = positive(c.UnusedTimeout, 30*time.Second)
	c.IdleTimeout = positive(c.IdleTimeout, time.Hour)
	c.WriteTimeout = positive(c.WriteTimeout, 10*time.Second)
	c.WriteQueue = positive(c.WriteQueue, 256<<10)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// Listener is a bound address with its real port.
type Listener struct {
	Proto Proto
	Addr  netip.AddrPort
}

// Transport owns sockets and connections. Order: New, Listen..., Handle, Run.
type Transport struct {
	config  Config
	handler Handler
	log     *slog.Logger
	tracing bool // the log wants whole messages
	pool    pool

	// Written before Run only, so that nothing on the way of a packet needs a lock for them.
	listeners []Listener
	sockets   []*socket
	stun      *stun.Server // nil: STUN is dropped
	acceptors []*acceptor
	link      *link

	streams  streams
	counters counters
	descs    map[string]*prometheus.Desc
	seed     maphash.Seed // of refusals' tags
	panicked atomic.Int64 // minute of the last panic that was logged

	started atomic.Bool
	ending  atomic.Bool
	tasks   tasks
}

// New makes a Transport without sockets.
func New(c Config) *Transport {
	c.setDefaults()
	t := &Transport{
		config: c, handler: c.Handler, log: c.Logger, descs: newDescs(), seed: maphash.MakeSeed(),
		pool: pool{limit: c.PacketMemory},
	}
	t.streams.init()
	t.tracing = t.log.Enabled(context.Background(), levelTrace)
	return t
}

// Handle sets the Handler, for one that is made after the Transport because it sends through it. Before Run.
func (t *Transport) Handle(h Handler) { t.handler = h }

// Listeners are the bound addresses with their real ports, in the order of the Listen calls.
func (t *Transport) Listeners() []Listener { return t.listeners }

var errStarted = errors.New("transport: listen before Run")

// ErrClosed is the error of a flow whose connection has gone.
var ErrClosed = errors.New("connection closed")

// Run receives until ctx ends or a socket fails, and returns when everything has ended that it or Dial started. It
// closes all sockets; a Transport runs once.
func (t *Transport) Run(ctx context.Context) error {
	if t.started.Swap(true) {
		return errors.New("transport: Run was called twice")
	}
	if t.handler == nil {
		return errors.New("transport: no Handler")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, s := range t.sockets {
		t.tasks.start(func() { cancel(s.read()) })
	}
	for _, a := range t.acceptors {
		t.tasks.start(func() { cancel(a.accept(ctx)) })
	}
	if t.link != nil {
		t.tasks.start(func() { t.link.deliver(ctx) })
	}
	t.tasks.start(func() { t.summarise(ctx) })

	<-ctx.Done()
	t.Close()
	t.tasks.end()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Close closes all sockets and connections: for a Transport that never gets to Run, because something else failed to
// start. Run does it by itself.
func (t *Transport) Close() {
	t.ending.Store(true)
	for _, s := range t.sockets {
		s.conn.Close()
	}
	for _, a := range t.acceptors {
		a.listener.Close()
	}
	t.streams.closeAll()
}

// listenAddr reads "0.0.0.0:5060" and names the network for package net: one family each, so that 0.0.0.0 and [::] are
// two sockets.
func listenAddr(proto Proto, addr string) (network string, a netip.AddrPort, err error) {
	a, err = netip.ParseAddrPort(addr)
	if err != nil {
		return "", a, fmt.Errorf("%s %q is not an address with a port, such as 0.0.0.0:5060: change sip.%[1]s", proto.Param(), addr)
	}
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if a.Addr().Is4() {
		return proto.Param() + "4", a, nil
	}
	return proto.Param() + "6", a, nil
}

// listenError says what to do about an address that cannot be bound.
func listenError(proto Proto, addr string, err error) error {
	name := proto.Param()
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%s %s is taken by another program: stop it or change sip.%[1]s", name, addr)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s is not an address of this machine: change sip.%[1]s", name, addr)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s %s needs a privilege that the service does not have: take a port from 1024 on in sip.%[1]s", name, addr)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%s %s: this machine has no IPv6: change sip.%[1]s", name, addr)
	}
	return fmt.Errorf("%s %s cannot be bound: %w", name, addr, err)
}

// addrPort of a net.Addr, IPv4 as IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// tasks are the goroutines that Run waits for.
type tasks struct {
	mu    sync.Mutex
	ended bool
	wg    sync.WaitGroup
}

// start runs fn; not if Run is about to end.
func (t *tasks) start(fn func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	t.wg.Go(fn)
	return true
}

func (t *tasks) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.wg.Wait()
}
