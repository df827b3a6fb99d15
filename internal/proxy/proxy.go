// Package proxy routes requests (RFC 3261 16): it knows who may call, which number is meant, where its agents are, and
// what becomes of a forked request. The service is closed: callers prove who they are, and only our numbers are reached.
package proxy

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"liaison/internal/account"
	"liaison/internal/call"
	"liaison/internal/registrar"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// Config is what a Proxy is made of.
type Config struct {
	Names         *Names
	Realm         string
	Authenticator *account.Authenticator
	Directory     *account.Directory
	Registrar     *registrar.Registrar
	Calls         *call.Calls
	Announced     func(transport.Flow) netip.AddrPort
	// Local gives the path to a number that the service itself answers, for a caller on that flow.
	Local  func(n account.Number, caller transport.Flow) (transport.Flow, bool)
	Logger *slog.Logger
}

// Proxy is the part that all shards share.
type Proxy struct {
	Config
	draining atomic.Bool
	pending  atomic.Int64 // INVITEs without a final answer
	Counters
}

// Counters count what became of requests; they only grow.
type Counters struct {
	Challenged    atomic.Uint64 // 401 and 407 that asked for a password
	WrongPassword atomic.Uint64 // and those that refused one
	AccountState  atomic.Uint64 // locked, expired, not yet valid
	Foreign       atomic.Uint64 // for somebody else's domain
	NotInDialog   atomic.Uint64 // said to belong to a call, and does not
	StrayAck      atomic.Uint64
	StrayResponse atomic.Uint64
	Malformed     atomic.Uint64
	Draining      atomic.Uint64
}

// New makes a proxy.
func New(c Config) *Proxy { return &Proxy{Config: c} }

// Drain refuses new calls from now on.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Drained tells that Drain was called.
func (p *Proxy) Drained() bool { return p.draining.Load() }

// Pending is how many INVITEs wait for their final answer.
func (p *Proxy) Pending() int { return int(p.pending.Load()) }

// shard is the proxy in one shard; it is the transactions' User.
type shard struct {
	*Proxy
	*transaction.Shard
	table   *call.Table
	targets []registrar.Binding // scratch
	buffers [][]byte            // for the registrar's answers
}

// User makes the proxy of one shard.
func (p *Proxy) User(s *transaction.Shard, t *call.Table) transaction.User {
	return &shard{Proxy: p, Shard: s, table: t}
}

// request is a request as it stands after RFC 3261 16.3 and 16.4.
type request struct {
	*sip.Message
	uri    []byte // the effective Request-URI
	parsed sip.URI
	routes [][]byte // what is left of Route
}

// Request serves a new request.
func (s *shard) Request(tx *transaction.Server) {
	m := &tx.Packet.Msg
	r, err := s.validate(m)
	if err != nil {
		s.Malformed.Add(1)
		refuse(tx, err)
		return
	}
	switch {
	case m.Method == sip.REGISTER:
		s.register(tx, r)
	case m.To.Tag() != nil:
		s.inDialog(tx, r)
	case s.isForUs(m, &r.parsed):
		s.toUs(tx)
	default:
		s.newRequest(tx, r)
	}
}

// validate: RFC 3261 16.3, request validation, and 16.4, route information.
func (s *shard) validate(m *sip.Message) (request, *sip.Error) {
	r := request{Message: m, uri: m.URI}
	// RFC 3261 16.3 step 2.
	if scheme, _, _ := bytes.Cut(m.URI, []byte(":")); !bytes.EqualFold(scheme, []byte("sip")) {
		if bytes.EqualFold(scheme, []byte("sips")) {
			return r, sip.Errorf(416, "Unsupported URI Scheme - no TLS here, use sip", "sips")
		}
		return r, sip.Errorf(416, "", "scheme %q", scheme)
	}
	var err error
	if r.parsed, err = sip.ParseURI(m.URI); err != nil {
		return r, sip.Errorf(400, "Bad Request - Request-URI", "%w", err)
	}
	// RFC 3261 16.3 step 3.
	switch n, err := m.MaxForwards(); {
	case err != nil:
		return r, sip.Errorf(400, "Bad Request - Max-Forwards", "%w", err)
	case n == 0 && !s.isForUs(m, &r.parsed): // what need not go further has arrived
		return r, sip.Errorf(483, "", "Max-Forwards 0")
	}
	// RFC 3261 16.3 step 4, RFC 5393 4.2.
	if s.looped(m) {
		return r, sip.Errorf(482, "", "our own Via with the same branch")
	}
	// RFC 3261 16.3 step 5: we know no extension that a proxy must support.
	var unknown [][]byte
	for v := range m.Values(sip.HeaderProxyRequire) {
		unknown = append(unknown, v)
	}
	if unknown != nil {
		return r, &sip.Error{Status: 420, Headers: sip.AppendHeader(nil, "Unsupported", bytes.Join(unknown, []byte(", ")))}
	}
	for v := range m.Values(sip.HeaderRoute) {
		a, err := sip.ParseAddress(v)
		if err != nil {
			return r, sip.Errorf(400, "Bad Request - Route", "%w", err)
		}
		// RFC 3261 16.4: our own elements at the top are taken off; there are two where transport or address changed.
		if len(r.routes) == 0 && s.isOurs(a.URI) {
			continue
		}
		r.routes = append(r.routes, v)
	}
	// RFC 3261 16.4: a strict router before us has put our Record-Route into the Request-URI and the target at the end.
	if n := len(r.routes); n > 0 && len(r.parsed.User) == 0 && s.Names.URI(&r.parsed) {
		if _, lr := r.parsed.Params.Get("lr"); lr {
			last, _ := sip.ParseAddress(r.routes[n-1])
			r.uri, r.routes = last.URI, r.routes[:n-1]
			if r.parsed, err = sip.ParseURI(r.uri); err != nil {
				return r, sip.Errorf(400, "Bad Request - Route", "%w", err)
			}
		}
	}
	return r, nil
}

