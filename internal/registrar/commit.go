package registrar

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip"
)

const (
	// maxQueued bounds what waits for a commit: at 100,000 registrations a second 80 ms. Behind it stands 503.
	maxQueued = 8192
	// maxGroup bounds what shares one commit, so that the first of a group does not wait for thousands.
	maxGroup = 1024
	// pace is the least time between the beginnings of two commits while work keeps coming; who comes after a pause
	// does not wait at all.
	pace = 2 * time.Millisecond
	// saveTimeout bounds one commit; then its registrations are refused and the next group has its try.
	saveTimeout = 5 * time.Second
)

// job is what one commit must contain whole, and what is to be done when it is safe.
type job struct {
	account account.Number
	hash    uint64
	pend    *pending // nil: no registration
	steps   []step

	answer     []byte
	vias, head int // see appendAnswer
	done       func(int, []byte)

	outcome  outcome
	fresh    bool
	takeover *takeover
}

// takeover is what the log says of one.
type takeover struct {
	old    slot
	agent  string
	source netip.AddrPort
}

// queue is what waits for the committer.
type queue struct {
	wake chan struct{}

	mu     sync.Mutex
	jobs   []*job
	closed bool

	pool sync.Pool
}

func (q *queue) init() {
	q.wake = make(chan struct{}, 1)
	q.pool.New = func() any { return new(job) }
}

func (q *queue) job() *job { return q.pool.Get().(*job) }

func (q *queue) free(j *job) {
	clear(j.steps)
	*j = job{steps: j.steps[:0]}
	q.pool.Put(j)
}

// put gives a job to the committer; false: too many wait already, or the service is ending. The operator's own orders
// are few and always find room.
func (q *queue) put(j *job) bool {
	q.mu.Lock()
	if q.closed || (len(q.jobs) >= maxQueued && j.outcome != revoked) {
		q.mu.Unlock()
		return false
	}
	q.jobs = append(q.jobs, j)
	first := len(q.jobs) == 1
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// take moves a group to dst and tells whether more is waiting.
func (q *queue) take(dst []*job) (group []*job, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.jobs), maxGroup)
	dst = append(dst, q.jobs[:n]...)
	rest := copy(q.jobs, q.jobs[n:])
	clear(q.jobs[rest:])
	q.jobs = q.jobs[:rest]
	return dst, rest > 0
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// enqueueLocked hands a job of one account to the committer, after which the account's bindings will be next.
func (r *Registrar) enqueueLocked(st *stripe, j *job, next []slot) bool {
	pend := st.pendLocked(j.account)
	j.pend = pend
	// The committer needs the stripe's lock before it touches this account, so it sees the pending state as set below.
	if !r.queue.put(j) {
		if pend.jobs == 0 {
			delete(st.pending, j.account)
		}
		r.queue.free(j)
		return false
	}
	pend.jobs++
	pend.bindings = append(pend.bindings[:0], next...)
	return true
}

// commit is the committer: while one commit runs the next group gathers.
func (r *Registrar) commit(ctx context.Context) {
	var (
		group   []*job
		changes []Change
		last    time.Time
		more    bool
	)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ending := false; ; {
		if !more && !ending {
			select {
			case <-r.queue.wake:
			case <-ctx.Done():
				r.queue.close()
				ending = true
			}
		}
		if wait := pace - time.Since(last); wait > 0 && !more && !ending {
			pause.Reset(wait)
			select {
			case <-pause.C:
			case <-ctx.Done():
				r.queue.close()
				ending = true
			}
		}
		group, more = r.queue.take(group[:0])
		if len(group) == 0 {
			if ending {
				return
			}
			continue
		}
		last = time.Now()
		// What was accepted is committed even if the service is ending: its agents wait for their answers.
		changes = r.commitGroup(context.WithoutCancel(ctx), group, changes[:0])
		clear(group)
		clear(changes)
		if cap(changes) > 4*maxGroup {
			changes = nil
		}
	}
}

func (r *Registrar) commitGroup(ctx context.Context, group []*job, changes []Change) []Change {
	for _, j := range group {
		if j.pend != nil && j.pend.broken {
			continue
		}
		for i := range j.steps {
			changes = append(changes, j.steps[i].change())
		}
	}
	var err error
	if len(changes) > 0 {
		ctx, cancel := context.WithTimeout(ctx, saveTimeout)
		err = r.store.SaveBindings(ctx, changes)
		cancel()
		r.count.commits.Add(1)
		if err != nil {
			r.count.commitsFailed.Add(1)
			r.log.Error("bindings cannot be saved; their registrations are refused until the database takes them again",
				"changes", len(changes), "error", err)
		}
	}
	now := time.Now().UnixMilli()
	for _, j := range group {
		if err != nil || (j.pend != nil && j.pend.broken) {
			r.fail(j)
		} else {
			r.apply(j, now)
		}
		r.queue.free(j)
	}
	return changes
}

func (s *step) change() Change {
	c := Change{Kind: s.kind}
	switch s.kind {
	case Added:
		c.Binding = s.slot.binding()
		return c
	case Refreshed:
		c.Binding.Expires, c.Binding.CSeq = time.UnixMilli(s.slot.expires), s.slot.cseq
	case Reached:
		c.Binding.Reach, c.Binding.Seen = s.slot.reach(), time.UnixMilli(s.slot.seen)
	}
	c.Binding.ID, c.Binding.AOR = s.slot.id, account.Number(s.slot.aor())
	return c
}

