package registrar

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

const (
	// interval is how often a UDP binding is pinged: some NATs forget after 30 s.
	interval = 25 * time.Second
	// grace is how long a ping may stay unanswered before it is a miss.
	grace = 5 * time.Second
	// misses in a row make an agent unreachable: at the latest after 25 + 2*25 + 5 s.
	maxMisses = 3

	// The table is walked in parts, so that pings are spread in time: a part is every fourth slot of a stripe.
	partsPerStripe = 4
	parts          = stripes * partsPerStripe
	partTime       = interval / parts
	// lag is by how many parts the walk that looks for answers follows the one that pings.
	lag = int64((grace + partTime - 1) / partTime)
)

// keepAlive walks the table: every binding is visited once an interval to be pinged, or dropped if it has run out, and
// once more when its answer is due. No binding has a timer.
func (r *Registrar) keepAlive(ctx context.Context) {
	ticker := time.NewTicker(partTime)
	defer ticker.Stop()
	w := walker{r: r}
	start, at := time.Now(), int64(0)
	swept := start
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		due := int64(now.Sub(start) / partTime)
		// After a stall of the machine the parts missed are left out: a burst of pings would only add to it.
		for at = max(at, due-parts/8); at < due; at++ {
			w.visit(at, now)
			w.judge(at-lag, now)
		}
		if now.Sub(swept) >= time.Second {
			swept = now
			w.sweepClosed(r.closed.take())
		}
		w.flush()
	}
}

// walker is what keepAlive works with.
type walker struct {
	r     *Registrar
	pings []ping
	steps []step
	buf   []byte
}

// ping is what one OPTIONS needs, taken under the stripe's lock and sent outside.
type ping struct {
	contact, path string
	flow          transport.Flow
	ref           uint32
	token         uint64
}

// part gives a stripe and the first slot of a part; slots of a part are partsPerStripe apart.
func (r *Registrar) part(n int64) (stripeAt int, first uint32) {
	n %= parts
	return int(n % stripes), uint32(n/stripes) + 1
}

// visit pings the UDP bindings of a part and drops what has run out.
func (w *walker) visit(n int64, now time.Time) {
	r, ms := w.r, now.UnixMilli()
	at, first := r.part(n)
	st := &r.table.stripes[at]
	st.mu.Lock()
	for i := first; i <= st.used; i += partsPerStripe {
		s := st.at(i)
		switch {
		case s.flags&flagUsed == 0:
		case s.expires <= ms:
			w.expireLocked(st, s)
		case s.proto == transport.UDP:
			s.round++
			s.flags |= flagPinged
			ref := uint32(at)<<24 | i
			w.pings = append(w.pings, ping{s.contact(), s.path(), s.flow(), ref, r.token(s, ref)})
		}
	}
	st.mu.Unlock()
	for i := range w.pings {
		w.send(&w.pings[i])
	}
	r.count.pings.Add(uint64(len(w.pings)))
	clear(w.pings)
	w.pings = w.pings[:0]
}

// expireLocked drops a binding that has run out. Its row follows when it can: nobody takes an expired row for a binding.
// A commit under way may be about to refresh it; then it is looked at again the next time.
func (w *walker) expireLocked(st *stripe, s *slot) {
	if _, busy := st.pending[account.Number(s.aor())]; busy {
		return
	}
	h, _ := hash(&w.r.table, s.aor())
	if was, ok := st.removeLocked(h, s.id); ok {
		w.r.count.bindings.Add(-1)
		w.r.count.expired.Add(1)
		w.steps = append(w.steps, step{Removed, was})
	}
}

// judge looks at the bindings of a part whose answers are due, and has the store told what has changed.
func (w *walker) judge(n int64, now time.Time) {
	if n < 0 {
		return
	}
	at, first := w.r.part(n)
	st := &w.r.table.stripes[at]
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := first; i <= st.used; i += partsPerStripe {
		s := st.at(i)
		if s.flags&flagUsed == 0 {
			continue
		}
		if s.flags&flagPinged != 0 {
			s.flags &^= flagPinged
			w.r.count.misses.Add(1)
			w.missedLocked(s)
		}
		w.markLocked(s)
	}
}

// missedLocked counts an answer that did not come. An agent that never answered one is not judged by it: there are
// codecs that know no OPTIONS.
func (w *walker) missedLocked(s *slot) {
	if s.flags&flagProven == 0 || s.flags&flagUnreachable != 0 {
		return
	}
	if s.misses++; s.misses >= maxMisses {
		s.flags |= flagUnreachable | flagDirty
	}
}

// markLocked has a changed Reach saved.
func (w *walker) markLocked(s *slot) {
	if s.flags&flagDirty != 0 {
		s.flags &^= flagDirty
		w.steps = append(w.steps, step{Reached, *s})
	}
}

// sweepClosed marks the bindings whose connections have gone.
func (w *walker) sweepClosed(conns map[uint32]struct{}) {
	if len(conns) == 0 {
		return
	}
	for at := range w.r.table.stripes {
		st := &w.r.table.stripes[at]
		st.mu.Lock()
		for i := uint32(1); i <= st.used; i++ {
			s := st.at(i)
			if s.conn == 0 || s.flags&(flagUsed|flagUnreachable) != flagUsed {
				continue
			}
			if _, gone := conns[s.conn]; gone {
				s.flags |= flagProven | flagUnreachable | flagDirty
				w.markLocked(s)
			}
		}
		st.mu.Unlock()
	}
}