// isForUs tells a request that the service itself answers.
func (s *shard) isForUs(m *sip.Message, uri *sip.URI) bool {
	return m.Method == sip.REGISTER || len(uri.User) == 0 && m.To.Tag() == nil && s.Names.URI(uri)
}

func (s *shard) isOurs(uri []byte) bool {
	u, err := sip.ParseURI(uri)
	return err == nil && s.Names.URI(&u)
}

// register serves a REGISTER: the registrar answers, when the binding is safe.
func (s *shard) register(tx *transaction.Server, r request) {
	if !s.Names.URI(&r.parsed) {
		s.Foreign.Add(1)
		refuse(tx, sip.Errorf(403, "Forbidden - not a name of this service", "REGISTER for %q", r.uri))
		return
	}
	acc := s.authenticate(tx)
	if acc == nil {
		return
	}
	var buf []byte
	if n := len(s.buffers); n > 0 {
		buf, s.buffers = s.buffers[n-1], s.buffers[:n-1]
	}
	s.Registrar.Register(tx.Packet, acc, buf[:0], func(status int, answer []byte) {
		s.Post(func() {
			tx.Respond(status, answer)
			if len(s.buffers) < 256 && cap(answer) <= 4096 {
				s.buffers = append(s.buffers, answer)
			}
		})
	})
}

// authenticate gives the account whose password the sender knows; if there is none, the request is answered: without
// state, so that a stranger leaves none.
func (s *shard) authenticate(tx *transaction.Server) *account.Account {
	m := &tx.Packet.Msg
	acc, err := s.Authenticator.Authenticate(m, s.Now())
	if err == nil {
		return acc
	}
	switch {
	case err.Status == 403:
		s.AccountState.Add(1)
		s.Logger.Info("refused", "method", m.Method, "source", tx.Flow().Remote, "from", printable(m.From.URI), "error", err)
	case m.Has(sip.HeaderAuthorization) || m.Has(sip.HeaderProxyAuthorization):
		s.WrongPassword.Add(1)
	default:
		s.Challenged.Add(1)
	}
	refuse(tx, err)
	return nil
}

// refuse answers a stranger, who leaves no state behind.
func refuse(tx *transaction.Server, e *sip.Error) {
	tx.RespondStateless(sip.AppendRefusal(nil, &tx.Packet.Msg, e, tx.Tag()))
}

// printable bounds a value from outside for the log, which escapes what it must.
func printable(b []byte) string {
	if len(b) > 128 {
		b = b[:128]
	}
	return string(b)
}

const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, MESSAGE, REFER, NOTIFY"

// toUs answers requests for the service itself (RFC 3261 11.2): they cost nothing to answer again.
func (s *shard) toUs(tx *transaction.Server) {
	m := &tx.Packet.Msg
	if m.Method != sip.OPTIONS {
		refuse(tx, &sip.Error{Status: 405, Headers: sip.AppendHeader(nil, "Allow", "OPTIONS, REGISTER")})
		return
	}
	b := sip.AppendResponse(make([]byte, 0, 512), m, 200, "", tx.Tag())
	b = sip.AppendHeader(b, "Allow", allowed)
	b = sip.AppendHeader(b, "Accept", "application/sdp")
	b = sip.AppendHeader(b, "Supported", "path, outbound")
	tx.RespondStateless(sip.AppendBody(b, "", nil))
}

