// Package app builds the service from its configuration, runs it and stops it.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"liaison/internal/account"
	"liaison/internal/agent"
	"liaison/internal/call"
	"liaison/internal/config"
	"liaison/internal/digest"
	"liaison/internal/proxy"
	"liaison/internal/registrar"
	"liaison/internal/relay"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
	"liaison/internal/store"
	"liaison/internal/stun"
)

// Options are what the command line adds to the configuration.
type Options struct {
	Demo    bool
	Version string
	Stdout  io.Writer // the ready line
	Stderr  io.Writer // what the demonstration says
	Log     *slog.Logger
}

// drainTime bounds an orderly end: transactions may finish, then everything stops.
const drainTime = 6 * time.Second

// app is the running service.
type app struct {
	cfg *config.Config
	opt Options
	log *slog.Logger

	store     *store.Store
	directory *account.Directory
	outer     *transport.Transport // what agents reach
	registrar *registrar.Registrar
	calls     *call.Calls
	proxy     *proxy.Proxy
	layer     *transaction.Layer
	codec     *agent.Agent
	stun      *stun.Server
	relay     *relay.Relay // nil: media goes directly
	relayed   []netip.Addr // the addresses that it serves
	web       *web
	accounts  int64 // place in the change sequence up to which the directory is filled

	closer []func() error
}

// Run serves until ctx ends, then drains. Whatever fails at the start, nothing of it is left behind.
func Run(ctx context.Context, cfg *config.Config, opt Options) (err error) {
	a := &app{cfg: cfg, opt: opt, log: opt.Log}
	defer func() {
		for _, c := range slices.Backward(a.closer) {
			err = errors.Join(err, c())
		}
	}()
	if err := a.build(ctx); err != nil {
		return err
	}
	return a.serve(ctx)
}

// build makes everything up to, and with, the bound sockets.
func (a *app) build(ctx context.Context) error {
	lock, err := store.TakeLock(a.cfg.Data)
	if err != nil {
		return err
	}
	a.closer = append(a.closer, lock.Close)
	a.outer = transport.New(transport.Config{Logger: a.log, Announce: a.cfg.Address, Trusted: a.cfg.Limits.Trusted})
	a.closer = append(a.closer, func() error { a.outer.Close(); return nil })
	if err := a.listen(); err != nil {
		return err
	}
	if err := a.listenSTUN(); err != nil {
		return err
	}
	if a.web, err = listenWeb(a.cfg.Web, a.log); err != nil {
		return err
	}
	a.closer = append(a.closer, a.web.close)
	a.store, err = store.Open(ctx, store.Config{Dir: a.cfg.Data, SecretFile: a.cfg.SecretFile, Realm: a.cfg.Realm, Logger: a.log})
	if err != nil {
		return err
	}
	a.closer = append(a.closer, a.store.Close)
	if err := a.store.EnsureTest(ctx, account.Number(a.cfg.Test.Programme.Number)); err != nil {
		return err
	}
	if a.opt.Demo {
		if err := a.demo(ctx); err != nil {
			return err
		}
	}
	a.directory = account.NewDirectory()
	if a.accounts, err = a.store.LoadAccounts(ctx, a.directory); err != nil {
		return fmt.Errorf("load accounts: %w", err)
	}
	if err := a.signalling(ctx); err != nil {
		return err
	}
	if err := a.registrar.Load(ctx); err != nil {
		return err
	}
	return nil
}

func (a *app) listen() error {
	for _, addr := range a.cfg.SIP.UDP {
		if err := a.bind(addr, a.outer.ListenUDP); err != nil {
			return err
		}
	}
	for _, addr := range a.cfg.SIP.TCP {
		if err := a.bind(addr, a.outer.ListenTCP); err != nil {
			return err
		}
	}
	return nil
}

// bind listens on an address; [::] is left out on a machine without IPv6, where "all addresses" are the others.
func (a *app) bind(addr netip.AddrPort, listen func(string) error) error {
	if addr.Addr() == netip.IPv6Unspecified() && !hasIPv6() {
		return nil
	}
	return listen(addr.String())
}

var hasIPv6 = sync.OnceValue(func() bool {
	c, err := net.ListenPacket("udp6", "[::]:0")
	if err == nil {
		c.Close()
	}
	return err == nil
})

