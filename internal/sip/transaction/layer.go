// Package transaction holds SIP transactions (RFC 3261 17, RFC 6026) and the loop they live in. Everything that belongs
// to a Call-ID runs in one shard, which is one goroutine: no locks inside, strict order per call. A transaction keeps
// the bytes that it may have to send again, and nothing else of a message.
package transaction

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"liaison/internal/sip/transport"
)

// The timers of RFC 3261 17 and RFC 6026.
const (
	T1 = 500 * time.Millisecond
	T2 = 4 * time.Second
	T4 = 5 * time.Second

	timerB = 64 * T1 // INVITE client: no answer at all
	timerD = 32 * time.Second
	timerF = 64 * T1 // other client: no final answer
	timerH = 64 * T1 // INVITE server: no ACK
	timerI = T4
	timerJ = 64 * T1
	timerK = T4
	timerL = 64 * T1
	timerM = 64 * T1
)

// Sender is what a shard sends through: the transport's batch, or a test's recorder. One shard uses one Sender.
type Sender interface {
	Send(f transport.Flow, b []byte) // b is the caller's again when Send returns
	Flush()
	Connected(f transport.Flow) bool
}

// User is what sits above: the proxy, or the user agent. Its methods run in the shard. A packet is theirs until they
// return, but for a Server's, which lives until its final response.
type User interface {
	Request(tx *Server)           // a new request; neither ACK nor CANCEL
	Ack(p *transport.Packet)      // an ACK to a 2xx, or a stray one
	Cancelled(tx *Server)         // the INVITE has no final answer yet; the CANCEL is answered
	Response(p *transport.Packet) // belongs to no transaction
	Closed(f transport.Flow)      // a connection has ended
}

// Config is what a Layer is made of.
type Config struct {
	Shards int
	Sender func() Sender     // one for each shard
	User   func(*Shard) User // one for each shard
	Queue  int               // packets that may wait for a shard; more are dropped and counted
	Logger *slog.Logger
}

// Layer spreads what the transport receives over the shards. It is the transport's Handler.
type Layer struct {
	shards []*Shard
	seed   maphash.Seed
	Counters
}

// Counters count what the layer did; they only grow.
type Counters struct {
	Dropped         atomic.Uint64 // a shard's queue was full
	Retransmissions atomic.Uint64 // requests and responses that came again
	Resent          atomic.Uint64 // requests and responses sent again
	Timeouts        atomic.Uint64 // client transactions that nobody answered
	StrayResponses  atomic.Uint64
	StrayCancels    atomic.Uint64
	Panics          atomic.Uint64
}

// New makes the layer; Run starts it.
func New(c Config) *Layer {
	l := &Layer{seed: maphash.MakeSeed()}
	for i := range max(c.Shards, 1) {
		l.shards = append(l.shards, newShard(i, l, c))
	}
	for _, s := range l.shards {
		s.user = c.User(s)
	}
	return l
}

// Run serves until ctx ends.
func (l *Layer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range l.shards {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
	return nil
}

// Shard is where everything of that Call-ID lives.
func (l *Layer) Shard(callID []byte) *Shard {
	if len(l.shards) == 1 {
		return l.shards[0]
	}
	return l.shards[maphash.Bytes(l.seed, callID)%uint64(len(l.shards))]
}

// Shards are all of them.
func (l *Layer) Shards() []*Shard { return l.shards }

// Receive takes over the packets of one read.
func (l *Layer) Receive(batch []*transport.Packet) {
	if len(l.shards) == 1 {
		l.shards[0].receive(batch)
		return
	}
	for i := 0; i < len(batch); {
		s, n := l.Shard(batch[i].Msg.CallID), i+1
		for n < len(batch) && l.Shard(batch[n].Msg.CallID) == s {
			n++
		}
		s.receive(batch[i:n])
		i = n
	}
}

// Closed tells every shard that a connection has ended.
func (l *Layer) Closed(f transport.Flow, _ error) {
	for _, s := range l.shards {
		s.Post(func() { s.closed(f) })
	}
}
