package call

import (
	"strings"
	"testing"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transport"
)

// service.md's dead calls: both sides are asked, in the name of the other, by the route set that lies between.
func TestAProbeIsARequestInsideTheDialog(t *testing.T) {
	run(t, func(b *bench) {
		c := b.call()
		b.inside(c, CallerSide, "INFO", 12)
		b.take()
		b.calls.Fresh("45675001")
		b.sleep(time.Millisecond)
		texts := b.whole
		for i := range texts {
			branch := texts[i][strings.Index(texts[i], "z9hG4bK"):]
			branch, _, _ = strings.Cut(branch, "\r\n")
			texts[i] = strings.Replace(texts[i], branch, "BRANCH", 1)
		}
		if len(texts) != 2 {
			t.Fatalf("%d requests", len(texts))
		}
		// The callee has sent nothing, so its CSeq is 0.
		b.want("to the caller", texts[0], strings.Join([]string{
			"OPTIONS sip:caller@10.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH",
			"Route: <sip:near.caller;lr>", "Route: <sip:inside.caller;lr>", "Max-Forwards: 70",
			"From: <sip:45675002@example.org>;tag=b", "To: <sip:45675001@example.org>;tag=a", "Call-ID: 1", "CSeq: 0 OPTIONS", "Content-Length: 0", "", ""}, "\r\n"))
		b.want("to the callee", texts[1], strings.Join([]string{
			"OPTIONS sip:callee@10.0.0.2 SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH",
			"Route: <sip:near.callee;lr>", "Route: <sip:inside.callee;lr>", "Max-Forwards: 70",
			"From: <sip:45675001@example.org>;tag=a", "To: <sip:45675002@example.org>;tag=b", "Call-ID: 1", "CSeq: 12 OPTIONS", "Content-Length: 0", "", ""}, "\r\n"))
		b.inside(c, CalleeSide, "INFO", 1)
		b.do(func() { c.Terminate("ended by the operator") })
	})
}

func TestBothSidesAreAskedEveryFewMinutes(t *testing.T) {
	run(t, func(b *bench) {
		b.call()
		b.sleep(2 * time.Minute)
		b.want("in the first two minutes", b.take(), "")
		b.sleep(28 * time.Minute)
		n := strings.Count(b.take(), "OPTIONS to "+two)
		if n < 9 || n > 14 {
			t.Errorf("asked %d times in half an hour", n)
		}
		b.want("the call is", b.ended(), "up")
	})
}

func TestFreshAsksAtOnceButNotAllTheTime(t *testing.T) {
	run(t, func(b *bench) {
		b.call()
		for range 3 {
			b.calls.Fresh("45675002")
		}
		b.calls.Fresh("45675003") // somebody else
		b.sleep(time.Millisecond)
		b.want("at once", b.take(), "0 OPTIONS to "+one+"\n7 OPTIONS to "+two)
		b.sleep(6 * time.Second)
		b.calls.Fresh("45675001")
		b.sleep(time.Millisecond)
		b.want("later", b.take(), "0 OPTIONS to "+one+"\n7 OPTIONS to "+two)
	})
}

// Until the ACK the caller may not have the 200, and would not know the dialog.
func TestNobodyIsAskedBeforeTheACK(t *testing.T) {
	run(t, func(b *bench) {
		b.at(one, always(481))
		c := b.up("45675001", "45675002", udp(one), udp(two))
		b.calls.Fresh("45675001")
		b.sleep(time.Millisecond)
		b.register("45675001", udp(one))
		b.register("45675002", udp(two))
		b.calls.Fresh("45675001")
		b.sleep(time.Millisecond)
		b.want("before the ACK", b.take(), "")
		b.inside(c, CallerSide, "ACK", 7)
		b.at(one, always(200))
		b.at(two, always(200))
		b.calls.Fresh("45675001")
		b.sleep(time.Millisecond)
		b.want("after it", b.take(), "0 OPTIONS to "+one+"\n7 OPTIONS to "+two)
	})
	run(t, func(b *bench) { // an ACK that went another way
		b.at(one, always(200))
		b.at(two, always(200))
		b.up("45675001", "45675002", udp(one), udp(two))
		b.sleep(4 * time.Minute)
		if b.take() == "" {
			t.Error("nobody is asked")
		}
	})
}

