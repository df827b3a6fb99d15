package registrar

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Config says what a Registrar needs.
type Config struct {
	Store  Store
	Sender Sender // for the keep-alive alone
	Logger *slog.Logger
	// Announce is what our Via says on a flow.
	Announce func(transport.Flow) netip.AddrPort
	// Ours tells a host and port (0: none written) at which we listen ourselves. May be nil.
	Ours func(host []byte, port uint16) bool
	// Registered is called after each registration; fresh: not just refreshed, so calls of the account are worth a probe.
	// It is called by the committer and must not wait. May be nil.
	Registered func(n account.Number, fresh bool)

	Contacts int           // per account; DefaultContacts if 0
	Min      time.Duration // shortest period that is accepted; DefaultMin if 0
	Default  time.Duration // for who does not ask; DefaultExpiry if 0
	Max      time.Duration // longest that is granted; DefaultMax if 0
}

// Registrar keeps the bindings.
type Registrar struct {
	store       Store
	sender      Sender
	announce    func(transport.Flow) netip.AddrPort
	ours        func([]byte, uint16) bool
	registered  func(account.Number, bool)
	log         *slog.Logger
	maxContacts int
	period      struct{ least, usual, most time.Duration }

	table   table
	lastID  atomic.Int64
	date    dateLine
	scratch sync.Pool // *scratch
	queue   queue
	closed  closedFlows
	count   counters
}

// scratch is what one Register call works with.
type scratch struct {
	request request
	verdict verdict
}

// New makes a Registrar; Load fills it and Run keeps it going.
func New(c Config) *Registrar {
	r := &Registrar{
		store:       c.Store,
		sender:      c.Sender,
		announce:    c.Announce,
		ours:        c.Ours,
		registered:  c.Registered,
		log:         c.Logger,
		maxContacts: cmp.Or(c.Contacts, DefaultContacts),
	}
	r.period.least = cmp.Or(c.Min, DefaultMin)
	r.period.usual = cmp.Or(c.Default, DefaultExpiry)
	r.period.most = cmp.Or(c.Max, DefaultMax)
	r.scratch.New = func() any { return new(scratch) }
	r.queue.init()
	r.table.init()
	return r
}

// Load takes over the stored bindings. It is called once, before anything else.
func (r *Registrar) Load(ctx context.Context) error {
	now := time.Now()
	var loaded, broken int
	var gone []Change
	last := now.UnixMilli() << 10 // IDs begin anew above all that were ever given, whatever was removed since
	err := r.store.Bindings(ctx, func(b *Binding) error {
		last = max(last, b.ID)
		s, ok := slotOf(b)
		if !ok {
			broken++
			return nil
		}
		if s.expires <= now.UnixMilli() {
			gone = append(gone, Change{Removed, Binding{ID: b.ID, AOR: b.AOR}})
			return nil
		}
		if s.proto.Reliable() && s.reach() != Unreachable {
			// Its connection went with the process that had it; the agent comes back by itself.
			s.setReach(Unreachable)
			s.flags |= flagDirty
		}
		s.conn = 0
		h, st := hash(&r.table, b.AOR)
		st.mu.Lock()
		defer st.mu.Unlock()
		// A commit that was given up may have been done all the same, and its agent came again: the newer row is right.
		if twin := st.twinLocked(h, &s); twin != 0 {
			old := s.id
			if twin < s.id {
				old = twin
				st.removeLocked(h, twin)
				st.insertLocked(h, &s)
			}
			gone = append(gone, Change{Removed, Binding{ID: old, AOR: b.AOR}})
			return nil
		}
		st.insertLocked(h, &s)
		loaded++
		return nil
	})
	if err != nil {
		return fmt.Errorf("load bindings: %w", err)
	}
	for batch := range slices.Chunk(gone, maxGroup) {
		if err := r.store.SaveBindings(ctx, batch); err != nil {
			return fmt.Errorf("remove expired bindings: %w", err)
		}
	}
	r.lastID.Store(last)
	r.count.bindings.Store(int64(loaded))
	if broken > 0 {
		r.log.Error("stored bindings cannot be read; their agents come back when they register again", "count", broken)
	}
	r.log.Info("bindings loaded", "count", loaded, "expired", len(gone))
	return nil
}

// Run commits registrations and keeps UDP bindings open until ctx ends; what was accepted by then is committed first.
func (r *Registrar) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.commit(ctx) })
	wg.Go(func() { r.keepAlive(ctx) })
	wg.Wait()
	return nil
}

