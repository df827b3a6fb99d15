package transaction

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// ErrTimeout: nobody answered in time (timers B and F).
var ErrTimeout = errors.New("no answer")

// ErrFlow: the connection to the next hop is gone.
var ErrFlow = errors.New("connection closed")

// ClientUser is told what becomes of a request. Its methods run in the shard.
type ClientUser interface {
	// Response is each provisional response, then the final one; after a 2xx to an INVITE also those that come again
	// or from other branches downstream (RFC 6026 7.2).
	Response(c *Client, p *transport.Packet)
	// Failed: there will be no final response.
	Failed(c *Client, err error)
}

// Client is a client transaction.
//
//	INVITE (RFC 3261 17.1.1, RFC 6026 7.2)              others (RFC 3261 17.1.2)
//
//	Calling --1xx--> Proceeding --2xx--> Accepted --M   Trying --1xx--> Proceeding --final--> Completed --K
//	 A: again           |                                E: again        E: each T2
//	 B: failed          +--300-699--> Completed --D      F: failed
//	                                  (ACK, again)
type Client struct {
	shard    *Shard
	user     ClientUser
	slot     uint32
	nonce    uint64
	method   sip.Method
	state    state
	flow     transport.Flow
	request  []byte // as sent, until the final response; then the ACK of a refusal
	resend   Timer  // A, E
	interval time.Duration
	expiry   Timer // B, D, F, K, M
	cancel   *Client
	wanted   bool // cancel as soon as there is a provisional response (RFC 3261 9.1)
}

// clients finds a client transaction by the slot number that its branch carries.
type clients struct {
	slot []*Client
	free []uint32
}

// NewClient makes a client transaction, so that its branch can be written into the request.
func (s *Shard) NewClient(u ClientUser) *Client {
	c := &Client{shard: s, user: u}
	c.resend.owner, c.expiry.owner = c, c
	s.clients.add(c)
	return c
}

func (cs *clients) add(c *Client) {
	if n := len(cs.free); n > 0 {
		c.slot = cs.free[n-1]
		cs.free = cs.free[:n-1]
		cs.slot[c.slot] = c
	} else {
		c.slot = uint32(len(cs.slot))
		cs.slot = append(cs.slot, c)
	}
	var b [8]byte
	rand.Read(b[:])
	c.nonce = binary.LittleEndian.Uint64(b[:])
}

// branchLen is what AppendBranch writes.
const branchLen = len(sip.Cookie) + 2*12

// AppendBranch writes the branch: the cookie, the slot, and 64 random bits that nobody off the path can guess.
func (c *Client) AppendBranch(dst []byte) []byte {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:4], c.slot)
	binary.BigEndian.PutUint64(b[4:], c.nonce)
	return hex.AppendEncode(append(dst, sip.Cookie...), b[:])
}

// find is the transaction that a response belongs to, by branch and CSeq method (RFC 3261 17.1.3). What the user put
// behind our part of the branch is not looked at.
func (cs *clients) find(m *sip.Message) *Client {
	if len(m.Via.Branch) < branchLen {
		return nil
	}
	var b [12]byte
	if _, err := hex.Decode(b[:], m.Via.Branch[len(sip.Cookie):branchLen]); err != nil {
		return nil
	}
	slot := binary.BigEndian.Uint32(b[:4])
	if uint64(slot) >= uint64(len(cs.slot)) || cs.slot[slot] == nil {
		return nil
	}
	c := cs.slot[slot]
	if c.nonce != binary.BigEndian.Uint64(b[4:]) {
		return nil
	}
	if m.Method == sip.CANCEL && c.method == sip.INVITE {
		c = c.cancel
	}
	if c == nil || c.method != m.Method {
		return nil
	}
	return c
}

// fail ends what waits for answers on a flow that does not work.
func (cs *clients) fail(f transport.Flow) {
	for _, c := range cs.slot {
		if c != nil && c.flow == f && c.open() {
			c.fail(ErrFlow)
		}
	}
}

func (c *Client) open() bool { return c.state == calling || c.state == trying || c.state == proceeding }

// Flow is where the request went.
func (c *Client) Flow() transport.Flow { return c.flow }

// Send starts the transaction. The request is the transaction's from then on.
func (c *Client) Send(f transport.Flow, m sip.Method, request []byte) {
	c.flow, c.method, c.request = f, m, request
	c.state = trying
	limit := timerF
	if m == sip.INVITE {
		c.state, limit = calling, timerB
	}
	if !c.shard.Connected(f) {
		limit = 0 // the user is told when it has returned, not in the middle of what it does
	}
	c.set(&c.expiry, limit)
	if limit == 0 {
		return
	}
	c.shard.Send(f, request)
	if !f.Proto.Reliable() {
		c.interval = T1
		c.set(&c.resend, c.interval)
	}
}

// Cancel asks the other side to give up an INVITE (RFC 3261 9.1): at once if it has answered provisionally, else as
// soon as it does.
func (c *Client) Cancel() {
	switch {
	case c.method != sip.INVITE || c.cancel != nil || !c.open():
	case c.state == calling:
		c.wanted = true
	default:
		c.sendCancel()
	}
}

