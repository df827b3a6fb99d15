package transport

import (
	"context"
	"net/netip"
	"sync"
)

// streams are the connections that are open, and the count of them by source.
type streams struct {
	mu       sync.RWMutex
	last     uint32 // number of the newest connection
	byConn   map[uint32]*stream
	byRemote map[netip.AddrPort]*stream
	bySource map[netip.Addr]int
	total    int
	attempts map[netip.AddrPort]*attempt
	closed   bool
}

// attempt is a connection that is being opened.
type attempt struct {
	cancel context.CancelFunc
	done   chan struct{} // then flow and err are set
	flow   Flow
	err    error
}

func (r *streams) init() {
	r.byConn = make(map[uint32]*stream)
	r.byRemote = make(map[netip.AddrPort]*stream)
	r.bySource = make(map[netip.Addr]int)
	r.attempts = make(map[netip.AddrPort]*attempt)
}

// admit counts a connection that is about to be; leave takes it back.
func (r *streams) admit(source netip.Addr, c *Config) (reason counter, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.total >= c.MaxConnections:
		return connLimit, false
	case source.IsValid() && r.bySource[source] >= c.MaxConnectionsPerSource:
		return connSourceLimit, false
	}
	r.total++
	if source.IsValid() {
		r.bySource[source]++
	}
	return 0, true
}

func (r *streams) leave(source netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaveLocked(source)
}

func (r *streams) leaveLocked(source netip.Addr) {
	r.total--
	if !source.IsValid() {
		return
	}
	if r.bySource[source]--; r.bySource[source] == 0 {
		delete(r.bySource, source)
	}
}

// add numbers an admitted stream and makes it known.
func (r *streams) add(s *stream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.last++
	for r.last == 0 || r.byConn[r.last] != nil { // after four billion connections
		r.last++
	}
	s.flow.Conn = r.last
	r.byConn[s.flow.Conn] = s
	r.byRemote[s.flow.Remote] = s
	return true
}

func (r *streams) remove(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byConn, s.flow.Conn)
	if r.byRemote[s.flow.Remote] == s {
		delete(r.byRemote, s.flow.Remote)
	}
	r.leaveLocked(s.source)
}

// find compares the whole flow: a number that was stored before a restart may be another connection's today.
func (r *streams) find(f Flow) *stream {
	r.mu.RLock()
	s := r.byConn[f.Conn]
	r.mu.RUnlock()
	if s == nil || s.flow != f {
		return nil
	}
	return s
}

func (r *streams) open() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byConn)
}

// dial finds the connection to an address or an attempt to open one; mine: the caller is to make the attempt and to
// tell dialled.
func (r *streams) dial(addr netip.AddrPort, cancel context.CancelFunc) (s *stream, a *attempt, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		a = &attempt{done: make(chan struct{}), err: ErrClosed}
		close(a.done)
		return nil, a, false
	}
	if s := r.byRemote[addr]; s != nil {
		return s, nil, false
	}
	if a := r.attempts[addr]; a != nil {
		return nil, a, false
	}
	a = &attempt{cancel: cancel, done: make(chan struct{})}
	r.attempts[addr] = a
	return nil, a, true
}

func (r *streams) dialled(addr netip.AddrPort, a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.attempts, addr)
	close(a.done)
}

// closeAll closes what is open; nothing can be added any more.
func (r *streams) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, s := range r.byConn {
		s.conn.Close()
	}
	for _, a := range r.attempts {
		a.cancel()
	}
}

// Connected tells whether messages can be sent on a flow: of a stream, that its connection is still there.
func (t *Transport) Connected(f Flow) bool {
	switch f.Proto {
	case UDP:
		return true
	case Link:
		return t.link != nil
	}
	return t.streams.find(f) != nil
}