// Register does what a REGISTER of an authenticated account asks for. The answer is appended to buf, which is lent until
// done gets it: at once for refusals and queries, else from the committer when the change is safe, with 503 if it is
// not. Nothing of p is kept after the return. Neither Register nor done may wait for the other.
func (r *Registrar) Register(p *transport.Packet, acc *account.Account, buf []byte, done func(status int, answer []byte)) {
	w := r.scratch.Get().(*scratch)
	refusal, outcome, answer := r.register(w, p, acc, buf, done)
	w.request.reset()
	w.verdict.reset()
	r.scratch.Put(w)
	switch {
	case refusal != nil:
		r.count.refused(refusal.Status)
		r.log.Debug("registration refused", "account", acc.Number, "source", p.Flow.Remote, "error", refusal)
		done(refusal.Status, r.appendRefusal(buf, &p.Msg, refusal))
	case answer != nil:
		r.count.outcome[outcome].Add(1)
		done(200, answer)
	}
}

// register gives a refusal, an answer that can leave at once, or neither when the committer will answer.
func (r *Registrar) register(w *scratch, p *transport.Packet, acc *account.Account, buf []byte, done func(int, []byte)) (*sip.Error, outcome, []byte) {
	q, v := &w.request, &w.verdict
	if e := r.read(q, p, acc); e != nil {
		return e, 0, nil
	}
	now := time.Now()
	ms := now.UnixMilli()
	h, st := hash(&r.table, acc.Number)
	st.mu.Lock()
	defer st.mu.Unlock()
	waiting := st.pending[acc.Number]
	query := len(q.contacts) == 0 && !q.star
	if waiting == nil || query {
		v.next = st.bindingsLocked(h, string(acc.Number), ms, v.next)
	} else {
		v.next = append(v.next, waiting.bindings...)
	}
	if query { // RFC 3261 10.2.3
		answer, _, _ := r.appendAnswer(buf, &p.Msg, q, v.next, now)
		return nil, queried, answer
	}
	if e := r.judge(v, q, acc, ms); e != nil {
		return e, 0, nil
	}
	answer, vias, head := r.appendAnswer(buf, &p.Msg, q, v.next, now)
	if len(v.steps) == 0 && waiting == nil {
		return nil, unchanged, answer
	}
	j := r.queue.job()
	j.account, j.hash, j.answer, j.vias, j.head, j.done = acc.Number, h, answer, vias, head, done
	j.steps = append(j.steps, v.steps...)
	j.outcome, j.fresh = v.outcome(), v.fresh
	if v.takeover {
		j.takeover = &takeover{old: v.displaced, agent: string(q.agent), source: q.flow.Remote}
	}
	if !r.enqueueLocked(st, j, v.next) {
		return r.full(), 0, nil
	}
	return nil, 0, nil
}

// Lookup appends the bindings of a number to dst, the best first: by q, then the newest. It takes no allocation but
// what dst needs.
func (r *Registrar) Lookup(n account.Number, dst []Binding) []Binding {
	now := time.Now().UnixMilli()
	first := len(dst)
	h, st := hash(&r.table, n)
	st.mu.Lock()
	for i := st.index[h]; i != 0; {
		b := st.at(i)
		if b.expires > now && b.aor() == string(n) {
			dst = append(dst, b.binding())
		}
		i = b.next
	}
	st.mu.Unlock()
	if len(dst)-first > 1 {
		slices.SortStableFunc(dst[first:], func(a, b Binding) int {
			return cmp.Or(cmp.Compare(b.Q, a.Q), cmp.Compare(b.ID, a.ID))
		})
	}
	return dst
}

// Current tells whether a flow is one that the account is registered from: a request in a dialog that comes from a new
// place is believed if its agent has registered from there.
func (r *Registrar) Current(n account.Number, f transport.Flow) bool {
	now := time.Now().UnixMilli()
	h, st := hash(&r.table, n)
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := st.index[h]; i != 0; {
		b := st.at(i)
		// Not the local end: a codec may register at one of our ports and send its calls through another.
		if b.expires > now && b.aor() == string(n) && b.proto == f.Proto && b.conn == f.Conn &&
			b.port == f.Remote.Port() && b.remoteAddr() == f.Remote.Addr() {
			return true
		}
		i = b.next
	}
	return false
}

// Remove ends all bindings of an account that may no longer have any: it was locked, removed, or given away. It does not
// wait for the database, nor does it depend on it: should the rows stay, they run out by themselves.
func (r *Registrar) Remove(n account.Number) {
	h, st := hash(&r.table, n)
	st.mu.Lock()
	defer st.mu.Unlock()
	var was []slot
	if waiting := st.pending[n]; waiting != nil {
		was = waiting.bindings
	} else {
		was = st.bindingsLocked(h, string(n), 0, nil)
	}
	if len(was) == 0 {
		return
	}
	j := r.queue.job()
	j.account, j.hash, j.outcome = n, h, revoked
	for i := range was {
		j.steps = append(j.steps, step{Removed, was[i]})
	}
	r.enqueueLocked(st, j, nil)
}

func (r *Registrar) sum(b []byte, n uint64) uint64 {
	return maphash.Bytes(r.table.seed, b) ^ n*0x9e3779b97f4a7c15
}