// flush sends the pings, logs what has changed, and hands it to the committer.
func (w *walker) flush() {
	r := w.r
	r.sender.Flush()
	if len(w.steps) == 0 {
		return
	}
	for i := range w.steps {
		s := &w.steps[i].slot
		switch {
		case w.steps[i].kind == Removed:
			r.log.Info("registration ended", "account", s.aor(), "agent", s.agent.Value(), "by", "expiry")
		case s.reach() == Unreachable:
			r.log.Info("unreachable", "account", s.aor(), "agent", s.agent.Value(), "flow", s.flow().String(),
				"misses", s.misses)
		case s.reach() == Reachable:
			r.log.Info("reachable", "account", s.aor(), "agent", s.agent.Value(), "flow", s.flow().String())
		}
	}
	j := r.queue.job()
	j.steps = append(j.steps, w.steps...)
	if !r.queue.put(j) {
		r.fail(j)
		r.queue.free(j)
	}
	clear(w.steps)
	w.steps = w.steps[:0]
}

// branchPrefix begins the branch of a ping; the slot's number and the token follow.
const branchPrefix = sip.Cookie + "-ka-"

const refDigits, tokenDigits = 8, 16

// token proves that an answer is to the ping that went to this binding: nobody else has seen it.
func (r *Registrar) token(s *slot, ref uint32) uint64 {
	var b [13]byte
	binary.LittleEndian.PutUint64(b[:], uint64(s.id))
	binary.LittleEndian.PutUint32(b[8:], ref)
	b[12] = s.round
	return maphash.Bytes(r.table.seed, b[:])
}

// send writes an OPTIONS: as short as RFC 3261 8.1.1 lets it be, outside any transaction and never repeated, because the
// next one comes soon enough.
func (w *walker) send(p *ping) {
	self := w.r.announce(p.flow)
	b := sip.AppendRequestLine(w.buf[:0], sip.OPTIONS, target(p.contact))
	b = append(b, "Via: SIP/2.0/UDP "...)
	b = self.AppendTo(b)
	b = append(b, ";rport;branch="+branchPrefix...)
	id := len(b)
	b = appendHex(b, uint64(p.ref), refDigits)
	b = appendHex(b, p.token, tokenDigits)
	end := len(b)
	if p.path != "" {
		b = append(b, "\r\nRoute: "...)
		b = append(b, p.path...)
	}
	b = append(b, "\r\nMax-Forwards: 70\r\nFrom: <sip:"...)
	b = self.AppendTo(b)
	b = append(b, ">;tag="...)
	b = append(b, b[id:id+refDigits]...)
	b = append(b, "\r\nTo: <"...)
	b = append(b, target(p.contact)...)
	b = append(b, ">\r\nCall-ID: "...)
	b = append(b, b[id:end]...)
	b = append(b, "\r\nCSeq: 1 OPTIONS\r\n"...)
	b = sip.AppendBody(b, "", nil)
	w.r.sender.Send(p.flow, b)
	w.buf = b
}

// Pong takes the answer to a ping; false: it is none. Any status is life. It may be called from any goroutine and does
// not keep p.
func (r *Registrar) Pong(p *transport.Packet) bool {
	rest, ours := bytes.CutPrefix(p.Msg.Via.Branch, []byte(branchPrefix))
	if !ours || p.Msg.IsRequest() {
		return false
	}
	if len(rest) != refDigits+tokenDigits {
		return true
	}
	ref, ok := hex(rest[:refDigits])
	token, ok2 := hex(rest[refDigits:])
	if !ok || !ok2 {
		return true
	}
	st := &r.table.stripes[ref>>24&(stripes-1)]
	i := uint32(ref) & 0xffffff
	st.mu.Lock()
	defer st.mu.Unlock()
	if i == 0 || i > st.used {
		return true
	}
	s := st.at(i)
	if s.flags&flagUsed == 0 || r.token(s, uint32(ref)) != token {
		return true // too late, or made up
	}
	r.count.pongs.Add(1)
	s.flags &^= flagPinged
	if s.flags&flagProven == 0 {
		s.flags |= flagProven | flagDirty
	}
	s.alive(time.Now().UnixMilli())
	return true
}

func hex(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

// closedFlows gathers connections that have ended: one walk over the table serves all of a second.
type closedFlows struct {
	mu    sync.Mutex
	conns map[uint32]struct{}
}

func (c *closedFlows) take() map[uint32]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	conns := c.conns
	c.conns = nil
	return conns
}

// Closed notes that a connection has ended. Bindings made over it stay until they run out, and are unreachable within a
// second.
func (r *Registrar) Closed(f transport.Flow) {
	if !f.Proto.Reliable() || f.Conn == 0 {
		return
	}
	r.closed.mu.Lock()
	defer r.closed.mu.Unlock()
	if r.closed.conns == nil {
		r.closed.conns = make(map[uint32]struct{})
	}
	r.closed.conns[f.Conn] = struct{}{}
}
