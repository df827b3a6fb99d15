package agent

import (
	"crypto/rand"
	"fmt"
	"strconv"

	"liaison/internal/digest"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// credentials are the last challenge of one side that asks for the password, used again until it is refused:
// with a nonce that still holds a request needs one way and not two.
type credentials struct {
	challenge digest.Challenge
	count     uint32 // of answers with this nonce
}

// request is one request of ours until its final answer, asked for a password or not.
type request struct {
	a      *Agent
	method sip.Method
	uri    string
	flow   transport.Flow
	head   []byte        // ready lines: Route, From, To, Call-ID, Contact ...
	next   func() uint32 // the next CSeq number of the sequence that the request belongs to
	body   []byte        // application/sdp, or nothing

	provisional func(*sip.Message)
	final       func(*sip.Message) // every final answer but a challenge that was met
	failed      func(error)

	cseq   uint32
	client *transaction.Client
	asked  int     // challenges met
	sides  [2]bool // who asked
}

// maxAsked bounds how often one request answers a challenge: the first, and what a server calls stale.
const maxAsked = 3

func (r *request) send() {
	a := r.a
	r.cseq = r.next()
	r.client = a.shard.NewClient(r)
	b := sip.AppendRequestLine(make([]byte, 0, 1024), r.method, r.uri)
	b = append(b, "Via: SIP/2.0/"...)
	b = append(b, viaProto(r.flow.Proto)...)
	b = append(b, ' ')
	b = append(b, a.transport.Announced(r.flow).String()...)
	b = append(b, ";rport;branch="...)
	b = append(r.client.AppendBranch(b), "\r\nMax-Forwards: 70\r\n"...)
	b = append(b, r.head...)
	b = append(b, "CSeq: "...)
	b = strconv.AppendUint(b, uint64(r.cseq), 10)
	b = append(append(append(b, ' '), r.method...), "\r\n"...)
	for side, name := range []string{"Authorization", "Proxy-Authorization"} {
		if c := &a.auth[side]; c.challenge.Nonce != "" && (r.sides[side] || (side == proxySide) == (r.method != sip.REGISTER)) {
			c.count++
			b = sip.AppendHeader(b, name, c.challenge.Answer(a.config.Number, a.config.Password, string(r.method), r.uri, rand.Text(), c.count))
			if !c.challenge.QOP { // the old form: a nonce serves once
				c.challenge.Nonce = ""
			}
		}
	}
	b = sip.AppendHeader(b, "User-Agent", a.config.Product)
	r.client.Send(r.flow, r.method, sip.AppendBody(b, "application/sdp", r.body))
}

const (
	registrarSide = iota
	proxySide
)

// viaProto is what the topmost Via says. A link is nothing that the world outside has heard of.
func viaProto(p transport.Proto) string {
	if p == transport.Link {
		return "UDP"
	}
	return p.String()
}

// Response is the transaction's.
func (r *request) Response(_ *transaction.Client, p *transport.Packet) {
	m := &p.Msg
	switch {
	case m.Status < 200:
		if r.provisional != nil {
			r.provisional(m)
		}
	case (m.Status == 401 || m.Status == 407) && r.met(m):
		r.send()
	default:
		r.final(m)
	}
}

// Failed is the transaction's.
func (r *request) Failed(_ *transaction.Client, err error) { r.failed(err) }

// met takes a challenge and tells whether the request is worth sending again.
func (r *request) met(m *sip.Message) bool {
	side, id := registrarSide, sip.HeaderWWWAuthenticate
	if m.Status == 407 {
		side, id = proxySide, sip.HeaderProxyAuthenticate
	}
	var values [][]byte
	for i := range m.Len() { // not Values: a challenge has commas of its own
		if h := m.At(i); h.ID == id {
			values = append(values, h.Value)
		}
	}
	c, err := digest.Choose(values...)
	if err != nil {
		return false
	}
	r.a.auth[side] = credentials{challenge: c}
	r.asked++
	r.sides[side] = true
	// Asked again at once for the same password: it is wrong. Stale: only the nonce was.
	again := r.asked == 1 || c.Stale && r.asked <= maxAsked
	if !again {
		r.a.auth[side] = credentials{}
	}
	return again
}

// Refused is the final answer that ended a request.
type Refused struct {
	Status int
	Reason string
}

func (e *Refused) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Reason) }

func refused(m *sip.Message) *Refused {
	reason := make([]byte, 0, len(m.Reason))
	for _, c := range m.Reason { // it goes to a terminal
		if c >= ' ' && c != 0x7f {
			reason = append(reason, c)
		}
	}
	return &Refused{Status: m.Status, Reason: string(reason)}
}

// newToken makes a tag or Call-ID: 130 random bits.
func newToken() string { return rand.Text() }

// counter is a sequence of CSeq numbers.
type counter uint32

func (c *counter) next() uint32 { *c++; return uint32(*c) }
