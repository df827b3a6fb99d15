package call

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"time"

	"liaison/internal/relay"
	"liaison/internal/sdp"
	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// Media is how the media of one branch goes: through ports of the relay, or, if nil, from agent to agent. It belongs to
// the shard of its call.
type Media struct {
	call    *Call
	plan    relay.Plan
	session *relay.Session // nil until the first description
	streams []stream
	count   int // streams of the session
	said    [2]said
	unsaved bool // something was said that the record's dialog does not know yet
	closed  bool
}

// said is what a side's last description says.
type said struct {
	Remotes map[int]relay.Remote `json:"remotes,omitempty"` // by the session's streams
	Held    bool                 `json:"held,omitempty"`
}

// stream is what of a description has an address of its own, a media line or its FEC, and which of the session's streams
// carries it. Lines that name the same address and port share one.
type stream struct {
	Media  int            `json:"media"`
	Kind   sdp.StreamKind `json:"kind"`
	Number int            `json:"number"`
	Like   int            `json:"like"` // the stream that it shared a number with before, else Number
}

// Branch decides how the media of a branch goes that begins on the flow in and leaves on the flow out.
//
// Every call is relayed until direct is proven for both ends (see docs/architecture.md). Nothing proves it yet, so
// the policy alone decides.
func (c *Call) Branch(in, out transport.Flow) *Media {
	cs := c.table.calls
	if cs.Relay == nil {
		c.Record.Media = "direct: the policy says so"
		return nil
	}
	m := &Media{call: c, plan: relay.Plan{ID: c.Record.ID}}
	for side, f := range [...]transport.Flow{in, out} {
		at := f.Local.Addr()
		if a, err := netip.ParseAddrPort(cs.Announced(f)); err == nil {
			at = a.Addr() // where the agent reaches us, it can send media to
		}
		address, ok := relayAddress(cs.RelayAddresses, at.Unmap())
		if !ok {
			c.Record.Media = "direct: the relay has no address that an agent at " + f.Remote.Addr().String() + " could reach"
			return nil
		}
		m.plan.Legs[side].Address, m.plan.Legs[side].IPv6 = address, address.Is6()
	}
	c.media = append(c.media, m)
	c.Record.Media = "relayed: direct is not proven"
	return m
}

