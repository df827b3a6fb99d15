package registrar

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"liaison/internal/account"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// What an agent may make us remember. Honest ones stay far below: the longest Contacts seen are those of mobile apps
// with their push parameters (some 300 bytes).
const (
	maxAOR      = 64
	maxContact  = 512
	maxCallID   = 255
	maxInstance = 128
	maxPath     = 1024
	maxHops     = 8
	maxAgent    = 128

	// DefaultContacts is how many bindings one account may have: several flows and transports of one device.
	DefaultContacts = 10
)

// The period that the service grants unless it is configured otherwise.
const (
	DefaultMin    = 60 * time.Second
	DefaultExpiry = 300 * time.Second
	DefaultMax    = 3600 * time.Second
)

// request is what a REGISTER asks for. It is a scratch: its views are those of the message.
type request struct {
	contacts []contact
	star     bool   // Contact: *
	outbound bool   // RFC 5626 applies
	path     []byte // as the value of a Route header
	hops     int
	ob       bool // a Path element speaks RFC 5626
	agent    []byte
	flow     transport.Flow
	callID   []byte
	cseq     uint32

	path0 [256]byte // room for path
}

// contact is one Contact element.
type contact struct {
	uri      []byte
	parsed   sip.URI
	instance []byte
	regID    uint32
	q        uint16
	seconds  uint32 // granted; 0: remove
}

// binds tells that the request adds or refreshes a binding, so that its device has the account.
func (q *request) binds() bool {
	for i := range q.contacts {
		if q.contacts[i].seconds > 0 {
			return true
		}
	}
	return false
}

func (q *request) reset() {
	clear(q.contacts)
	*q = request{contacts: q.contacts[:0]}
}

// read takes what a REGISTER asks for, or the refusal of what can be refused without knowing the bindings.
func (r *Registrar) read(q *request, p *transport.Packet, acc *account.Account) *sip.Error {
	m := &p.Msg
	// RFC 3261 10.3 step 2: an extension that we do not know is refused before anything is done.
	if e := required(m); e != nil {
		return e
	}
	// RFC 3261 10.3 steps 4 and 5: an account registers itself and nobody else.
	if e := checkAOR(m, acc); e != nil {
		return e
	}
	q.flow, q.callID, q.cseq = p.Flow, m.CallID, m.CSeq
	q.agent = printable(m.Header(sip.HeaderUserAgent))
	if len(q.callID) > maxCallID {
		return sip.Errorf(400, "Bad Request - Call-ID too long", "Call-ID of %d bytes", len(q.callID))
	}
	if e := q.readPath(m); e != nil {
		return e
	}
	outbound := supports(m, "outbound")
	expires, hasExpires := uint32(0), m.Has(sip.HeaderExpires)
	if hasExpires {
		expires = seconds(m.Header(sip.HeaderExpires))
	} else {
		expires = uint32(r.period.usual / time.Second)
	}
	regIDs := false
	for value := range m.Values(sip.HeaderContact) {
		// RFC 3261 10.3 step 6: "*" stands alone, and only to remove everything.
		if q.star || (len(value) == 1 && value[0] == '*' && len(q.contacts) > 0) {
			return &sip.Error{Status: 400, Reason: "Bad Request - Contact * must stand alone"}
		}
		if len(value) == 1 && value[0] == '*' {
			if !hasExpires || expires != 0 {
				return &sip.Error{Status: 400, Reason: "Bad Request - Contact * needs Expires 0"}
			}
			q.star = true
			continue
		}
		if len(q.contacts) == r.maxContacts {
			return &sip.Error{Status: 403, Reason: "Forbidden - too many contacts"}
		}
		q.contacts = append(q.contacts, contact{})
		c := &q.contacts[len(q.contacts)-1]
		if e := r.readContact(c, value, expires, p.Flow); e != nil {
			return e
		}
		regIDs = regIDs || c.regID != 0
	}
	if regIDs {
		return q.readOutbound(m, outbound)
	}
	return nil
}