// signalling builds the rooms that a message walks through.
func (a *app) signalling(ctx context.Context) error {
	names := a.names()
	var algorithms []digest.Algorithm
	for _, d := range a.cfg.Digest {
		algorithms = append(algorithms, map[string]digest.Algorithm{"md5": digest.MD5, "sha-256": digest.SHA256}[d])
	}
	authenticator := account.NewAuthenticator(a.store.Realm(), algorithms, digest.NewNonces(time.Now(), 0), a.directory)
	a.registrar = registrar.New(registrar.Config{
		Store: a.store, Sender: a.outer.NewBatch(), Announce: a.outer.Announced, Ours: names.Host, Logger: a.log,
		Min: a.cfg.Registrar.Min, Default: a.cfg.Registrar.Default, Max: a.cfg.Registrar.Max,
		Registered: func(n account.Number, fresh bool) {
			if fresh {
				a.calls.Fresh(n)
			}
		},
	})
	if err := a.buildRelay(); err != nil {
		return err
	}
	a.calls = call.New(call.Config{
		Recorder: a.store, Flow: a.agentFlow, Relay: a.relay, RelayAddresses: a.relayed,
		Announced: func(f transport.Flow) string { return a.outer.Announced(f).String() },
		Logger:    a.log,
	})
	var err error
	if a.codec, err = newCodec(ctx, a.cfg.Test, a.outer, a.log); err != nil {
		return err
	}
	a.proxy = proxy.New(proxy.Config{
		Names: names, Realm: a.store.Realm(), Authenticator: authenticator, Directory: a.directory,
		Registrar: a.registrar, Calls: a.calls, Announced: a.outer.Announced, Local: a.local, Logger: a.log,
	})
	tables := make(map[*transaction.Shard]*call.Table)
	a.layer = transaction.New(transaction.Config{
		Shards: runtime.GOMAXPROCS(0), Logger: a.log,
		Sender: func() transaction.Sender { return a.outer.NewBatch() },
		User: func(s *transaction.Shard) transaction.User {
			tables[s] = a.calls.NewTable(s)
			return a.proxy.User(s, tables[s])
		},
	})
	a.outer.Handle(a.layer)
	return a.calls.Load(ctx, func(callID []byte) *call.Table { return tables[a.layer.Shard(callID)] })
}

// agentFlow is the path to an agent now: the flow of its dialog while it is one that the account is registered from, else
// that of its best binding. An agent that has stopped answering the keep-alive is as good as not registered.
func (a *app) agentFlow(n account.Number, now transport.Flow) (transport.Flow, bool) {
	for _, b := range a.registrar.Lookup(n, nil) {
		switch {
		case b.Reach == registrar.Unreachable || !a.outer.Connected(b.Flow):
			continue
		case a.registrar.Current(n, now) && a.outer.Connected(now):
			return now, true
		}
		return b.Flow, true
	}
	return transport.Flow{}, false
}

// local is the path to a number that the service answers itself. The test codec tells its callers the address of this
// path in its description: this machine's own if the relay stands between, else the one at which they reach us.
func (a *app) local(n account.Number, caller transport.Flow) (transport.Flow, bool) {
	if string(n) != a.cfg.Test.Programme.Number {
		return transport.Flow{}, false
	}
	at := a.outer.Announced(caller)
	if a.relay != nil {
		at = netip.AddrPortFrom(loopback, at.Port())
	}
	return transport.Flow{Proto: transport.Link, Local: at, Remote: at}, true
}

// names are what the service answers to: the domains of the configuration, what it announces, and the names and
// addresses of the machine.
func (a *app) names() *proxy.Names {
	domains := []string{"localhost"}
	if host, err := os.Hostname(); err == nil {
		domains = append(domains, host)
	}
	for _, d := range a.cfg.Domains {
		domains = append(domains, d.Name)
	}
	addrs := slices.Clone(a.cfg.Address)
	addrs = append(addrs, interfaceAddrs()...)
	var ports []uint16
	for _, l := range a.outer.Listeners() {
		addrs = append(addrs, l.Addr.Addr())
		ports = append(ports, l.Addr.Port())
	}
	return proxy.NewNames(domains, addrs, ports)
}

