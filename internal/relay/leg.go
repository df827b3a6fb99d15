package relay

import (
	"fmt"
	"log/slog"
	"net/netip"
)

// Side is one of the two that a session joins.
type Side uint8

const (
	Caller Side = iota
	Callee
)

func (s Side) String() string { return [...]string{"caller", "callee"}[s] }

// Other is the opposite side.
func (s Side) Other() Side { return 1 - s }

// Leg says where a side is served from.
type Leg struct {
	IPv6    bool       // the family of the address that the side is given
	Address netip.Addr // a certain announced address of the pool; not valid: the least used
	Probe   bool       // the probe address instead of the pool's
}

// leg is a Leg at work. All its streams are on one address, because a session description is given one.
type leg struct {
	Leg
	pool *pool
	at   *address // nil: not chosen yet
	log  *slog.Logger
}

func (l Leg) served(from *pool, log *slog.Logger) leg {
	if l.Probe {
		l.Address, l.IPv6 = from.addresses[0].Announce, from.addresses[0].Announce.Is6()
	}
	l.Address = l.Address.Unmap()
	return leg{Leg: l, pool: from, log: log}
}

// bind opens pairs, all or none, and chooses the address if there is none yet.
func (l *leg) bind(n int) ([]pair, error) {
	var failed error
	for _, a := range l.candidates(n) {
		pairs, err := a.bind(n)
		if a.changed(err) {
			l.tell(a, err)
		}
		if err == nil {
			l.at = a
			return pairs, nil
		}
		failed = err // the address is not there, or others hold its ports
	}
	switch {
	case failed != nil:
		return nil, fmt.Errorf("relay pool %q: %w", l.pool.name, failed)
	case !l.pool.serves(l.Leg):
		return nil, fmt.Errorf("relay pool %q has no address for %s", l.pool.name, l.wanted())
	}
	u := l.pool.usage()
	return nil, fmt.Errorf("relay pool %q: %w for %s: %d of %d are in use; give it more addresses or more ports",
		l.pool.name, ErrFull, l.wanted(), u.Used, u.Total)
}

// tell says once that an address does not work, and that it works again.
func (l *leg) tell(a *address, err error) {
	if err != nil {
		l.log.Error("relay address does not work: calls are relayed by others, if there are any; is it an address of this machine?",
			"pool", l.pool.name, "address", a.Announce, "error", err)
		return
	}
	l.log.Info("relay address works again", "pool", l.pool.name, "address", a.Announce)
}

func (l *leg) candidates(n int) []*address {
	if l.at != nil {
		return []*address{l.at}
	}
	return l.pool.candidates(l.Leg, n)
}

func (l *leg) wanted() string {
	switch {
	case l.Address.IsValid():
		return l.Address.String()
	case l.IPv6:
		return "IPv6"
	}
	return "IPv4"
}

func (l *leg) v4() bool { return l.at.Bind.Is4() }
