package main

import (
	"context"
	"fmt"
	"time"
)

// contestant is one of the servers that are compared.
type contestant interface {
	name() string
	version() string
	start(ctx context.Context, accounts int) (*server, error)
}

// row is one line of the table.
type row struct {
	name string
	work work
	// bar is what ours may cost at most, as a share of Kamailio's.
	bar float64
}

func rows() []row {
	return []row{
		{"registration", registration{}, 1.0},
		{"re-registration", registration{keep: true}, 0.9},
		{"call", call{}, 0.7},
		{"OPTIONS", options{}, 0.9},
	}
}

// bench is how it is measured.
type bench struct {
	accounts int
	window   int
	nated    bool
	each     time.Duration // under load, for one figure
	progress func(format string, args ...any)
}

// figure is one measurement of one server.
type figure struct {
	cpu    time.Duration // of the server, for all operations
	took   time.Duration
	own    time.Duration // CPU of the generator
	counts counts
}

// micros is the CPU time of one operation in microseconds.
func (f figure) micros() float64 {
	return float64(f.cpu.Nanoseconds()) / 1e3 / float64(f.counts.done)
}

// stand is one server under measurement: the process and its load.
type stand struct {
	s *server
	l *load
	f figure
}

// prepare starts a server, registers all agents, and lets it work until what
// is done once only - pools that fill, pages touched first - is over.
func (b *bench) prepare(ctx context.Context, c contestant, r row) (*stand, error) {
	s, err := c.start(ctx, b.accounts)
	if err != nil {
		return nil, err
	}
	st := &stand{s: s}
	if st.l, err = newLoad(s.addr, b.accounts, b.window, b.nated); err != nil {
		st.close()
		return nil, err
	}
	if _, err := st.l.run(ctx, registration{}, b.accounts, 0); err != nil {
		st.close()
		return nil, fmt.Errorf("%s: first registrations: %w", s.name, err)
	}
	if _, err := st.l.run(ctx, r.work, 0, b.each/5); err != nil {
		st.close()
		return nil, fmt.Errorf("%s: %s: %w", s.name, r.name, err)
	}
	return st, nil
}

func (st *stand) close() error {
	if st.l != nil {
		st.l.close()
	}
	return st.s.stop()
}

// slice is how long one server works before it is the other's turn. A machine
// that is shared with others changes its speed from second to second: what is
// compared has to lie side by side.
const slice = 500 * time.Millisecond

// settle lets a server finish before the other begins.
const settle = 100 * time.Millisecond

// measure gives the servers' costs of one kind of work, a nil contestant's
// left empty. Both run all the time; in slices one works and the other waits.
// The figures begin with contestant first.
func (b *bench) measure(ctx context.Context, contestants [2]contestant, first int, r row) (figures [2]figure, err error) {
	var stands [2]*stand
	for i, c := range contestants {
		if c == nil {
			continue
		}
		if stands[i], err = b.prepare(ctx, c, r); err != nil {
			return figures, err
		}
		defer func() {
			if stopped := stands[i].close(); err == nil {
				err = stopped
			}
		}()
	}
	// The clock of a server runs on while it waits for its turn: what it puts
	// off, freeing or writing later, is part of its work. Idle, both use less
	// than a hundredth of a core.
	for _, st := range stands {
		if err := st.charge(-1); err != nil {
			return figures, err
		}
	}
	for done := time.Duration(0); done < b.each; done += slice {
		for turn := range stands {
			if st := stands[(first+turn)%2]; st != nil {
				if err := st.slice(ctx, r); err != nil {
					return figures, err
				}
			}
		}
	}
	for i, st := range stands {
		if err := st.charge(+1); err != nil {
			return figures, err
		}
		if st != nil {
			figures[i] = st.f
			b.progress("%-9s %-16s %8.2f us  %7d operations, %6.0f/s, server's core %3.0f %% busy, generator's %3.0f %%, %d sent again, %d strays, %d pings",
				st.s.name, r.name, st.f.micros(), st.f.counts.done, float64(st.f.counts.done)/st.f.took.Seconds(),
				100*st.f.cpu.Seconds()/st.f.took.Seconds(), 100*st.f.own.Seconds()/st.f.took.Seconds(),
				st.f.counts.retransmissions, st.f.counts.strays, st.f.counts.pings)
		}
	}
	return figures, nil
}

// charge adds the server's clock to its figure, or takes it away.
func (st *stand) charge(sign time.Duration) error {
	if st == nil {
		return nil
	}
	cpu, err := st.s.cpu()
	if err != nil {
		return st.lost(err)
	}
	st.f.cpu += sign * cpu
	return nil
}

// slice loads one server for a slice and adds to its figure.
func (st *stand) slice(ctx context.Context, r row) error {
	own, begun := ownCPU(), time.Now()
	c, err := st.l.run(ctx, r.work, 0, slice)
	if err != nil {
		return st.lost(fmt.Errorf("%s: %w", r.name, err))
	}
	st.f.took += time.Since(begun)
	st.f.own += ownCPU() - own
	st.f.counts.add(c)
	if err := st.l.idle(ctx, settle); err != nil {
		return st.lost(err)
	}
	return nil
}

// lost says whose error it is, and whether the server is there at all.
func (st *stand) lost(err error) error {
	select {
	case <-st.s.gone:
		return fmt.Errorf("%w; %w", err, st.s.died())
	default:
		return fmt.Errorf("%s: %w", st.s.name, err)
	}
}

// footprint is what one server holds in memory, in bytes.
type footprint struct {
	empty   int64   // accounts, no bindings
	bound   int64   // with every account registered
	perCall float64 // held per finished call, 10 s after
	first   float64 // CPU microseconds for each of the first registrations
}

// holds is how long a server is left alone before its memory is read.
const holds = 10 * time.Second

// measureMemory registers all of accounts with a fresh server, and then has
// calls made.
func (b *bench) measureMemory(ctx context.Context, c contestant, accounts, calls int) (f footprint, err error) {
	s, err := c.start(ctx, accounts)
	if err != nil {
		return f, err
	}
	defer func() {
		if stopped := s.stop(); err == nil {
			err = stopped
		}
	}()
	l, err := newLoad(s.addr, accounts, b.window, b.nated)
	if err != nil {
		return f, err
	}
	defer l.close()
	if f.empty, err = s.memory(); err != nil {
		return f, err
	}
	before, err := s.cpu()
	if err != nil {
		return f, err
	}
	if _, err := l.run(ctx, registration{}, accounts, 0); err != nil {
		return f, fmt.Errorf("%s: first registrations: %w", s.name, err)
	}
	after, err := s.cpu()
	if err != nil {
		return f, err
	}
	f.first = float64((after - before).Microseconds()) / float64(accounts)
	if err := l.idle(ctx, holds); err != nil {
		return f, err
	}
	if f.bound, err = s.memory(); err != nil {
		return f, err
	}
	if _, err := l.run(ctx, call{}, calls, 0); err != nil {
		return f, fmt.Errorf("%s: calls: %w", s.name, err)
	}
	if err := l.idle(ctx, holds); err != nil {
		return f, err
	}
	held, err := s.memory()
	if err != nil {
		return f, err
	}
	f.perCall = float64(held-f.bound) / float64(calls)
	b.progress("%-9s memory           %.1f MB with %d accounts, %.1f MB with as many bindings, %.0f bytes held per finished call, %.1f us for each first registration",
		s.name, float64(f.empty)/1e6, accounts, float64(f.bound)/1e6, f.perCall, f.first)
	return f, nil
}