// interfaceAddrs are the addresses of the machine.
func interfaceAddrs() []netip.Addr {
	var addrs []netip.Addr
	interfaces, _ := net.InterfaceAddrs()
	for _, i := range interfaces {
		if p, err := netip.ParsePrefix(i.String()); err == nil {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// serve runs everything that runs until ctx ends.
func (a *app) serve(ctx context.Context) error {
	// The parts go on while the service drains, so they do not end with ctx; the test codec ends before the others,
	// so that its callers hear its BYE.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	var parts sync.WaitGroup
	run := func(wg *sync.WaitGroup, ctx context.Context, name string, task func(context.Context) error) {
		wg.Go(func() {
			if err := task(ctx); err != nil {
				end(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	run(&parts, life, "registrar", a.registrar.Run)
	run(&parts, life, "signalling", a.layer.Run)
	run(&parts, life, "transport", a.outer.Run)
	run(&parts, life, "database", a.store.Run)
	if a.relay != nil {
		run(&parts, life, "relay", a.relay.Run)
	}
	run(&parts, life, "changes", a.follow)
	run(&parts, life, "web", func(ctx context.Context) error { return a.web.run(ctx, a) })
	playing, silence := context.WithCancel(life)
	defer silence()
	var codec sync.WaitGroup
	run(&codec, playing, "test codec", a.codec.Run)
	a.endAsked(ctx)

	debug.FreeOSMemory() // what loading needed, and nothing after it
	a.ready()
	select {
	case <-ctx.Done():
		a.drain(life)
	case <-life.Done():
	}
	err := context.Cause(life)
	silence()
	codec.Wait()
	end(nil)
	parts.Wait()
	return err
}

// endAsked ends the calls of which the command line asked it while nobody served.
func (a *app) endAsked(ctx context.Context) {
	ids, err := a.store.CallEnds(ctx)
	if err != nil {
		a.log.Error("calls that the operator ended could not be looked up", "error", err)
	}
	for _, id := range ids {
		a.calls.End(id, "ended by the operator")
	}
}

// ready says that everything is bound and loaded: to who started us, and to systemd.
func (a *app) ready() {
	var sips []string
	for _, l := range a.outer.Listeners() {
		sips = append(sips, l.Proto.Param()+":"+l.Addr.String())
	}
	fmt.Fprintf(a.opt.Stdout, "ready sip=%s web=http://%s\n", strings.Join(sips, ","), a.web.addr())
	notify("READY=1")
}

// drain: no new calls, transactions finish; established calls live on, and the next start knows them.
func (a *app) drain(ctx context.Context) {
	notify("STOPPING=1")
	a.log.Info("stopping: no new calls, transactions finish", "calls", a.calls.Up())
	a.proxy.Drain()
	deadline := time.After(drainTime)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	quiet := 0
	for quiet < 4 { // answers and their ACKs are on their way for a moment after the last final response
		select {
		case <-deadline:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			if a.proxy.Pending() == 0 {
				quiet++
			} else {
				quiet = 0
			}
		}
	}
}

// notify tells systemd (sd_notify(3)).
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if c, err := net.Dial("unixgram", name); err == nil {
		c.Write([]byte(state))
		c.Close()
	}
}

// follow takes over what the command line or others changed in the database.
func (a *app) follow(ctx context.Context) error {
	for {
		err := a.store.Follow(ctx, a.accounts, func(changes []store.Change) { a.apply(ctx, changes) })
		if !errors.Is(err, store.ErrBehind) {
			return err
		}
		if a.accounts, err = a.store.LoadAccounts(ctx, a.directory); err != nil {
			return fmt.Errorf("load accounts: %w", err)
		}
	}
}

func (a *app) apply(ctx context.Context, changes []store.Change) {
	if err := a.store.ApplyAccounts(ctx, a.directory, changes); err != nil {
		a.log.Error("a change of accounts could not be taken over: restart the service if it lasts", "error", err)
	}
	for _, c := range changes {
		switch c.Kind {
		case store.RequestedCallEnd:
			a.calls.End(c.Subject, "ended by the operator")
		case store.ChangedAccount:
			acc, ok := a.directory.Account([]byte(c.Subject))
			if c.Subject != "" && (!ok || acc.Locked) {
				a.registrar.Remove(account.Number(c.Subject))
			}
		}
	}
}