// apply brings into memory what is safe, and answers.
func (r *Registrar) apply(j *job, now int64) {
	if j.pend == nil {
		return // removals of what had run out, and reachability: memory knew first
	}
	st := &r.table.stripes[j.hash>>56]
	back := false
	st.mu.Lock()
	for i := range j.steps {
		s := &j.steps[i]
		at := st.findLocked(j.hash, s.slot.id)
		switch {
		case s.kind == Removed:
			if at != nil {
				st.removeLocked(j.hash, s.slot.id)
				r.count.bindings.Add(-1)
			}
		case at == nil:
			if s.kind == Added {
				st.insertLocked(j.hash, &s.slot)
				r.count.bindings.Add(1)
			}
		case s.kind == Added:
			back = at.alter(&s.slot, now) || back
		default:
			at.expires, at.cseq = s.slot.expires, s.slot.cseq
			back = at.alive(now) || back
		}
	}
	st.settleLocked(j.account, j.pend)
	st.mu.Unlock()

	r.count.outcome[j.outcome].Add(1)
	r.logJob(j, back)
	if r.registered != nil && (j.outcome == added || j.outcome == refreshed) {
		r.registered(j.account, j.fresh || back)
	}
	if j.done != nil {
		j.done(200, j.answer)
	}
}

// alter gives a binding its new content; what the keep-alive knows stays, unless the agent is somewhere else now.
func (s *slot) alter(to *slot, now int64) (back bool) {
	was := *s
	*s = *to
	s.next = was.next
	if !s.sameFlow(&was) {
		return false
	}
	s.flags, s.misses, s.round, s.seen = was.flags&^flagUnsure, was.misses, was.round, was.seen
	if s.reach() != to.reach() {
		s.flags |= flagDirty
	}
	return s.alive(now)
}

// alive notes a sign of life; back: nobody thought so any more.
func (s *slot) alive(now int64) (back bool) {
	s.seen, s.misses = now, 0
	if s.flags&flagUnreachable == 0 {
		return false
	}
	s.flags = s.flags&^flagUnreachable | flagDirty
	return true
}

// fail refuses a registration that could not be saved, and makes those that were judged by it fail too.
func (r *Registrar) fail(j *job) {
	if j.pend == nil {
		for i := range j.steps {
			if s := &j.steps[i]; s.kind == Reached {
				r.undoReached(&s.slot)
			}
		}
		return
	}
	st := &r.table.stripes[j.hash>>56]
	st.mu.Lock()
	j.pend.broken = true
	if st.pending[j.account] == j.pend {
		delete(st.pending, j.account)
	}
	// A commit that failed by its timeout may have been done all the same.
	for i := st.index[j.hash]; i != 0; i = st.at(i).next {
		st.at(i).flags |= flagUnsure
	}
	if j.outcome == revoked { // the operator's word counts at once, with or without a database
		for i := range j.steps {
			if _, ok := st.removeLocked(j.hash, j.steps[i].slot.id); ok {
				r.count.bindings.Add(-1)
			}
		}
	}
	st.settleLocked(j.account, j.pend)
	st.mu.Unlock()
	if j.outcome == revoked {
		r.count.outcome[revoked].Add(1)
		r.logJob(j, false)
		return
	}
	r.count.outcome[unsaved].Add(1)
	if j.done != nil {
		j.done(503, appendUnavailable(j.answer, j.vias, j.head))
	}
}

// undoReached lets the keep-alive try again.
func (r *Registrar) undoReached(s *slot) {
	h, st := hash(&r.table, s.aor())
	st.mu.Lock()
	defer st.mu.Unlock()
	if at := st.findLocked(h, s.id); at != nil {
		at.flags |= flagDirty
	}
}

func (r *Registrar) logJob(j *job, back bool) {
	if (!j.fresh && !back && j.takeover == nil && j.outcome != removed && j.outcome != revoked) || !r.log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if t := j.takeover; t != nil {
		r.count.takeovers.Add(1)
		r.log.Info("takeover", "account", j.account,
			"agent", t.agent, "source", t.source,
			"old_agent", t.old.agent.Value(), "old_source", t.old.flow().Remote, "old_since", time.UnixMilli(t.old.since))
	}
	for i := range j.steps {
		s := &j.steps[i]
		switch {
		case s.kind == Added:
			r.log.Info("registered", "account", j.account, "agent", s.slot.agent.Value(), "flow", s.slot.flow().String(),
				"contact", s.slot.contact(), "expires", time.UnixMilli(s.slot.expires))
		case s.kind == Removed && j.takeover == nil:
			r.log.Info("registration ended", "account", j.account, "agent", s.slot.agent.Value(), "by", j.outcome.ender())
		case s.kind == Refreshed && back:
			r.log.Info("reachable again", "account", j.account, "by", "register")
		}
	}
}

// full is the answer when nothing more can wait for the database.
func (r *Registrar) full() *sip.Error {
	return &sip.Error{Status: 503, Headers: []byte(retryAfter)}
}
