package transaction

import (
	"context"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"log/slog"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Shard owns the transactions of its Call-IDs.
type Shard struct {
	Sender
	layer *Layer
	index int
	user  User
	log   *slog.Logger

	mu     sync.Mutex
	queue  []item // what has arrived and is not served yet
	limit  int
	ended  bool
	wake   chan struct{}
	work   []item // what is being served, from done on
	done   int
	wheel  wheel
	now    time.Time
	seed   [2]maphash.Seed
	keyBuf []byte

	servers map[key]*Server
	replies replies
	clients clients
}

// item is one thing to do: serve a packet, or run a function.
type item struct {
	packet *transport.Packet
	fn     func()
}

// key identifies a server transaction (RFC 3261 17.2.3): a keyed 128-bit hash, so nobody can make two collide.
type key [2]uint64

func newShard(index int, l *Layer, c Config) *Shard {
	limit := c.Queue
	if limit == 0 {
		limit = 8192
	}
	s := &Shard{
		Sender: c.Sender(), layer: l, index: index, log: c.Logger, limit: limit,
		wake:    make(chan struct{}, 1),
		wheel:   wheel{start: time.Now()},
		now:     time.Now(),
		seed:    [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		servers: make(map[key]*Server),
	}
	if b, ok := s.Sender.(*transport.Batch); ok {
		b.Failed = s.unsent
	}
	return s
}

// unsent is told what could not be sent. What waits on that flow fails at once (RFC 3261 17.1.4), unless the socket was
// only full: then it is as if the datagram had been lost.
func (s *Shard) unsent(f transport.Flow, err error) {
	if !errors.Is(err, syscall.EAGAIN) {
		s.clients.fail(f)
	}
}

// Now is the time at which the shard took up what it is doing.
func (s *Shard) Now() time.Time { return s.now }

// Open is what the shard keeps at the moment: transactions with state, and timers. Only the shard may call it.
func (s *Shard) Open() (servers, clients, timers int) {
	return len(s.servers), len(s.clients.slot) - len(s.clients.free), s.wheel.count
}

// Index is the shard's number, from 0.
func (s *Shard) Index() int { return s.index }

// receive queues the packets; those for which there is no room are dropped and counted.
func (s *Shard) receive(batch []*transport.Packet) {
	s.mu.Lock()
	room := s.limit - len(s.queue)
	if s.ended {
		room = 0
	}
	n := min(len(batch), max(room, 0))
	for _, p := range batch[:n] {
		s.queue = append(s.queue, item{packet: p})
	}
	s.mu.Unlock()
	s.rouse()
	for _, p := range batch[n:] {
		p.Release()
		s.layer.Dropped.Add(1)
	}
}

// Post runs fn in the shard, in the order of posting. What is posted is the end of work that was accepted (a commit, a
// resolved name): it is bounded by that work and never dropped. After the shard has ended fn does not run.
func (s *Shard) Post(fn func()) {
	s.mu.Lock()
	if !s.ended {
		s.queue = append(s.queue, item{fn: fn})
	}
	s.mu.Unlock()
	s.rouse()
}

func (s *Shard) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// After runs fn in the shard when d has passed. Only the shard may call it.
func (s *Shard) After(d time.Duration, fn func()) *Timer {
	t := &Timer{fire: fn}
	s.wheel.set(t, s.now, d)
	return t
}

func (s *Shard) run(ctx context.Context) {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		s.mu.Lock()
		s.work, s.queue = s.queue, s.work[:0]
		s.mu.Unlock()
		s.done = 0
		s.now = time.Now()
		for s.done < len(s.work) {
			s.serve()
		}
		clear(s.work)
		s.fire()
		s.Flush()
		if s.pending() {
			continue
		}
		pause := time.Hour
		if s.wheel.count > 0 {
			pause = s.wheel.pause(time.Now())
		}
		alarm.Reset(pause)
		select {
		case <-s.wake:
		case <-alarm.C:
		case <-ctx.Done():
			s.end()
			return
		}
	}
}

func (s *Shard) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0
}