// relayAddress is the relay's address for an agent that reaches us at at: that one itself, else another of its family. Loopback
// is for this machine alone.
func relayAddress(all []netip.Addr, at netip.Addr) (netip.Addr, bool) {
	if slices.Contains(all, at) {
		return at, true
	}
	i := slices.IndexFunc(all, func(a netip.Addr) bool { return a.Is6() == at.Is6() && a.IsLoopback() == at.IsLoopback() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return all[i], true
}

// Pass takes a message of one side and gives the body that the other side gets instead; nil: what came.
func (m *Media) Pass(from Side, p *transport.Packet) []byte {
	if m == nil || m.closed {
		return nil
	}
	body := description(&p.Msg)
	if body == nil {
		if m.session == nil && multipart(&p.Msg) {
			m.giveUp("the description is a part of a larger body")
		}
		return nil
	}
	d, err := sdp.Parse(body)
	if err != nil {
		return nil // not a description, or one that only the other side understands
	}
	side := relay.Side(from)
	asked := m.learn(d)
	if len(asked) == 0 {
		return nil // nothing but refused lines
	}
	if err := m.open(); err != nil {
		log := m.call.table.calls.Logger
		if m.session == nil {
			log.Error("a call has no relay and goes directly", "call", m.call.Record.ID, "error", err)
			m.giveUp(err.Error())
			return nil
		}
		log.Error("a call gets no ports for a further media line: the line is refused", "call", m.call.Record.ID, "error", err)
		m.streams = slices.DeleteFunc(m.streams, func(s stream) bool { return s.Number >= m.session.Streams() })
		m.count = m.session.Streams()
	}
	m.hear(side, d, asked, p.Flow.Remote.Addr())
	at, _ := m.session.Local(side.Other(), 0)
	out := d.AppendRewritten(make([]byte, 0, len(body)+64), sdp.Rewrite{Addr: at.Addr(), Origin: true, Port: func(s sdp.Stream) uint16 {
		kind := s.Kind
		if kind == sdp.RTCP {
			kind = sdp.RTP
		}
		n := m.number(s.Media, kind)
		if n < 0 {
			return 0 // no ports: RFC 3264 6, the line is refused
		}
		rtp, rtcp := m.session.Local(side.Other(), n)
		if media := &d.Media[s.Media]; s.Kind == sdp.RTCP && media.RTCP != media.Port {
			return rtcp.Port()
		}
		return rtp.Port()
	}})
	if slices.ContainsFunc(d.Media, func(x sdp.Media) bool { return x.ICE }) {
		out = withoutICE(out)
	}
	return out
}

// description is the body of a message if it is an offer or an answer: the same in an answer to OPTIONS only tells what
// an agent can do (RFC 3261 11.2), and in a refusal too.
func description(m *sip.Message) []byte {
	switch m.Method {
	case sip.INVITE, sip.ACK, sip.PRACK, sip.UPDATE:
	default:
		return nil
	}
	kind := contentType(m)
	if len(m.Body) == 0 || m.Status >= 300 || len(kind) > 0 && !bytes.EqualFold(kind, []byte("application/sdp")) {
		return nil
	}
	return m.Body
}

func contentType(m *sip.Message) []byte {
	kind, _, _ := bytes.Cut(m.Header(sip.HeaderContentType), []byte{';'})
	return bytes.TrimSpace(kind)
}

func multipart(m *sip.Message) bool {
	const prefix = "multipart/"
	kind := contentType(m)
	return len(kind) > len(prefix) && bytes.EqualFold(kind[:len(prefix)], []byte(prefix))
}

// giveUp lets the media of the branch go directly.
func (m *Media) giveUp(why string) {
	m.call.Record.Media = "direct: " + why
	m.Close()
}

// hear tells the relay what a side's description says.
func (m *Media) hear(side relay.Side, d *sdp.Description, asked []sdp.Stream, source netip.Addr) {
	remotes := maps.Clone(m.said[side].Remotes)
	if remotes == nil {
		remotes = make(map[int]relay.Remote)
	}
	told := make([]bool, m.count)
	for _, s := range asked {
		n := m.number(s.Media, s.Kind)
		if n < 0 || told[n] {
			continue
		}
		told[n] = true
		remotes[n] = remote(d, s, source)
		m.session.SetRemote(side, n, remotes[n])
	}
	m.said[side] = said{remotes, held(d)}
	for _, s := range m.streams {
		others := m.said[side.Other()].Remotes
		if r, ok := others[s.Like]; ok && s.Like != s.Number {
			if _, known := others[s.Number]; !known {
				others[s.Number] = r
				m.session.SetRemote(side.Other(), s.Number, r)
			}
		}
	}
	m.session.Hold(m.said[0].Held || m.said[1].Held)
	m.unsaved = true
}

// unsay takes back what a side's offer said: it was refused, so what was agreed before goes on (RFC 3261 14.1).
func (m *Media) unsay(side Side, was said) {
	if m == nil || m.closed || m.session == nil || was.Remotes == nil {
		return
	}
	for n, r := range was.Remotes {
		if !same(r, m.said[side].Remotes[n]) {
			m.session.SetRemote(relay.Side(side), n, r)
		}
	}
	m.said[side] = was
	m.session.Hold(m.said[0].Held || m.said[1].Held)
	m.unsaved = true
}

func same(a, b relay.Remote) bool {
	return a.RTP == b.RTP && a.RTCP == b.RTCP && a.Source == b.Source && a.Mux == b.Mux && slices.Equal(a.Clocks, b.Clocks)
}

// news tells, once, that something was said that the record's dialog does not know yet.
func (m *Media) news() bool {
	if m == nil || !m.unsaved {
		return false
	}
	m.unsaved = false
	return true
}

// learn notes which streams a description asks for, RTCP aside, and gives them.
func (m *Media) learn(d *sdp.Description) (asked []sdp.Stream) {
	for s := range d.Streams() {
		if s.Kind == sdp.RTCP {
			continue
		}
		if m.number(s.Media, s.Kind) < 0 {
			n := m.count
			for _, other := range asked {
				if other.Addr == s.Addr {
					n = m.number(other.Media, other.Kind)
				}
			}
			m.count = max(m.count, n+1)
			m.streams = append(m.streams, stream{s.Media, s.Kind, n, n})
		}
		m.part(s, asked)
		asked = append(asked, s)
	}
	return asked
}

// part gives a stream a number of its own that shared one with another while both had one address: whoever answers may
// take them at two. What the other side said of the one holds for both.
func (m *Media) part(s sdp.Stream, before []sdp.Stream) {
	shared := m.number(s.Media, s.Kind)
	if !slices.ContainsFunc(before, func(o sdp.Stream) bool { return m.number(o.Media, o.Kind) == shared && o.Addr != s.Addr }) {
		return
	}
	i := slices.IndexFunc(m.streams, func(x stream) bool { return x.Media == s.Media && x.Kind == s.Kind })
	m.streams[i].Number, m.streams[i].Like = m.count, shared
	m.count++
}

// number is the session's stream for a media line or its FEC; -1 if there is none yet.
func (m *Media) number(media int, kind sdp.StreamKind) int {
	for _, s := range m.streams {
		if s.Media == media && s.Kind == kind {
			return s.Number
		}
	}
	return -1
}

// open takes ports: at the first description, and for streams that a later one adds.
func (m *Media) open() (err error) {
	if m.session != nil {
		return m.session.Grow(m.count)
	}
	m.plan.Streams = m.count
	m.session, err = m.call.table.calls.Relay.Open(m.plan)
	return err
}

// remote is what a description says about where its sender receives a stream.
func remote(d *sdp.Description, s sdp.Stream, source netip.Addr) relay.Remote {
	media := &d.Media[s.Media]
	r := relay.Remote{RTP: s.Addr, Source: source, Mux: media.Mux}
	if s.Kind == sdp.RTP {
		// Only what a=rtcp says: what rtcp-mux means hangs on the answer (RFC 5761 5.1.1).
		for c := range d.Streams() {
			if c.Kind == sdp.RTCP && c.Media == s.Media && c.Addr.IsValid() {
				r.RTCP = c.Addr
			}
		}
	}
	for _, f := range media.Formats {
		if f.Payload >= 0 && f.Codec.Rate > 0 {
			r.Clocks = append(r.Clocks, relay.Clock{PayloadType: uint8(f.Payload), Rate: uint32(f.Codec.Rate)})
		}
	}
	return r
}

// held tells whether silence is what a side wants.
func held(d *sdp.Description) bool {
	return slices.ContainsFunc(d.Media, func(x sdp.Media) bool { return x.Port != 0 && (x.Held || x.Direction != sdp.SendRecv) })
}

// Close gives the ports back.
func (m *Media) Close() {
	if m == nil || m.closed {
		return
	}
	m.closed = true
	if m.session != nil {
		m.session.Close()
	}
}

// keptMedia is what the record keeps of a Media for the next start.
type keptMedia struct {
	Session []byte   `json:"session"`
	Streams []stream `json:"streams"`
	Said    [2]said  `json:"said"`
}

func (m *Media) keep() *keptMedia {
	if m == nil || m.closed || m.session == nil {
		return nil
	}
	return &keptMedia{m.session.State(), m.streams, m.said}
}

// restore takes the same ports again, with the sources that were learned.
func (c *Call) restore(k *keptMedia) {
	cs := c.table.calls
	if k == nil || cs.Relay == nil {
		return
	}
	session, err := cs.Relay.Restore(k.Session)
	if err != nil {
		cs.Logger.Error("the media of a call cannot be relayed any more", "call", c.Record.ID, "error", err)
		return
	}
	m := &Media{call: c, session: session, streams: k.Streams, said: k.Said}
	for _, s := range k.Streams {
		m.count = max(m.count, s.Number+1)
	}
	c.up.media, c.media = m, []*Media{m}
}

// Heard takes what the relay tells of a call's media.
func (cs *Calls) Heard(n relay.Notice) {
	cs.mu.Lock()
	c := cs.byID[n.Session.ID()]
	cs.mu.Unlock()
	if c == nil {
		return // not answered yet, or over
	}
	c.table.shard.Post(func() {
		if !c.Up() || c.up.media == nil || c.up.media.session != n.Session {
			return
		}
		switch n.Event {
		case relay.Learned, relay.Moved:
			c.save(nil) // the next start shall know it
		case relay.Stopped:
			c.probeNow()
		case relay.Silent:
			c.silent()
		}
	})
}

// outage is how long after the first notice of silence the others are waited for, and hush how long one counts.
const outage, hush = 2 * time.Second, 90 * time.Second

// silent: for a minute nothing came from any side, although nobody holds. If it is so in most calls, the outage is ours
// and not the agents'; and who never sent anything has no audio to lose.
func (c *Call) silent() {
	if !c.up.media.flowed() {
		return
	}
	cs, shard := c.table.calls, c.table.shard
	c.hushed.Store(shard.Now().UnixNano())
	shard.After(outage, func() {
		if c.Up() && !cs.mostAreSilent(shard.Now()) {
			c.Terminate("no audio in any direction for a minute")
		}
	})
}

// heard gives a side whose media was not learned yet another window: its agent is there, and may begin to send only now.
// One that starts late behind a NAT would else stay shut out until the next offer.
func (m *Media) heard(s Side) {
	if m != nil && m.session != nil && !m.closed {
		m.session.Reopen(relay.Side(s))
	}
}

// flowed tells that RTP has come through the relay.
func (m *Media) flowed() bool {
	for n := range m.count {
		for _, side := range [...]relay.Side{relay.Caller, relay.Callee} {
			if m.session.Traffic(side, n).Packets > 0 {
				return true
			}
		}
	}
	return false
}

// mostAreSilent tells that several calls, and more than half of all, have been told to be silent lately.
func (cs *Calls) mostAreSilent(now time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	n := 0
	for _, c := range cs.byID {
		if at := c.hushed.Load(); at != 0 && now.Sub(time.Unix(0, at)) < hush {
			n++
		}
	}
	return n > 1 && 2*n > len(cs.byID)
}

// withoutICE takes the lines of ICE off a description: the relay's address is none of the candidates, and an agent that
// finds none for what c= says goes without ICE (RFC 8839 4.2.5), which the relay serves.
func withoutICE(b []byte) []byte {
	out := b[:0]
	for line := range bytes.Lines(b) {
		if !bytes.HasPrefix(line, []byte("a=candidate:")) && !bytes.HasPrefix(line, []byte("a=ice-")) &&
			!bytes.HasPrefix(line, []byte("a=remote-candidates:")) && !bytes.HasPrefix(line, []byte("a=end-of-candidates")) {
			out = append(out, line...)
		}
	}
	return out
}
