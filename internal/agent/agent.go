package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// Answering is what an agent does with a call that comes in.
type Answering uint8

const (
	Programme Answering = iota // answers and plays the programme
	Echo                       // answers and sends back what it gets
	Busy                       // refuses with 486
	Ring                       // rings and never answers
)

// ParseAnswering reads the words of the command line.
func ParseAnswering(s string) (Answering, error) {
	for a, name := range []string{"programme", "echo", "busy", "ring"} {
		if s == name {
			return Answering(a), nil
		}
	}
	return 0, fmt.Errorf("answer %q is not known: use programme, echo, busy or ring", s)
}

// Config is what an Agent is made of.
type Config struct {
	Logger  *slog.Logger
	Product string // what User-Agent says

	Number   string // the account, and the user name of its password
	Password string
	Domain   string // empty: the host of Server

	// An agent of its own has a server; one that lives beside the service has a Transport that is linked to it
	// (transport.Join) and no server: it does not register, and answers what it is given.
	Server    string          // "host:port" or "host"
	Proto     transport.Proto // UDP or TCP
	Transport *transport.Transport

	Recordings *Recordings
	Codecs     []Codec       // in order of preference; nil: all
	Ptime      time.Duration // to ask for in offers; 0: none
	Ports      Ports
	Learning   Learning

	Answering Answering
	Callers   int           // at a time, then 486; 0: no limit
	Longest   time.Duration // then the agent hangs up; 0: never
}

// Agent is a user agent with its own signalling stack. Make it with New, start it with Run; the other methods
// work while Run does.
type Agent struct {
	config    Config
	log       *slog.Logger
	transport *transport.Transport
	layer     *transaction.Layer
	shard     *transaction.Shard // the only one; all below belongs to it
	remote    netip.AddrPort     // of the server
	instance  string             // +sip.instance: the same for this account on this machine

	flow     transport.Flow // to the server; zero: none
	auth     [2]credentials // for a registrar, for a proxy
	calls    map[string]*call
	binding  *registration
	stopping bool
	kept     bool // keepFlow runs

	tasks sync.WaitGroup // audio of the calls, and what waits for the network
	ended chan struct{}  // closed when the shard runs no more
}

// New makes an agent. It resolves the server's name and binds a port, so that what cannot work fails here.
func New(ctx context.Context, c Config) (*Agent, error) {
	if c.Codecs == nil {
		c.Codecs = Codecs()
	}
	a := &Agent{config: c, log: c.Logger, transport: c.Transport, calls: map[string]*call{}, ended: make(chan struct{})}
	if a.transport == nil {
		if err := a.listen(ctx); err != nil {
			return nil, err
		}
	}
	host, _ := os.Hostname()
	sum := sha256.Sum256([]byte(host + "\x00" + c.Number + "\x00" + c.Server))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // RFC 9562 5.8: a UUID of our own making
	x := hex.EncodeToString(sum[:16])
	a.instance = fmt.Sprintf("<urn:uuid:%s-%s-%s-%s-%s>", x[:8], x[8:12], x[12:16], x[16:20], x[20:])

	a.layer = transaction.New(transaction.Config{
		Shards: 1,
		Sender: func() transaction.Sender { return a.transport.NewBatch() },
		User:   func(s *transaction.Shard) transaction.User { a.shard = s; return (*user)(a) },
		Logger: c.Logger,
	})
	a.transport.Handle(a.layer)
	return a, nil
}

// listen makes the sockets of an agent that has a server.
func (a *Agent) listen(ctx context.Context) error {
	host, port, err := net.SplitHostPort(a.config.Server)
	if err != nil {
		host, port = a.config.Server, "5060"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return fmt.Errorf("server %q: %q is not a port", a.config.Server, port)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return fmt.Errorf("server %q: no address is known for this name: %w", host, cmp.Or(err, errors.New("empty answer")))
	}
	addr := addrs[0].Unmap()
	for _, other := range addrs { // IPv4 first: codecs and firewalls are at home there
		if other.Unmap().Is4() {
			addr = other.Unmap()
			break
		}
	}
	a.remote = netip.AddrPortFrom(addr, uint16(number))
	a.config.Domain = cmp.Or(a.config.Domain, host)
	a.config.Proto = cmp.Or(a.config.Proto, transport.UDP)

	a.transport = transport.New(transport.Config{Logger: a.log})
	if a.config.Proto == transport.UDP {
		any := netip.IPv4Unspecified()
		if addr.Is6() {
			any = netip.IPv6Unspecified()
		}
		return a.transport.ListenUDP(netip.AddrPortFrom(any, 0).String())
	}
	return nil
}

// errStopped: Run has ended, or is about to.
var errStopped = errors.New("the agent stops")

// farewell is how long the agent waits for the answers to its last words.
const farewell = 2 * time.Second

// Run serves until ctx ends; then it hangs up all calls, takes back its registration, and returns when all that
// it started has ended.
func (a *Agent) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var stack sync.WaitGroup
	var failed error
	stack.Go(func() {
		if err := a.transport.Run(inner); err != nil {
			failed = err
			cancel()
		}
	})
	stack.Go(func() { a.layer.Run(inner) })

	select {
	case <-ctx.Done():
	case <-inner.Done():
	}
	gone := make(chan struct{})
	a.shard.Post(func() { a.stop(func() { close(gone) }) })
	select {
	case <-gone:
	case <-time.After(farewell):
	case <-inner.Done():
	}
	cancel()
	stack.Wait()
	for _, c := range a.calls { // the shard runs no more, so they are ours
		c.silence()
	}
	close(a.ended)
	a.tasks.Wait()
	return failed
}

// stop ends everything and runs done when every answer has come.
func (a *Agent) stop(done func()) {
	a.stopping = true
	waiting := 1
	one := func() {
		if waiting--; waiting == 0 {
			done()
		}
	}
	for _, c := range a.calls {
		waiting++
		c.whenEnded = append(c.whenEnded, one)
		c.hangUp("")
	}
	if a.binding != nil {
		waiting++
		a.binding.remove(one)
	}
	one()
}

// dialTimeout is how long a server may take to accept a connection.
const dialTimeout = 10 * time.Second

// reach makes the flow to the server and runs then in the shard.
func (a *Agent) reach(then func(error)) {
	if a.flow.Proto != 0 && a.transport.Connected(a.flow) {
		then(nil)
		return
	}
	// Dialling and asking for the route wait for the kernel or the network, so not in the shard.
	a.tasks.Go(func() {
		var f transport.Flow
		var err error
		if a.config.Proto == transport.TCP {
			ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
			defer cancel()
			f, err = a.transport.Dial(ctx, transport.TCP, a.remote)
		} else {
			var ok bool
			if f, ok = a.transport.UDPFlow(a.remote); !ok {
				err = errors.New("there is no route to it")
			}
		}
		if err != nil {
			err = fmt.Errorf("server %s over %s: %w", a.remote, a.config.Proto.Param(), err)
		}
		a.shard.Post(func() {
			if err == nil {
				a.flow = f
				if !a.kept {
					a.kept = true
					a.shard.After(keepAlive, a.keepFlow)
				}
			}
			then(err)
		})
	})
}

// keepAlive is how often an agent shows itself on its flow, so that no NAT forgets it (RFC 5626 4.4).
const keepAlive = 25 * time.Second

func (a *Agent) keepFlow() {
	if a.flow.Proto != 0 && a.transport.Connected(a.flow) {
		a.shard.Send(a.flow, []byte("\r\n\r\n"))
	}
	a.shard.After(keepAlive, a.keepFlow)
}
