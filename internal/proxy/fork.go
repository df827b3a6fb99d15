package proxy

import (
	"bytes"
	"slices"

	"liaison/internal/account"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// target is one place to try.
type target struct {
	number   account.Number
	uri      []byte
	route    string // Path of its registration
	routes   [][]byte
	flow     transport.Flow
	q        uint16
	instance string
	others   []target // other flows of the same device, tried if this one fails (RFC 5626 5.3)
}

// watcher is what a fork reports to: the call that it begins, the call that it is inside, or nobody.
type watcher interface {
	ringing(b *branch, m *sip.Message)
	// answered runs forward when the 2xx may go upstream.
	answered(b *branch, m *sip.Message, forward func())
	// refused runs forward when the refusal may go upstream.
	refused(status int, cause string, by *branch, forward func())
}

// silent is the watcher of a request without a call.
type silent struct{}

func (silent) ringing(*branch, *sip.Message)                      {}
func (silent) answered(_ *branch, _ *sip.Message, forward func()) { forward() }
func (silent) refused(_ int, _ string, _ *branch, forward func()) { forward() }

// fork is the response context of a forwarded request (RFC 3261 16.2).
type fork struct {
	s        *shard
	tx       *transaction.Server
	watcher  watcher
	uri      []byte
	record   bool     // add Record-Route
	waiting  []target // not tried yet, by falling q
	branches []*branch
	open     int // branches without a final response
	best     reply
	stop     bool // a 6xx, or the caller gave up: no further target
	decided  bool // by a 2xx, or by the best of the refusals
}

// reply is a final response that may go upstream.
type reply struct {
	status int
	bytes  []byte
	from   *branch
	cause  string
}

// branch is one client transaction of a fork.
type branch struct {
	fork   *fork
	target target
	client *transaction.Client
	timerC *transaction.Timer
	rang   bool
	final  bool
}

// next tries the targets of the highest q that are left, all at once (RFC 3261 16.6).
func (f *fork) next() {
	for f.open == 0 && len(f.waiting) > 0 && !f.stop {
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
	if f.open == 0 && !f.decided {
		f.finish()
	}
}

func (f *fork) try(t target) {
	b := &branch{fork: f, target: t}
	b.client = f.s.NewClient(b)
	t.flow = f.s.forSize(b, f.tx.Packet)
	b.target.flow = t.flow
	f.branches = append(f.branches, b)
	f.open++
	method := f.tx.Method()
	b.client.Send(t.flow, method, f.s.forward(f.tx.Packet, b))
	if method == sip.INVITE {
		b.startTimerC()
	}
}

// maxDatagram is the size above which a request should not go over UDP (RFC 3261 18.1.1).
const maxDatagram = 1300

// forSize picks a connection of the same agent for a request that is too large for UDP, if there is one; else it goes
// out over UDP all the same: a fragment may get through, a refusal never does.
func (s *shard) forSize(b *branch, p *transport.Packet) transport.Flow {
	f := b.target.flow
	if f.Proto != transport.UDP || len(p.Msg.Raw)+200 <= maxDatagram || b.target.number == "" {
		return f
	}
	s.targets = s.Registrar.Lookup(b.target.number, s.targets[:0])
	for i := range s.targets {
		other := s.targets[i].Flow
		if other.Proto != transport.UDP && other.Remote.Addr() == f.Remote.Addr() && s.Connected(other) {
			return other
		}
	}
	return f
}

func (b *branch) startTimerC() {
	b.timerC.Stop()
	b.timerC = b.fork.s.After(timerC, func() { // RFC 3261 16.8
		if b.rang {
			b.client.Cancel()
		} else if !b.final {
			b.client.Abandon()
			b.Failed(b.client, transaction.ErrTimeout)
		}
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
		b.rang = true // it is there: a CANCEL can reach it
	case m.Status < 200:
		b.rang = true
		if f.tx.Method() == sip.INVITE {
			b.startTimerC() // RFC 3261 16.7 step 2
		}
		f.watcher.ringing(b, m)
		if !f.decided && !f.stop {
			f.tx.Respond(m.Status, forwardResponse(m))
		}
	case m.Status < 300:
		b.close()
		f.decide()
		status, answer := m.Status, forwardResponse(m)
		f.watcher.answered(b, m, func() { f.tx.Respond(status, answer) })
		f.giveUp() // RFC 3261 16.7 step 10
	default:
		if !b.close() {
			return
		}
		f.offer(reply{m.Status, forwardResponse(m), b, ""}, m)
		if m.Status >= 600 { // RFC 3261 16.7 step 5
			f.giveUp()
		}
		f.next()
	}
}

// Failed: timer F or B, or a broken connection, counts as 408 or 503 (RFC 3261 16.9); another flow of the same device
// is tried first.
func (b *branch) Failed(_ *transaction.Client, err error) {
	f := b.fork
	if !b.close() {
		return
	}
	if others := b.target.others; len(others) > 0 && !f.stop && f.tx.Packet != nil {
		t := others[0]
		t.others = others[1:]
		f.try(t)
		return
	}
	status, cause := 480, "connection lost"
	if err == transaction.ErrTimeout {
		status, cause = 408, "no answer from the agent"
	}
	f.offer(reply{status: status, from: b, cause: cause}, nil)
	f.next()
}

// offer keeps the better of two final responses (RFC 3261 16.7 step 6): a 6xx, else the lowest class; within 4xx those
// that let the caller try again in another way.
func (f *fork) offer(r reply, m *sip.Message) {
	if m != nil && (r.status == 401 || r.status == 407) && f.s.ownChallenge(m) {
		// A callee that challenges in our name would make the caller tell its password's hash (CVE-2021-41158).
		r = reply{status: 502, from: r.from, cause: "the agent asked for a password of this service"}
	}
	if r.status == 503 { // RFC 3261 16.7 step 6: it speaks of the agent, not of us
		r = reply{status: 500, from: r.from}
	}
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
	r := f.best
	if r.status == 0 {
		r = reply{status: 480, cause: "not registered"}
	}
	if r.bytes == nil {
		f.refuse(r.status, r.cause)
		return
	}
	f.decide()
	f.watcher.refused(r.status, cause(r.status), r.from, func() { f.tx.Respond(r.status, r.bytes) })
}

// refuse answers for ourselves.
func (f *fork) refuse(status int, why string) {
	f.decide()
	if why == "" {
		why = cause(status)
	}
	f.watcher.refused(status, why, nil, func() { f.tx.Refuse(&sip.Error{Status: status}) })
}

func (f *fork) decide() {
	if !f.decided && f.tx.Method() == sip.INVITE {
		f.s.pending.Add(-1)
	}
	f.decided = true
}

// Cancelled: the caller has given up (RFC 3261 16.10); the final response is what the branches make of it.
func (s *shard) Cancelled(tx *transaction.Server) {
	if f, ok := tx.Call.(*fork); ok {
		f.giveUp()
	}
}

// ownChallenge tells that a response challenges for our realm.
func (s *shard) ownChallenge(m *sip.Message) bool {
	return slices.ContainsFunc([]sip.HeaderID{sip.HeaderWWWAuthenticate, sip.HeaderProxyAuthenticate}, func(id sip.HeaderID) bool {
		for i := range m.Len() {
			if h := m.At(i); h.ID == id && bytes.Contains(h.Value, []byte(`"`+s.Realm+`"`)) {
				return true
			}
		}
		return false
	})
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