// required refuses option tags that the registrar does not understand (RFC 3261 8.2.2.3).
func required(m *sip.Message) *sip.Error {
	if !m.Has(sip.HeaderRequire) {
		return nil
	}
	var unknown []byte
	for tag := range m.Values(sip.HeaderRequire) {
		if fold(tag, "path") || fold(tag, "outbound") {
			continue
		}
		if len(unknown) > 0 {
			unknown = append(unknown, ", "...)
		}
		unknown = append(unknown, tag...)
	}
	if unknown == nil {
		return nil
	}
	return &sip.Error{Status: 420, Headers: sip.AppendHeader(nil, "Unsupported", unknown),
		Err: fmt.Errorf("requires %q", unknown)}
}

// supports tells whether the agent speaks an extension; Require says so too.
func supports(m *sip.Message, tag string) bool {
	for _, id := range [...]sip.HeaderID{sip.HeaderSupported, sip.HeaderRequire} {
		if !m.Has(id) {
			continue
		}
		for t := range m.Values(id) {
			if fold(t, tag) {
				return true
			}
		}
	}
	return false
}

func checkAOR(m *sip.Message, acc *account.Account) *sip.Error {
	// Nearly always "sip:NUMBER@...", which needs no parser.
	if uri := m.To.URI; len(uri) > len("sip:@")+len(acc.Number) && string(uri[:4]) == "sip:" &&
		string(uri[4:4+len(acc.Number)]) == string(acc.Number) && uri[4+len(acc.Number)] == '@' && len(acc.Number) <= maxAOR {
		return nil
	}
	to, err := sip.ParseURI(m.To.URI)
	if err != nil || !to.IsSIP() {
		return &sip.Error{Status: 400, Reason: "Bad Request - To is not a SIP URI", Err: err}
	}
	user := to.User
	if bytes.IndexByte(user, '%') >= 0 { // RFC 3261 10.3 step 5: the canonical form is unescaped
		user = sip.AppendUnescaped(nil, user)
	}
	if string(user) != string(acc.Number) || len(user) > maxAOR {
		return sip.Errorf(403, "Forbidden - To is not your number", "To %q with the credentials of %s", user, acc.Number)
	}
	return nil
}

// readPath takes the proxies between the agent and us (RFC 3327 5.3).
func (q *request) readPath(m *sip.Message) *sip.Error {
	if !m.Has(sip.HeaderPath) {
		return nil
	}
	q.path = q.path0[:0]
	for value := range m.Values(sip.HeaderPath) {
		a, err := sip.ParseAddress(value)
		if err != nil || !ascii(a.URI) || !ascii(a.Params) {
			return &sip.Error{Status: 400, Reason: "Bad Request - Path", Err: err}
		}
		u, err := sip.ParseURI(a.URI)
		if err != nil || !u.IsSIP() {
			return &sip.Error{Status: 400, Reason: "Bad Request - Path", Err: err}
		}
		// RFC 3327 4: Path elements are loose routers.
		if _, loose := u.Params.Get("lr"); !loose {
			return &sip.Error{Status: 400, Reason: "Bad Request - Path without lr"}
		}
		// Requests go back to where the REGISTER came from, and that must be who stands first. A name cannot be held
		// against an address without asking the DNS; it is never dialled either.
		if addr, ok := u.Addr(); ok && q.hops == 0 && addr != q.flow.Remote.Addr().Unmap() {
			return sip.Errorf(403, "Forbidden - Path is not where this came from", "Path %s from %s", addr, q.flow.Remote)
		}
		q.hops++
		if q.hops > maxHops || len(q.path)+len(value)+4 > maxPath {
			return &sip.Error{Status: 403, Reason: "Forbidden - Path too long"}
		}
		if q.hops > 1 {
			q.path = append(q.path, ", "...)
		}
		q.path = append(q.path, '<')
		q.path = append(q.path, a.URI...)
		q.path = append(q.path, '>')
		q.path = append(q.path, a.Params...)
		if _, ob := u.Params.Get("ob"); ob {
			q.ob = true
		}
	}
	// RFC 3327 5.3, the recommended policy: an agent that does not know Path must not be routed through strangers.
	if q.hops > 0 && !supports(m, "path") {
		return &sip.Error{Status: 420, Headers: []byte("Unsupported: path\r\n"),
			Err: fmt.Errorf("agent does not support the Path through %s", q.flow.Remote)}
	}
	return nil
}