// Every answer but 481 is life.
func TestOnly481EndsACall(t *testing.T) {
	for _, status := range []int{200, 404, 405, 408, 480, 486, 500, 501, 503, 603} {
		run(t, func(b *bench) {
			b.call()
			b.at(one, always(status))
			b.sleep(time.Hour)
			b.want("the call is", b.ended(), "up")
		})
	}
	for place, who := range map[string]string{one: "caller", two: "callee"} {
		run(t, func(b *bench) {
			c := b.call()
			b.inside(c, CallerSide, "INFO", 12)
			b.inside(c, CalleeSide, "INFO", 3)
			b.take()
			b.at(place, func(m *sip.Message) int {
				if m.Method == sip.OPTIONS {
					return 481
				}
				return 200
			})
			b.calls.Fresh("45675001")
			b.sleep(time.Millisecond)
			b.want("sent", b.take(), "3 OPTIONS to "+one+"\n12 OPTIONS to "+two+"\n4 BYE to "+one+"\n13 BYE to "+two)
			b.want("the record", b.ended(), "lost: the "+who+" does not know the call any more by service after 0s")
		})
	}
}

// A BYE is on its way and its sender has forgotten the call: that is no loss.
func Test481OfWhoHasHungUp(t *testing.T) {
	run(t, func(b *bench) {
		c := b.call()
		b.take()
		b.at(one, nil)
		b.at(two, nil)
		b.calls.Fresh("45675001")
		b.sleep(time.Millisecond)
		b.at(one, always(481)) // to the second try
		d := b.inside(c, CallerSide, "BYE", 8)
		b.sleep(10 * time.Second)
		b.want("the call is", b.ended(), "up")
		b.do(func() { d.HungUp(func() {}) })
		b.sleep(time.Second)
		b.want("the record", b.ended(), "hung up by caller after 0s")
	})
}

// others are calls of agents that answer, so that an outage is known to be none of ours.
func (b *bench) others(n int) {
	for range n {
		b.register("45675003", udp("198.51.100.3:5060"))
		b.register("45675004", udp("198.51.100.4:5060"))
		b.at("198.51.100.3:5060", always(200))
		b.at("198.51.100.4:5060", always(200))
		c := b.up("45675003", "45675004", udp("198.51.100.3:5060"), udp("198.51.100.4:5060"))
		b.inside(c, CallerSide, "ACK", 7)
	}
}

func TestSilence(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(b *bench)
		want string
	}{
		{"an agent that is not registered and silent is dead after a quarter of an hour", func(b *bench) {
			b.sleep(time.Hour)
			b.at(two, nil)
			b.unregister("45675002")
			b.sleep(11 * time.Minute) // it may have answered last three minutes before
			b.want("after 11 minutes", b.ended(), "up")
			b.sleep(9 * time.Minute)
		}, "lost: 45675002 has not answered for 15 minutes and is not registered by service after 1h"},
		{"one that is still registered is not", func(b *bench) {
			b.at(two, nil)
			b.sleep(3 * time.Hour)
		}, "up"},
		{"when it answers once in a while it lives", func(b *bench) {
			n := 0
			b.at(two, func(m *sip.Message) int {
				if n++; n%33 == 0 { // some three probes are lost with all their retransmissions
					return 500
				}
				return 0
			})
			b.unregister("45675002")
			b.sleep(5 * time.Hour)
		}, "up"},
		{"when everybody is silent it is us", func(b *bench) {
			for _, place := range []string{one, two, "198.51.100.3:5060", "198.51.100.4:5060"} {
				b.at(place, nil)
			}
			b.unregister("45675001")
			b.unregister("45675002")
			b.unregister("45675003")
			b.unregister("45675004")
			b.sleep(5 * time.Hour)
		}, "up"},
		{"when more than a tenth of the others is silent it may be us", func(b *bench) {
			b.at(two, nil)
			b.at("198.51.100.3:5060", nil)
			b.unregister("45675002")
			b.sleep(5 * time.Hour)
		}, "up"},
		{"a side that speaks keeps its call", func(b *bench) {
			b.at(two, nil)
			b.unregister("45675002")
			cs := b.first()
			for i := range 60 {
				b.sleep(5 * time.Minute)
				b.inside(cs, CalleeSide, "INFO", i+1)
			}
		}, "up"},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.others(5)
				b.call()
				row.test(b)
				if got := b.ended(); !strings.HasPrefix(got, row.want) {
					t.Errorf("the call: %s, want %s", got, row.want)
				}
			})
		})
	}
}

// first is the call of the usual two.
func (b *bench) first() (c *Call) {
	b.do(func() {
		for _, x := range b.calls.byID {
			if x.Record.Caller == "45675001" {
				c = x
			}
		}
	})
	return c
}

// Never within a quarter of an hour of a start: the agents have not all come back.
func TestSilenceAfterAStart(t *testing.T) {
	run(t, func(b *bench) {
		b.others(5)
		b.call()
		b.sleep(time.Hour)
		b.at(two, nil)
		b.unregister("45675002")
		b.sleep(10 * time.Minute)
		b.restart()
		b.sleep(14 * time.Minute)
		b.want("14 minutes after the start", b.ended(), "up")
		b.sleep(6 * time.Minute)
		if got := b.ended(); !strings.HasPrefix(got, "lost: 45675002 has not answered") {
			t.Errorf("20 minutes after the start: %s", got)
		}
	})
}

