package proxy

import (
	"slices"

	"liaison/internal/account"
	"liaison/internal/call"
	"liaison/internal/digest"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// target is one place to try.
type target struct {
	number   account.Number // of the agent
	uri      []byte
	path     string   // of its registration
	routes   [][]byte // in a dialog: what is left of the route set
	flow     transport.Flow
	q        uint16
	doubted  bool // it has stopped answering the keep-alive
	media    *call.Media
	instance string
	others   []target // other flows of the same device, tried if this one fails (RFC 5626 5.3)
}

// watcher is what a fork reports to: the call that it begins, the call that it is inside, or nobody.
type watcher interface {
	// asks and says give the body that goes on instead of the one that came, nil for that one: asks of a request to a
	// target, says of a response.
	asks(t *target, p *transport.Packet) []byte
	says(b *branch, p *transport.Packet) []byte
	ringing(b *branch, m *sip.Message)
	// answered runs forward when the 2xx may go upstream.
	answered(b *branch, m *sip.Message, forward func())
	// refused runs forward when the refusal may go upstream.
	refused(status int, cause string, by call.EndedBy, forward func())
}

// silent is the watcher of a request without a call.
type silent struct{}

func (silent) asks(*target, *transport.Packet) []byte                  { return nil }
func (silent) says(*branch, *transport.Packet) []byte                  { return nil }
func (silent) ringing(*branch, *sip.Message)                           {}
func (silent) answered(_ *branch, _ *sip.Message, forward func())      { forward() }
func (silent) refused(_ int, _ string, _ call.EndedBy, forward func()) { forward() }

// fork is the response context of a forwarded request (RFC 3261 16.2).
type fork struct {
	s         *shard
	tx        *transaction.Server
	watcher   watcher
	record    bool     // add Record-Route
	waiting   []target // not tried yet, by falling q
	branches  []*branch
	open      int // branches without a final response
	best      reply
	cancelled bool // the caller gave up
	stop      bool // no further target: a 2xx, a 6xx, a CANCEL
	decided   bool // what goes upstream is known: a 2xx, or the best of the refusals
	left      bool // and it has left
}

// reply is a final response that may go upstream.
type reply struct {
	status int
	bytes  []byte // nil: one of our own
	cause  string // in words
}

// branch is one client transaction of a fork.
type branch struct {
	fork    *fork
	target  target
	client  *transaction.Client
	timerC  *transaction.Timer
	rang    bool
	tooLong bool // timer C has cancelled it
	final   bool
}

// next tries the targets of the highest q that are left, all at once (RFC 3261 16.6).
func (f *fork) next() {
	if f.open > 0 || f.decided {
		return
	}
	if len(f.waiting) == 0 {
		f.finish()
		return
	}
	n := 1
	for n < len(f.waiting) && f.waiting[n].q == f.waiting[0].q {
		n++
	}
	group := f.waiting[:n]
	f.waiting = f.waiting[n:]
	for _, t := range group {
		f.try(t)
	}
}

func (f *fork) try(t target) {
	t.flow = f.s.forSize(&t, f.tx.Packet)
	body := f.watcher.asks(&t, f.tx.Packet)
	b := &branch{fork: f, target: t}
	b.client = f.s.NewClient(b)
	f.branches = append(f.branches, b)
	f.open++
	var room [64]byte
	branch := appendBranch(room[:0], b.client, &f.tx.Packet.Msg)
	method := f.tx.Method()
	b.client.Send(t.flow, method, f.s.forward(f.tx.Packet, &t, branch, f.record, body))
	if method == sip.INVITE {
		b.startTimerC()
	}
}

// maxDatagram is the size above which a request should not go over UDP (RFC 3261 18.1.1), added the size of what a
// forwarded request is longer by.
const maxDatagram, added = 1300, 200

// forSize picks a connection of the same agent for a request that is too large for UDP, if there is one; else it goes
// out over UDP all the same: a fragment may get through, a refusal never does.
func (s *shard) forSize(t *target, p *transport.Packet) transport.Flow {
	if t.flow.Proto != transport.UDP || len(p.Msg.Raw)+added <= maxDatagram {
		return t.flow
	}
	s.targets = s.Registrar.Lookup(t.number, s.targets[:0])
	for i := range s.targets {
		other := s.targets[i].Flow
		if other.Proto != transport.UDP && other.Remote.Addr() == t.flow.Remote.Addr() && s.Connected(other) {
			return other
		}
	}
	return t.flow
}

func (b *branch) startTimerC() {
	limit := timerC
	if b.target.doubted && !b.rang {
		limit = doubt
	}
	b.timerC.Stop()
	b.timerC = b.fork.s.After(limit, func() { // RFC 3261 16.8
		if b.rang {
			b.tooLong = true
			b.client.Cancel()
			return
		}
		b.client.Abandon()
		b.Failed(b.client, transaction.ErrTimeout)
	})
}

func (b *branch) close() bool {
	if b.final {
		return false
	}
	b.final = true
	b.fork.open--
	b.timerC.Stop()
	return true
}

// Response: RFC 3261 16.7.
func (b *branch) Response(_ *transaction.Client, p *transport.Packet) {
	f, m := b.fork, &p.Msg
	switch {
	case m.Status == 100:
		first := !b.rang
		b.rang = true // it is there: a CANCEL can reach it
		if first && b.target.doubted && f.tx.Method() == sip.INVITE {
			b.startTimerC() // and the doubt was wrong
		}
	case m.Status < 200:
		b.rang = true
		if f.tx.Method() == sip.INVITE {
			b.startTimerC() // RFC 3261 16.7 step 2
		}
		f.watcher.ringing(b, m)
		if !f.decided && !f.stop {
			f.tx.Respond(m.Status, f.s.forwardResponse(m, f.watcher.says(b, p)))
		}
	case m.Status < 300:
		b.close()
		f.decided = true
		status, answer := m.Status, f.s.forwardResponse(m, f.watcher.says(b, p))
		f.watcher.answered(b, m, func() { f.leave(status, answer) })
		f.giveUp() // RFC 3261 16.7 step 10
	default:
		if !b.close() {
			return
		}
		b.target.media.Close()
		f.offer(f.judge(b, m))
		if m.Status >= 600 { // RFC 3261 16.7 step 5
			f.giveUp()
		}
		f.next()
	}
}

// Failed: timer F or B, or a broken connection, counts as a refusal (RFC 3261 16.9); another flow of the same device is
// tried first.
func (b *branch) Failed(_ *transaction.Client, err error) {
	f := b.fork
	if !b.close() {
		return
	}
	b.target.media.Close()
	if others := b.target.others; len(others) > 0 && !f.stop {
		t := others[0]
		t.others = others[1:]
		f.try(t)
		return
	}
	if err == transaction.ErrTimeout && b.target.doubted {
		f.offer(reply{status: 480, cause: "the agent does not answer any more"})
	} else if err == transaction.ErrTimeout {
		f.offer(reply{status: 408, cause: "no answer from the agent"})
	} else {
		f.offer(reply{status: 480, cause: "connection lost"})
	}
	f.next()
}

// judge is what an agent's refusal means for the caller.
func (f *fork) judge(b *branch, m *sip.Message) reply {
	switch {
	case (m.Status == 401 || m.Status == 407) && f.s.ownChallenge(m):
		// A callee that challenges in our name would make the caller tell its password's hash (CVE-2021-41158).
		return reply{status: 502, cause: "the agent asked for a password of this service"}
	case m.Status == 503: // RFC 3261 16.7 step 6: it speaks of the agent, not of us
		return reply{status: 500, cause: "the agent is out of service"}
	case m.Status == 487 && b.tooLong: // RFC 3261 16.8: as if a 408 had come
		return reply{status: 408, cause: cause(408)}
	}
	return reply{m.Status, f.s.forwardResponse(m, nil), cause(m.Status)}
}

// offer keeps the better of two final responses (RFC 3261 16.7 step 6): a 6xx, else the lowest class; within 4xx those
// that let the caller try again in another way.
func (f *fork) offer(r reply) {
	if f.best.status == 0 || rank(r.status) < rank(f.best.status) {
		f.best = r
	}
}

func rank(status int) int {
	switch {
	case status >= 600:
		return 0
	case status == 401, status == 407, status == 415, status == 420, status == 484:
		return 400
	case status == 408, status == 480: // "nobody there" says less than a refusal
		return 499
	case status/100 == 4:
		return 401
	}
	return status
}

// giveUp cancels what still rings and tries nothing more.
func (f *fork) giveUp() {
	f.stop = true
	f.waiting = nil
	for _, b := range f.branches {
		if !b.final {
			b.client.Cancel()
		}
	}
}

// finish sends the best of the final responses upstream.
func (f *fork) finish() {
	r, by := f.best, call.ByService
	switch {
	case f.cancelled && r.status < 600: // whatever the branches made of it
		by = call.ByCaller
		if r.status != 487 {
			r = reply{status: 487, cause: cause(487)}
		}
	case r.bytes != nil:
		by = call.ByCallee
	}
	f.refuse(r, by)
}

func (f *fork) refuse(r reply, by call.EndedBy) {
	f.decided = true
	f.watcher.refused(r.status, r.cause, by, func() {
		if r.bytes == nil {
			e := &sip.Error{Status: r.status}
			r.bytes = sip.AppendRefusal(nil, &f.tx.Packet.Msg, e, f.tx.Tag())
		}
		f.leave(r.status, r.bytes)
	})
}

// leave sends a final response upstream; a 2xx may be sent again.
func (f *fork) leave(status int, b []byte) {
	f.tx.Respond(status, b)
	if !f.left && f.tx.Method() == sip.INVITE {
		f.s.pending.Add(-1)
	}
	f.left = true
}

// Cancelled: the caller has given up (RFC 3261 16.10).
func (s *shard) Cancelled(tx *transaction.Server) {
	if f, ok := tx.Call.(*fork); ok {
		f.cancelled = true
		f.giveUp()
	}
}

// ownChallenge tells that a response challenges for our realm.
func (s *shard) ownChallenge(m *sip.Message) bool {
	for i := range m.Len() {
		h := m.At(i)
		if !slices.Contains([]sip.HeaderID{sip.HeaderWWWAuthenticate, sip.HeaderProxyAuthenticate}, h.ID) {
			continue
		}
		if c, err := digest.ParseChallenge(h.Value); err == nil && c.Realm == s.Realm || s.namesRealm(h.Value) {
			return true
		}
	}
	return false
}

// cause is a refusal in words, for the record.
func cause(status int) string {
	switch status {
	case 401, 407:
		return "password asked for"
	case 404:
		return "no such number"
	case 408:
		return "no answer"
	case 410:
		return "gone"
	case 415, 488, 606:
		return "no common codec"
	case 480:
		return "not available"
	case 486, 600:
		return "busy"
	case 487:
		return "cancelled"
	case 603:
		return "declined"
	}
	return sip.ReasonPhrase(status)
}