func (c *Client) sendCancel() {
	c.cancel = &Client{shard: c.shard, slot: c.slot, nonce: c.nonce, user: ignore{}}
	c.cancel.resend.owner, c.cancel.expiry.owner = c.cancel, c.cancel
	c.cancel.Send(c.flow, sip.CANCEL, c.derive(sip.CANCEL, nil))
	// RFC 3261 9.1: with no final response in 64*T1 the INVITE is taken as cancelled.
	c.set(&c.expiry, timerB)
}

type ignore struct{}

func (ignore) Response(*Client, *transport.Packet) {}
func (ignore) Failed(*Client, error)               {}

// derive makes the ACK to a refusal (RFC 3261 17.1.1.3) or a CANCEL (9.1) from the request.
func (c *Client) derive(method sip.Method, to []byte) []byte {
	var m sip.Message
	if m.Parse(c.request) != nil {
		panic("transaction: a request of our own does not parse")
	}
	if to == nil {
		to = m.Header(sip.HeaderTo)
	}
	b := sip.AppendRequestLine(make([]byte, 0, 512), method, m.URI)
	for v := range m.Values(sip.HeaderVia) {
		b = sip.AppendHeader(b, "Via", v)
		break
	}
	for i := range m.Len() {
		if h := m.At(i); h.ID == sip.HeaderRoute {
			b = h.AppendTo(b)
		}
	}
	b = sip.AppendHeader(b, "Max-Forwards", "70")
	b = sip.AppendHeader(b, "From", m.Header(sip.HeaderFrom))
	b = sip.AppendHeader(b, "To", to)
	b = sip.AppendHeader(b, "Call-ID", m.CallID)
	b = append(b, "CSeq: "...)
	b = strconv.AppendUint(b, uint64(m.CSeq), 10)
	b = append(b, ' ')
	b = append(append(b, method...), "\r\n"...)
	return sip.AppendBody(b, "", nil)
}

func (s *Shard) response(p *transport.Packet) {
	m := &p.Msg
	c := s.clients.find(m)
	if c == nil {
		s.layer.StrayResponses.Add(1)
		s.user.Response(p)
		return
	}
	switch {
	case c.open() && m.Status < 200:
		c.provisional()
		c.user.Response(c, p)
	case c.open():
		c.final(m)
		c.user.Response(c, p)
	case c.state == accepted && m.Status/100 == 2:
		c.user.Response(c, p)
	case c.state == completed:
		s.layer.Retransmissions.Add(1)
		if c.method == sip.INVITE && m.Status >= 300 {
			s.layer.Resent.Add(1)
			s.Send(c.flow, c.request)
		}
	}
}

func (c *Client) provisional() {
	if c.method != sip.INVITE {
		c.interval = T2 // RFC 3261 17.1.2.2: timer E stays, at T2
		c.state = proceeding
		return
	}
	if c.state == calling {
		c.state = proceeding
		c.resend.Stop()
		c.expiry.Stop() // from here on the user's timer C
	}
	if c.wanted {
		c.wanted = false
		c.sendCancel()
	}
}

func (c *Client) final(m *sip.Message) {
	c.resend.Stop()
	linger := time.Duration(0)
	switch {
	case c.method != sip.INVITE:
		c.state, c.request = completed, nil
		if !c.flow.Proto.Reliable() {
			linger = timerK
		}
	case m.Status < 300:
		c.state, c.request = accepted, nil
		linger = timerM
	default:
		c.state = completed
		c.request = c.derive(sip.ACK, m.Header(sip.HeaderTo))
		c.shard.Send(c.flow, c.request)
		if !c.flow.Proto.Reliable() {
			linger = timerD
		}
	}
	if linger == 0 {
		c.expiry.Stop()
		c.remove()
		return
	}
	c.set(&c.expiry, linger)
}

func (c *Client) set(t *Timer, d time.Duration) { c.shard.wheel.set(t, c.shard.now, d) }

func (c *Client) expire(t *Timer) {
	switch {
	case t == &c.resend:
		c.shard.layer.Resent.Add(1)
		c.shard.Send(c.flow, c.request)
		c.interval *= 2
		if c.method != sip.INVITE {
			c.interval = min(c.interval, T2)
		}
		c.set(&c.resend, c.interval)
	case !c.open():
		c.remove()
	case !c.shard.Connected(c.flow):
		c.fail(ErrFlow)
	default:
		c.shard.layer.Timeouts.Add(1)
		c.fail(ErrTimeout)
	}
}

// Abandon ends a transaction that was never sent, or whose answer nobody waits for any more.
func (c *Client) Abandon() { c.remove() }

func (c *Client) fail(err error) {
	c.remove()
	c.user.Failed(c, err)
}

func (c *Client) remove() {
	if c.state == terminated {
		return
	}
	c.state, c.request = terminated, nil
	c.resend.Stop()
	c.expiry.Stop()
	cs := &c.shard.clients
	if cs.slot[c.slot] != c {
		return // a CANCEL shares the slot of its INVITE
	}
	if c.cancel != nil {
		c.cancel.remove()
	}
	cs.slot[c.slot] = nil
	cs.free = append(cs.free, c.slot)
}