// An agent that was restarted registers from a new port and does not know the call; it is asked at both.
func TestAnAgentThatCameBackElsewhere(t *testing.T) {
	const elsewhere = "203.0.113.2:1024"
	for _, row := range []struct {
		name       string
		old, fresh int
		want       string
	}{
		{"it has forgotten the call", 0, 481, "lost: the callee does not know the call any more by service after 1m0s"},
		{"it has changed its network", 0, 200, "up"},
		{"it is another device, and the one on air answers", 200, 481, "up"},
		{"both say that they do not know it", 481, 481, "lost: the callee does not know the call any more by service after 0s"},
		{"none answers", 0, 0, "up"},
	} {
		t.Run(row.name, func(t *testing.T) {
			run(t, func(b *bench) {
				c := b.call()
				b.at(two, always(row.old))
				b.at(elsewhere, always(row.fresh))
				b.register("45675002", udp(elsewhere))
				b.take()
				b.calls.Fresh("45675002")
				b.sleep(time.Millisecond)
				if got := b.take(); !strings.HasPrefix(got, "0 OPTIONS to "+one+"\n7 OPTIONS to "+two+"\n7 OPTIONS to "+elsewhere) {
					t.Errorf("sent:\n%s", got)
				}
				b.sleep(40 * time.Second)
				b.want("the call", b.ended(), row.want)
				b.do(func() {
					want := elsewhere
					if row.old == 200 {
						want = two
					}
					b.want("what is for it goes to", c.Flow(c.up).Remote.String(), want)
				})
			})
		})
	}
}

func TestTheOperatorEndsACall(t *testing.T) {
	run(t, func(b *bench) {
		c := b.call()
		if b.calls.End("unknown", "ended by the operator") {
			t.Error("ended what there is not")
		}
		b.take()
		if !b.calls.End(c.Record.ID, "ended by the operator") {
			t.Error("not found")
		}
		b.sleep(time.Millisecond)
		b.want("sent", b.take(), "1 BYE to "+one+"\n8 BYE to "+two)
		b.want("the record", b.ended(), "ended by the operator by service after 0s")
		if b.calls.End(c.Record.ID, "again") || b.calls.Up() != 0 || b.calls.With("45675001") != 0 {
			t.Error("still there")
		}
	})
}

// Every dialog that was answered gets its BYE, and none that only rang.
func TestTheOperatorEndsACallOfSeveralDialogs(t *testing.T) {
	run(t, func(b *bench) {
		c := b.call()
		b.take()
		for tag, status := range map[string]string{"rings": "180", "answers": "200"} {
			m := packet(t, udp(two), "SIP/2.0 "+status+" OK", "Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: "+c.Caller.Party,
				"To: <sip:45675002@example.org>;tag="+tag, "Call-ID: 1", "CSeq: 7 INVITE")
			b.do(func() {
				if status == "180" {
					c.Ringing(&m.Msg, "45675002", udp(two), nil, ours)
				} else {
					c.Answered(&m.Msg, "45675002", udp(two), nil, ours, func() {})
				}
			})
		}
		b.do(func() { c.Terminate("ended by the operator") })
		b.want("sent", b.take(), strings.Repeat("1 BYE to "+one+"\n8 BYE to "+two+"\n", 2)[:2*len("1 BYE to "+one+"\n8 BYE to "+two+"\n")-1])
	})
}

// A connection that is gone is no answer either; the call waits for its agent to come back.
func TestALegWhoseConnectionIsGone(t *testing.T) {
	run(t, func(b *bench) {
		tcp := transport.Flow{Proto: transport.TCP, Local: udp(one).Local, Remote: udp(two).Remote, Conn: 1}
		b.register("45675001", udp(one))
		b.register("45675002", tcp)
		b.at(one, always(200))
		c := b.up("45675001", "45675002", udp(one), tcp)
		b.inside(c, CallerSide, "ACK", 7)
		b.broken[tcp] = true
		b.calls.Fresh("45675002")
		b.sleep(time.Minute)
		b.want("the call", b.ended(), "up")
		back := transport.Flow{Proto: transport.TCP, Local: udp(one).Local, Remote: udp("203.0.113.2:40001").Remote, Conn: 2}
		b.register("45675002", back)
		b.at("203.0.113.2:40001", always(200))
		b.take()
		b.calls.Fresh("45675002")
		b.sleep(time.Millisecond)
		b.want("sent", b.take(), "0 OPTIONS to "+one+"\n7 OPTIONS to 203.0.113.2:40001")
	})
}
