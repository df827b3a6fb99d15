package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Config is what a Relay is made of.
type Config struct {
	Pools []Pool // the first serves whoever names none
	// Probe is an address that stands on no firewall sheet: what reaches it tells that a site lets media out to
	// anywhere. Nil: there is none.
	Probe   *Address
	Workers int // zero: one for each processor that the program may use
	Logger  *slog.Logger
	// Notify is told what happens to the media of sessions. It is called from one goroutine of the Relay, holds up the
	// other notices while it runs, and may call any method.
	Notify func(Notice)
}

// Relay forwards media. Order: New, perhaps Restore, Run; Open at any time.
type Relay struct {
	config  Config
	log     *slog.Logger
	pools   []*pool
	probe   *pool // nil: none
	workers []*worker
	now     func() time.Time
	every   time.Duration // between looks at the sessions

	mu       sync.Mutex
	sessions map[*Session]struct{}
	closed   bool

	// Of the watch alone.
	watching []*Session
	notices  []Notice
}

// The name of the probe address's ports in metrics and states.
const probeName = "probe"

var errClosed = errors.New("relay: it has ended")

// New makes a Relay. Nothing is bound before Open.
func New(config Config) (*Relay, error) {
	r := &Relay{config: config, log: config.Logger, now: time.Now, every: watchEvery, sessions: map[*Session]struct{}{}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if err := r.setPools(); err != nil {
		return nil, err
	}
	n := config.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range n {
		w, err := newWorker(r)
		if err != nil {
			r.closeWorkers()
			return nil, err
		}
		r.workers = append(r.workers, w)
	}
	return r, nil
}

func (r *Relay) setPools() error {
	named := map[string]bool{probeName: true}
	var all []*address
	build := func(name string, addresses []Address) (*pool, error) {
		p := &pool{name: name}
		for _, a := range addresses {
			a.setDefaults()
			if err := a.validate(); err != nil {
				return nil, fmt.Errorf("relay pool %q: %w", name, err)
			}
			for _, b := range all {
				if a.overlaps(&b.Address) {
					return nil, fmt.Errorf("relay pool %q: ports %d-%d of %s are used twice", name, a.First, a.Last, a.Bind)
				}
			}
			n := newAddress(a)
			all = append(all, n)
			p.addresses = append(p.addresses, n)
		}
		return p, nil
	}
	for _, c := range r.config.Pools {
		if named[c.Name] {
			return fmt.Errorf("relay pool %q: the name is taken", c.Name)
		}
		named[c.Name] = true
		if len(c.Addresses) == 0 {
			return fmt.Errorf("relay pool %q has no address", c.Name)
		}
		p, err := build(c.Name, c.Addresses)
		if err != nil {
			return err
		}
		r.pools = append(r.pools, p)
	}
	if r.config.Probe != nil {
		p, err := build(probeName, []Address{*r.config.Probe})
		if err != nil {
			return err
		}
		r.probe = p
	}
	return nil
}

// Run forwards until ctx is done. Then every session is closed.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, len(r.workers))
	for _, w := range r.workers {
		wg.Go(func() {
			if err := w.run(); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	wg.Go(func() { r.watch(ctx) })
	<-ctx.Done()
	for _, w := range r.workers {
		w.stop()
	}
	wg.Wait()

	r.mu.Lock()
	r.closed = true
	left := slices.Collect(maps.Keys(r.sessions))
	r.mu.Unlock()
	for _, s := range left {
		s.Close()
	}
	r.closeWorkers()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (r *Relay) closeWorkers() {
	for _, w := range r.workers {
		w.close()
	}
}

// Plan is what a session is opened for.
type Plan struct {
	ID      string // in notices and in the state: the call
	Pool    string // empty: the first
	Streams int    // addresses that the offer asks media to: at least 1
	Legs    [2]Leg // by Side
}

// Open takes ports for a call. It wraps ErrFull if the pool has too few.
func (r *Relay) Open(plan Plan) (*Session, error) {
	p, err := r.pool(plan.Pool)
	if err != nil {
		return nil, err
	}
	s := r.newSession(plan.ID, p.name)
	for side, leg := range plan.Legs {
		from := p
		if leg.Probe {
			if from = r.probe; from == nil {
				return nil, errors.New("there is no probe address")
			}
		}
		s.legs[side] = leg.served(from, r.log)
	}
	err = s.Grow(max(1, plan.Streams))
	if err == nil {
		err = r.enter(s)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (r *Relay) pool(name string) (*pool, error) {
	for _, p := range r.pools {
		if p.name == name || name == "" {
			return p, nil
		}
	}
	if name == "" {
		return nil, errors.New("there is no relay pool")
	}
	return nil, fmt.Errorf("there is no relay pool %q", name)
}

// enter makes a session known to the watch.
func (r *Relay) enter(s *Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errClosed
	}
	r.sessions[s] = struct{}{}
	return nil
}

func (r *Relay) leave(s *Session) {
	r.mu.Lock()
	delete(r.sessions, s)
	r.mu.Unlock()
}

// everyPool is the pools and the probe address.
func (r *Relay) everyPool() []*pool {
	if r.probe == nil {
		return r.pools
	}
	return append(r.pools[:len(r.pools):len(r.pools)], r.probe)
}

// Usage tells how full a pool is; empty: the first.
func (r *Relay) Usage(name string) (Usage, error) {
	p, err := r.pool(name)
	if err != nil {
		return Usage{}, err
	}
	return p.usage(), nil
}