// newRequest serves a request outside any dialog for a number.
func (s *shard) newRequest(tx *transaction.Server, r request) {
	switch r.Method {
	case sip.SUBSCRIBE, sip.PUBLISH, sip.NOTIFY, sip.BYE, sip.PRACK, sip.UPDATE:
		// What only has a meaning inside a call (RFC 3261 15.1.2), and presence, which this service does not have.
		e := &sip.Error{Status: 405, Headers: sip.AppendHeader(nil, "Allow", allowed)}
		if r.Method != sip.SUBSCRIBE && r.Method != sip.PUBLISH {
			e = &sip.Error{Status: 481}
		}
		refuse(tx, e)
		return
	case sip.INVITE:
		if s.draining.Load() {
			s.Draining.Add(1)
			refuse(tx, &sip.Error{Status: 503, Reason: "Service Unavailable - restarting", Headers: sip.AppendHeader(nil, "Retry-After", "10")})
			return
		}
	}
	caller := s.authenticate(tx)
	if caller == nil {
		return
	}
	if from, err := sip.ParseURI(r.From.URI); err != nil || string(sip.AppendUnescaped(nil, from.User)) != string(caller.Number) {
		tx.Refuse(sip.Errorf(403, "Forbidden - From must be your own number", "From %q of %s", printable(r.From.URI), caller.Number))
		return
	}
	if !s.Names.URI(&r.parsed) {
		s.Foreign.Add(1)
		tx.Refuse(sip.Errorf(403, "Forbidden - this service reaches its own numbers only", "to %q", printable(r.uri)))
		return
	}
	var w watcher = silent{}
	dialled := sip.AppendUnescaped(nil, r.parsed.User)
	number, known := s.Directory.Dial(caller, dialled)
	var callee *account.Account
	if known {
		callee, known = s.Directory.Account([]byte(number))
	}
	if r.Method == sip.INVITE {
		s.pending.Add(1)
		tx.Respond(100, sip.AppendBody(sip.AppendResponse(nil, r.Message, 100, "", ""), "", nil))
		c := s.table.Begin(tx.Packet, caller, dialled, callee)
		w = &initial{s, c}
		s.Logger.Info("call begins", "call", c.Record.ID, "caller", caller.Number, "dialled", printable(dialled), "source", tx.Flow().Remote)
		// "At once when an agent calls again": its other calls may be dead.
		s.Calls.Fresh(caller.Number)
	}
	f := &fork{s: s, tx: tx, watcher: w, record: r.Method == sip.INVITE}
	tx.Call = f
	if !known {
		f.refuse(reply{status: 404, cause: "no such number"}, call.ByService)
		return
	}
	if f.waiting = s.targetsOf(callee, tx.Flow()); len(f.waiting) == 0 {
		f.refuse(reply{status: 480, cause: "not registered"}, call.ByService)
		return
	}
	f.next()
}

// targetsOf are the places where a number can be reached, the best first.
func (s *shard) targetsOf(callee *account.Account, caller transport.Flow) []target {
	if callee.Usable(s.Now()) != nil { // locked, run out, switched off
		return nil
	}
	if f, ok := s.Local(callee.Number, caller); ok {
		uri := append([]byte("sip:"+string(callee.Number)+"@"), f.Local.String()...)
		return []target{{number: callee.Number, uri: uri, flow: f}}
	}
	s.targets = s.Registrar.Lookup(callee.Number, s.targets[:0])
	var list []target
	for i := range s.targets {
		b := &s.targets[i]
		if !s.Connected(b.Flow) {
			continue
		}
		t := target{number: callee.Number, uri: []byte(b.Target()), path: b.Path, flow: b.Flow, q: b.Q,
			doubted: b.Reach == registrar.Unreachable}
		if b.RegID != 0 {
			t.instance = b.Instance
		}
		// RFC 5626 5.3: the flows of one device are alternatives, not branches.
		same := func(o target) bool { return o.instance != "" && o.instance == t.instance }
		if k := slices.IndexFunc(list, same); k >= 0 {
			list[k].others = append(list[k].others, t)
		} else {
			list = append(list, t)
		}
	}
	return list
}

// Response gets what belongs to no transaction: an answer to a keep-alive of the registrar, or a stray, which goes
// nowhere (RFC 6026).
func (s *shard) Response(p *transport.Packet) {
	if !s.Registrar.Pong(p) {
		s.StrayResponse.Add(1)
	}
}

// Closed tells the registrar that a connection has ended. It hears it once, from the first shard.
func (s *shard) Closed(f transport.Flow) {
	if s.Index() == 0 {
		s.Registrar.Closed(f)
	}
}

// timerC bounds how long a callee may ring (RFC 3261 16.6 step 11); each ringing response starts it anew.
const timerC = 3*time.Minute + 5*time.Second

// doubt is how long an agent that has stopped answering the keep-alive may be silent to a call. It may have come back
// this moment, so it is tried; but nobody waits half a minute for a codec that is switched off.
const doubt = 4 * time.Second
