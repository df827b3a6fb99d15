package relay

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// The range that the firewalls of sites are told, unless an Address says otherwise.
const (
	firstPort = 55004
	lastPort  = 55999
)

// ErrFull is wrapped by what Open returns when a pool has no ports left.
var ErrFull = errors.New("no ports left")

// Pool is one or more relay addresses in one place.
type Pool struct {
	Name      string
	Addresses []Address
}

// Address is one address that ports are given out on.
type Address struct {
	Announce    netip.Addr // what agents are told
	Bind        netip.Addr // what sockets are bound to, if another (a 1:1 NAT); "::" and "0.0.0.0" are possible
	First, Last uint16     // inclusive; zero: 55004 and 55999
}

func (a *Address) setDefaults() {
	if !a.Bind.IsValid() {
		a.Bind = a.Announce
	}
	a.Announce, a.Bind = a.Announce.Unmap(), a.Bind.Unmap()
	if a.First == 0 {
		a.First = firstPort
	}
	if a.Last == 0 {
		a.Last = lastPort
	}
}

func (a *Address) validate() error {
	switch {
	case !a.Announce.IsValid() || a.Announce.IsUnspecified():
		return errors.New("needs the address that agents are told")
	case a.Announce.Is4() != a.Bind.Is4():
		return fmt.Errorf("%s is announced and %s bound: both must be IPv4 or both IPv6", a.Announce, a.Bind)
	case a.pairs() == 0:
		return fmt.Errorf("%s: ports %d-%d hold no pair of an even port and the odd one above", a.Announce, a.First, a.Last)
	}
	return nil
}

// even is the first even port of the range.
func (a *Address) even() int { return int(a.First) + int(a.First)&1 }

// pairs is how many pairs of an even port and the odd one above the range holds.
func (a *Address) pairs() int { return max(0, (int(a.Last)-a.even()+1)/2) }

// overlaps tells whether two addresses would bind the same port.
func (a *Address) overlaps(b *Address) bool {
	if a.First > b.Last || b.First > a.Last || a.Bind.Is4() != b.Bind.Is4() {
		return false
	}
	return a.Bind == b.Bind || a.Bind.IsUnspecified() || b.Bind.IsUnspecified()
}

// pool is a Pool at work.
type pool struct {
	name      string
	addresses []*address
}

// address gives out the pairs of one Address. A port that was closed comes to the end of the queue, so that it rests as
// long as possible: late packets for one call do not meet another.
type address struct {
	Address
	mu   sync.Mutex
	free []uint16 // even ports, a ring
	head int
	left int
	dead bool // the last attempt to bind failed
}

func newAddress(a Address) *address {
	free := make([]uint16, a.pairs())
	for i := range free {
		free[i] = uint16(a.even() + 2*i)
	}
	// Not in order, so that whoever sprays a range cannot run along with it.
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	return &address{Address: a, free: free, left: len(free)}
}

// take gives the pair that has rested longest.
func (a *address) take() (port uint16, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left == 0 {
		return 0, false
	}
	port = a.free[a.head]
	a.head = (a.head + 1) % len(a.free)
	a.left--
	return port, true
}

// claim takes a certain pair; false if it is not free.
func (a *address) claim(port uint16) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := make([]uint16, 0, len(a.free))
	for i := range a.left {
		line = append(line, a.free[(a.head+i)%len(a.free)])
	}
	i := slices.Index(line, port)
	if i < 0 {
		return false
	}
	line = slices.Delete(line, i, i+1)
	a.head, a.left = 0, copy(a.free, line)
	return true
}

// give puts a pair to the end of the queue.
func (a *address) give(port uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free[(a.head+a.left)%len(a.free)] = port
	a.left++
}

func (a *address) usage() Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Usage{Used: 2 * (len(a.free) - a.left), Total: 2 * len(a.free)}
}

// pair is an even port and the odd one above, with the descriptors of their sockets.
type pair struct {
	port uint16
	fds  [2]int
}

func (a *address) close(p pair) {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
	a.give(p.port)
}

// bind takes so many pairs and opens their sockets, all or none.
func (a *address) bind(n int) (pairs []pair, err error) {
	for range n {
		p, err := a.bindOne()
		if err != nil {
			for _, p := range pairs {
				a.close(p)
			}
			return nil, err
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// bindOne passes over ports that some other program holds.
func (a *address) bindOne() (pair, error) {
	held := 0
	u := a.usage()
	for range (u.Total - u.Used) / 2 {
		port, ok := a.take()
		if !ok {
			break
		}
		fds, err := a.listen(port)
		if err == nil {
			return pair{port, fds}, nil
		}
		a.give(port)
		if !errors.Is(err, unix.EADDRINUSE) {
			return pair{}, err
		}
		held++
	}
	if held > 0 {
		return pair{}, fmt.Errorf("%w on %s: other programs hold %d of them", ErrFull, a.Bind, held)
	}
	return pair{}, fmt.Errorf("%w on %s", ErrFull, a.Bind)
}

// listen opens both sockets of a pair or none.
func (a *address) listen(port uint16) (fds [2]int, err error) {
	for i := range fds {
		fds[i], err = listen(netip.AddrPortFrom(a.Bind, port+uint16(i)))
		if err != nil {
			for _, fd := range fds[:i] {
				unix.Close(fd)
			}
			return fds, err
		}
	}
	return fds, nil
}

// changed notes whether an attempt to bind worked, and tells whether that is news. That a port is taken says nothing
// about the address.
func (a *address) changed(err error) bool {
	if errors.Is(err, ErrFull) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.dead
	a.dead = err != nil
	return a.dead != was
}

// Usage is how full a pool is, in ports.
type Usage struct{ Used, Total int }

func (p *pool) usage() Usage {
	var sum Usage
	for _, a := range p.addresses {
		u := a.usage()
		sum.Used += u.Used
		sum.Total += u.Total
	}
	return sum
}

// candidates are the addresses that a leg of so many streams may be served from, the least used first.
func (p *pool) candidates(l Leg, streams int) []*address {
	type candidate struct {
		*address
		free float64
	}
	var fit []candidate
	for _, a := range p.addresses {
		if l.Address.IsValid() && l.Address != a.Announce || !l.Address.IsValid() && l.IPv6 != a.Announce.Is6() {
			continue
		}
		if u := a.usage(); u.Total-u.Used >= 2*streams {
			fit = append(fit, candidate{a, float64(u.Total-u.Used) / float64(u.Total)})
		}
	}
	slices.SortStableFunc(fit, func(a, b candidate) int { return cmp.Compare(b.free, a.free) })
	chosen := make([]*address, len(fit))
	for i, c := range fit {
		chosen[i] = c.address
	}
	return chosen
}

// serves tells whether the pool has any address that fits a leg, full or not.
func (p *pool) serves(l Leg) bool {
	return slices.ContainsFunc(p.addresses, func(a *address) bool {
		return l.Address == a.Announce || !l.Address.IsValid() && l.IPv6 == a.Announce.Is6()
	})
}
