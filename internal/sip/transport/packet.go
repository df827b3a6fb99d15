package transport

import (
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"liaison/internal/sip"
)

// Packet is one parsed message with the buffer that its views look into. It has one owner at a time, who gives it back
// with Release; after that nothing of Msg may be touched.
type Packet struct {
	Flow Flow
	Msg  sip.Message

	buf    []byte // as long as the class says
	length int    // of the message in buf
	pool   *pool
	class  uint8 // index into classSizes
	slot   uint8 // of the reader's inbox, while it is being received
	lent   bool
}

// Release gives the packet back. Twice is a programmer's mistake, as the second owner's message would change under it.
func (p *Packet) Release() {
	if p.pool != nil { // a packet that was made by hand belongs to none
		p.pool.put(p)
	}
}

// classSizes of packet buffers: nearly every message fits the first, an INVITE with a long SDP the second. Any message
// fits the last.
var classSizes = [...]int{2 << 10, 8 << 10, 64 << 10}

// keepBytes is how much idle memory the pool keeps of each class; the rest goes back to the collector, so that a
// storm of large datagrams leaves nothing behind.
const keepBytes = 4 << 20

// pool lends packets. What is lent at a time is bounded: a flood of large datagrams finds no buffer and is dropped.
type pool struct {
	limit int // bytes lent at most

	mu   sync.Mutex
	lent int
	free [len(classSizes)][]*Packet
}

// take lends a packet for a message of n bytes; nil if too much is lent already.
func (p *pool) take(n int) *Packet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked(n)
}

func (p *pool) takeLocked(n int) *Packet {
	class := uint8(0)
	for n > classSizes[class] {
		class++
	}
	size := classSizes[class]
	limit := p.limit
	if class > 0 {
		limit /= 2 // large messages never take the room of the small ones
	}
	if p.lent+size > limit {
		return nil
	}
	p.lent += size
	free := p.free[class]
	if len(free) == 0 {
		return &Packet{buf: make([]byte, size), pool: p, class: class, lent: true}
	}
	k := free[len(free)-1] // the last one released: its memory is in the cache
	p.free[class] = free[:len(free)-1]
	k.lent = true
	return k
}

func (p *pool) put(k *Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !k.lent {
		panic("transport: packet released twice")
	}
	k.lent = false
	size := classSizes[k.class]
	p.lent -= size
	if len(p.free[k.class])*size < keepBytes {
		p.free[k.class] = append(p.free[k.class], k)
	}
}

// errPanic stands for a parser that panicked.
var errPanic = &sip.Error{Status: 500}

// parse reads the message in the packet's buffer. A parser that panics loses this packet only: the service must outlive
// a datagram that nobody has thought of.
func (t *Transport) parse(p *Packet) (err error) {
	defer func() {
		if r := recover(); r != nil {
			t.counters.add(dropPanic, 1)
			if minute := time.Now().Unix() / 60; t.panicked.Swap(minute) != minute {
				t.log.Error("internal error while reading a message: please report it with the lines that follow", "panic", r, "stack", string(debug.Stack()))
			}
			err = errPanic
		}
	}()
	if t.tracing {
		t.trace("received", p.Flow, p.buf[:p.length])
	}
	err = p.Msg.Parse(p.buf[:p.length])
	source := p.Flow.Remote
	if source.Addr().Zone() != "" { // which interface is our business, not the sender's
		source = netip.AddrPortFrom(source.Addr().WithZone(""), source.Port())
	}
	p.Msg.Source = source
	return err
}