func (s *Shard) end() {
	s.mu.Lock()
	s.ended = true
	rest := s.queue
	s.queue = nil
	s.mu.Unlock()
	for _, it := range rest {
		if it.packet != nil {
			it.packet.Release()
		}
	}
}

// serve does the waiting items one by one. It is where a programmer's mistake ends: the item that panicked is lost, the
// shard goes on.
func (s *Shard) serve() {
	defer s.survive()
	for s.done < len(s.work) {
		it := s.work[s.done]
		s.done++
		if it.fn != nil {
			it.fn()
		} else {
			s.packet(it.packet)
		}
		if s.done%64 == 0 { // an answer must not wait for a long queue
			s.Flush()
		}
	}
}

func (s *Shard) fire() {
	defer s.survive()
	s.wheel.advance(s.now)
}

func (s *Shard) survive() {
	if r := recover(); r != nil {
		s.layer.Panics.Add(1)
		s.log.Error("internal error in a signalling shard: please report it with the lines that follow", "panic", r, "stack", string(debug.Stack()))
	}
}

func (s *Shard) packet(p *transport.Packet) {
	m := &p.Msg
	if !m.IsRequest() {
		s.response(p)
		p.Release()
		return
	}
	k := s.key(m)
	if m.Method != sip.INVITE && m.Method != sip.ACK && m.Method != sip.CANCEL {
		if b := s.replies.get(k, s.now); b != nil {
			s.layer.Retransmissions.Add(1)
			s.layer.Resent.Add(1)
			s.Send(replyFlow(p), b)
			p.Release()
			return
		}
	}
	tx := s.servers[k]
	switch {
	case m.Method == sip.ACK:
		// With our own To tag it is the ACK to a refusal that left no state.
		if tx == nil && string(m.To.Tag()) != k.tag() || tx != nil && !tx.ack() {
			s.user.Ack(p)
		}
		p.Release()
	case m.Method == sip.CANCEL:
		s.cancel(p, tx)
		p.Release()
	case tx != nil:
		tx.retransmitted()
		p.Release()
	default:
		s.newServer(k, p)
	}
}

// key of a request; an ACK and a CANCEL have the key of their INVITE.
func (s *Shard) key(m *sip.Message) key {
	b := s.keyBuf[:0]
	if len(m.Via.Branch) > len(sip.Cookie) && string(m.Via.Branch[:len(sip.Cookie)]) == sip.Cookie {
		// RFC 3261 17.2.3: branch, sent-by, method.
		b = append(b, m.Via.Branch...)
		b = append(b, 0)
		b = append(b, m.Via.Host...)
		b = append(b, byte(m.Via.Port), byte(m.Via.Port>>8))
	} else {
		// RFC 2543 agents: Request-URI, From tag, Call-ID, CSeq number, topmost Via. (The To tag that the RFC adds tells
		// an ACK to a 2xx from one to a refusal: see Server.ack.)
		for _, v := range [...][]byte{m.URI, m.From.Tag(), m.CallID, m.Via.Host, m.Via.Params} {
			b = append(b, v...)
			b = append(b, 0)
		}
		b = append(b, byte(m.CSeq), byte(m.CSeq>>8), byte(m.CSeq>>16), byte(m.CSeq>>24))
	}
	switch m.Method {
	case sip.ACK, sip.CANCEL:
		b = append(b, sip.INVITE...)
	default:
		b = append(b, m.Method...)
	}
	s.keyBuf = b
	return key{maphash.Bytes(s.seed[0], b), maphash.Bytes(s.seed[1], b)}
}

// tag makes a To tag for a transaction: the same for a request that comes again, unknown to others.
func (k key) tag() string {
	var b [8]byte
	for i := range b {
		b[i] = byte(k[0] >> (8 * i))
	}
	return hex.EncodeToString(b[:])
}

// replyFlow is the path of the answers to a request (RFC 3261 18.2.2, RFC 3581 4).
func replyFlow(p *transport.Packet) transport.Flow {
	f := p.Flow
	if f.Proto == transport.UDP {
		f.Remote = p.Msg.ResponseAddr()
	}
	return f
}

func (s *Shard) closed(f transport.Flow) {
	s.clients.fail(f)
	s.user.Closed(f)
}
