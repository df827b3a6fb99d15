package agent

import (
	"context"
	"net/netip"
	"time"

	"liaison/internal/sdp"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// call is one call of the agent, from either side. It belongs to the shard; its audio has goroutines of its own.
//
//	outgoing: calling --2xx--> up --> ended        incoming: ringing --200--> up --> ended
//	              +--refused, failed--> ended                    +--CANCEL--> ended
type call struct {
	a *Agent
	dialog
	state callState

	local   *sdp.Local
	offered bool // an offer of ours has no answer yet
	early   bool // it has one in a provisional response
	media   *media
	playing bool // media.run was started
	quiet   context.CancelFunc

	invite *request            // outgoing: until it has its final answer
	server *transaction.Server // incoming: until its final answer
	ackFor uint32              // CSeq of the last INVITE of ours that was answered 2xx
	acked  []byte              // the ACK to it, for when the 2xx comes again

	answer   []byte // the 200 that waits for its ACK
	answerTx *transaction.Server
	again    *transaction.Timer // sends it again
	interval time.Duration
	giveUp   *transaction.Timer

	limit   *transaction.Timer // Config.Longest
	refresh *transaction.Timer // of the session timer (RFC 4028)

	began     time.Time
	answered  time.Time
	report    Report
	wanted    bool // hang up as soon as it can be
	whenEnded []func()
}

type callState uint8

const (
	calling callState = iota
	ringing
	up
	ended
)

// open binds the sockets for audio and makes our side of the description. Listening is for the level of what comes.
func (c *call) open(addr netip.Addr, codecs []Codec, listen bool, file string) error {
	m, err := openMedia(&c.a.config, addr, listen, file, c.a.config.Answering == Echo)
	if err != nil {
		return err
	}
	c.media = m
	list := make([]sdp.Codec, len(codecs))
	for i, k := range codecs {
		list[i] = sdp.Codec{Name: k.Name, Rate: k.Clock, Channels: k.Channels, FMTP: k.Format}
	}
	c.local = sdp.NewLocal(addr, m.port(), list)
	c.local.PTime = c.a.config.Ptime
	return nil
}

// agree makes what offer and answer have settled hold, and starts the audio if it does not flow yet.
func (c *call) agree(g sdp.Agreement) {
	for _, k := range codecs {
		if k.Is(g.Codec.Name, g.Codec.Rate, g.Codec.Channels) {
			sending, coming := k, k
			sending.PayloadType, coming.PayloadType = g.Send, g.Recv
			c.report.Codec = k.String()
			c.media.set(plan{
				remote: g.Remote, control: g.RTCP, ptime: g.PTime,
				codec: sending, known: []Codec{coming},
				send: g.Direction&sdp.SendOnly != 0,
			})
			break
		}
	}
	if !c.playing {
		c.playing = true
		ctx, cancel := context.WithCancel(context.Background())
		c.quiet = cancel
		log, m := c.a.log.With("call", c.callID), c.media
		c.a.tasks.Go(func() {
			m.run(ctx)
			var r Report
			_ = m.into(&r) // an incoming call has no recording; of ours Call tells
			log.Info("audio ended", "sent", r.Sent.Packets, "received", r.Received.Packets, "lost", r.Received.Lost, "jitter_ms", r.Received.Jitter)
		})
	}
}

// answerTo makes the answer to an offer that came in a message.
func (c *call) answerTo(body []byte) ([]byte, *sip.Error) {
	offer, err := sdp.Parse(body)
	if err != nil {
		return nil, sip.Errorf(400, "Bad session description", "%w", err)
	}
	b, g, err := c.local.Answer(offer)
	if err != nil {
		return nil, sip.Errorf(488, "", "%w", err)
	}
	c.agree(g)
	return b, nil
}

// accept takes the answer to our offer.
func (c *call) accept(body []byte) error {
	answer, err := sdp.Parse(body)
	if err != nil {
		return err
	}
	g, err := c.local.Accept(answer)
	if err != nil {
		return err
	}
	c.offered = false
	c.agree(g)
	return nil
}

// established is when the call is answered.
func (c *call) established() {
	c.state = up
	c.answered = c.a.shard.Now()
	c.media.answer(c.answered)
	if d := c.a.config.Longest; d > 0 {
		c.limit = c.a.shard.After(d, func() { c.hangUp(`SIP;cause=200;text="The time of this call is up"`) })
	}
}

// hangUp ends the call in the way that its state asks for. The reason is the value of a Reason header.
func (c *call) hangUp(reason string) {
	switch c.state {
	case calling:
		c.wanted = true // should the 2xx come first, it gets its ACK and a BYE
		if c.invite != nil {
			c.invite.client.Cancel()
		}
	case ringing:
		c.refuse(sip.Errorf(480, "", "the agent stops"))
	case up:
		c.bye(reason)
	}
}

// bye hangs up. The call is over at once; only whoever waits for its end is told when the answer is here.
func (c *call) bye(reason string) {
	uri, head := c.lines()
	if reason != "" {
		head = sip.AppendHeader(head, "Reason", reason)
	}
	c.over()
	r := &request{a: c.a, method: sip.BYE, uri: uri, flow: c.path(), head: head, next: c.cseq.next,
		final:  func(*sip.Message) { c.end() },
		failed: func(error) { c.end() },
	}
	r.send()
}

// path is where requests of the call go: its flow, or the one to the server that took the place of a connection that
// broke.
func (c *call) path() transport.Flow {
	if !c.a.transport.Connected(c.flow) && c.a.flow.Proto != 0 {
		c.flow = c.a.flow
	}
	return c.flow
}

// over stops all that belongs to a call that is up.
func (c *call) over() {
	c.stopAnswer()
	for _, t := range []*transaction.Timer{c.limit, c.refresh} {
		if t != nil {
			t.Stop()
		}
	}
	c.state = ended
	if !c.answered.IsZero() {
		c.report.Duration = seconds(c.a.shard.Now().Sub(c.answered))
	}
	c.silence()
	delete(c.a.calls, c.localTag)
}

// silence stops the audio.
func (c *call) silence() {
	switch {
	case c.quiet != nil:
		c.quiet()
	case c.media != nil:
		c.media.discard()
	}
}

// end is the end of everything, the farewells included.
func (c *call) end() {
	if c.state != ended {
		c.over()
	}
	for _, fn := range c.whenEnded {
		fn()
	}
	c.whenEnded = nil
}

// contact is where requests to the agent come.
func (a *Agent) contact(f transport.Flow) string {
	s := "<sip:" + a.config.Number + "@" + a.transport.Announced(f).String()
	if f.Proto == transport.TCP {
		s += ";transport=tcp"
	}
	return s + ">"
}

const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, MESSAGE"