// readOutbound decides whether reg-id counts (RFC 5626 6).
func (q *request) readOutbound(m *sip.Message, supported bool) *sip.Error {
	vias := 0
	for range m.Values(sip.HeaderVia) {
		vias++
	}
	if supported && vias > 1 && !q.ob {
		return &sip.Error{Status: 439}
	}
	q.outbound = supported
	bound := 0
	for i := range q.contacts {
		c := &q.contacts[i]
		if !supported || len(c.instance) == 0 {
			c.regID = 0
		}
		if c.seconds > 0 {
			bound++
		}
	}
	// RFC 5626 4.2.1: one flow, one Contact.
	if supported && bound > 1 {
		return &sip.Error{Status: 400, Reason: "Bad Request - several contacts with reg-id"}
	}
	return nil
}

func (r *Registrar) readContact(c *contact, value []byte, expires uint32, flow transport.Flow) *sip.Error {
	a, err := sip.ParseAddress(value)
	if err == nil {
		c.parsed, err = sip.ParseURI(a.URI)
	}
	if err != nil || !ascii(a.URI) {
		return &sip.Error{Status: 400, Reason: "Bad Request - Contact", Err: err}
	}
	c.uri, c.q, c.seconds = a.URI, 1000, expires
	for name, v := range a.Params.All() {
		switch {
		case fold(name, "expires"):
			c.seconds = seconds(v)
		case fold(name, "q"):
			q, ok := thousandths(v)
			if !ok {
				return &sip.Error{Status: 400, Reason: "Bad Request - q of a Contact"}
			}
			c.q = q
		case fold(name, "+sip.instance"):
			c.instance = v
		case fold(name, "reg-id"):
			// RFC 5626 11.1: 1 to 2^31-1.
			n, err := strconv.ParseUint(string(v), 10, 31)
			if err != nil || n == 0 {
				return &sip.Error{Status: 400, Reason: "Bad Request - reg-id of a Contact"}
			}
			c.regID = uint32(n)
		}
	}
	if len(c.uri) > maxContact || len(c.instance) > maxInstance {
		return &sip.Error{Status: 403, Reason: "Forbidden - Contact too long"}
	}
	if !ascii(c.instance) {
		return &sip.Error{Status: 400, Reason: "Bad Request - +sip.instance of a Contact"}
	}
	if c.seconds == 0 {
		return nil
	}
	// RFC 3261 10.3 step 7: the only periods that may be refused.
	if low := uint32(r.period.least / time.Second); c.seconds < low && c.seconds < 3600 {
		return &sip.Error{Status: 423, Headers: fmt.Appendf(nil, "Min-Expires: %d\r\n", low)}
	}
	c.seconds = min(c.seconds, uint32(r.period.most/time.Second))
	return r.allowed(&c.parsed, flow)
}

// seconds reads a delta-seconds. RFC 3261 20.10: one that is malformed counts as an hour; one that is too large for
// 32 bits is as long as can be.
func seconds(b []byte) uint32 {
	if len(b) == 0 {
		return 3600
	}
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 3600
		}
		if n <= math.MaxUint32 {
			n = n*10 + uint64(c-'0')
		}
	}
	return uint32(min(n, math.MaxUint32))
}

// thousandths reads a qvalue: 0 to 1 with up to three decimals.
func thousandths(b []byte) (uint16, bool) {
	if len(b) == 0 || len(b) > 5 || (b[0] != '0' && b[0] != '1') || (len(b) > 1 && b[1] != '.') {
		return 0, false
	}
	q := int(b[0]-'0') * 1000
	weight := 100
	for _, c := range b[min(2, len(b)):] {
		if c < '0' || c > '9' {
			return 0, false
		}
		q += int(c-'0') * weight
		weight /= 10
	}
	return uint16(q), q <= 1000
}

// printable is a product name as it may stand in logs and lists: bounded, one line, nothing that moves a cursor.
func printable(b []byte) []byte {
	clean := len(b) <= maxAgent
	for _, c := range b {
		clean = clean && c >= ' ' && c < 0x7f
	}
	if clean {
		return b
	}
	out := make([]byte, 0, maxAgent)
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		if len(out)+n > maxAgent {
			break
		}
		if (c != utf8.RuneError || n > 1) && unicode.IsPrint(c) {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}

// fold compares ASCII without case; s is lower case.
func fold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// ascii: a URI has no other characters (RFC 3261 25.1).
func ascii(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
