package call

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"liaison/internal/sip/transport"
)

// The next start goes on with what the last one knew: the record has it all.
func TestACallLivesOverARestart(t *testing.T) {
	run(t, func(b *bench) {
		c := b.call()
		b.inside(c, CallerSide, "INFO", 12)
		d := b.inside(c, CallerSide, "INVITE", 13, "Contact: <sip:moved@10.0.0.9>")
		b.do(func() {
			d.Renegotiated(&packet(t, udp(two), "SIP/2.0 200 OK", "Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: "+c.Caller.Party,
				"To: "+c.up.Party, "Call-ID: 1", "CSeq: 13 INVITE", "Contact: <sip:elsewhere@10.0.0.2>").Msg, true)
		})
		b.inside(c, CalleeSide, "INFO", 3)
		b.sleep(time.Minute)
		b.restart()
		if b.calls.Up() != 1 || b.calls.With("45675002") != 1 {
			t.Fatal("the call is not known")
		}
		after := b.first()
		b.want("the caller", dialogOf(&after.Caller), dialogOf(&c.Caller))
		b.want("the callee", dialogOf(after.up), dialogOf(c.up))
		if after.Caller.Target != "sip:moved@10.0.0.9" || after.up.Target != "sip:elsewhere@10.0.0.2" || after.Caller.CSeq != 13 || after.up.CSeq != 3 {
			t.Errorf("%+v %+v", after.Caller, after.up)
		}
		b.sleep(5 * time.Minute)
		if b.take() == "" {
			t.Error("nobody is asked any more")
		}
		d = b.inside(after, CalleeSide, "BYE", 4)
		b.do(func() { d.HungUp(func() {}) })
		b.want("the record", b.ended(), "hung up by callee after 6m0s")
	})
}

func dialogOf(l *Leg) string {
	text, _ := json.Marshal(l)
	return string(text)
}

// The test codec was part of what stopped: its callers need not wait to find out.
func TestCallsOfTheTestCodecEndWithARestart(t *testing.T) {
	run(t, func(b *bench) {
		link := transport.Flow{Proto: transport.Link, Local: udp(one).Local, Remote: udp(one).Local}
		b.at(one, always(200))
		b.at("192.0.2.1:5060", always(200))
		c := b.up("45675001", "15000", udp(one), link)
		b.inside(c, CallerSide, "ACK", 7)
		b.sleep(time.Minute)
		b.restart()
		b.want("sent", b.take(), "1 BYE to "+one+"\n8 BYE to 192.0.2.1:5060")
		b.want("the record", b.ended(), "service restarted by service after 1m0s")
	})
}

func TestADialogThatCannotBeRead(t *testing.T) {
	run(t, func(b *bench) {
		b.call()
		b.saved[len(b.saved)-1].Dialog = []byte("{torn")
		b.restart()
		if b.calls.Up() != 0 {
			t.Error("taken up")
		}
		b.want("the record", b.ended(), "service restarted by service after 0s")
	})
}

// A call has the dialogs that its INVITE made, and no more than a bounded number.
func TestDialogsOfACallAreBounded(t *testing.T) {
	run(t, func(b *bench) {
		c := b.call()
		for i := range 100 {
			tag := strings.Repeat("x", i+1)
			m := packet(t, udp(two), "SIP/2.0 180 Ringing", "Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: "+c.Caller.Party,
				"To: <sip:45675002@example.org>;tag="+tag, "Call-ID: 1", "CSeq: 7 INVITE")
			b.do(func() { c.Ringing(&m.Msg, "45675002", udp(two), nil, ours) })
		}
		if n := len(c.Callees); n != maxLegs {
			t.Errorf("%d legs", n)
		}
	})
}

// A name may be as long as a message; the tag behind it must not be lost.
func TestALongNameKeepsItsTag(t *testing.T) {
	m := packet(t, udp(one), "OPTIONS sip:x SIP/2.0", "Via: SIP/2.0/UDP a;branch=z9hG4bK1",
		`From: "`+strings.Repeat("Studio ", 100)+`" <sip:45675001@example.org;x=y>;a=b;tag=a`, "To: <sip:x@y>", "Call-ID: 1", "CSeq: 1 OPTIONS")
	if got := party(&m.Msg.From); got != "<sip:45675001@example.org;x=y>;tag=a" {
		t.Error(got)
	}
	if got := party(&m.Msg.To); got != "<sip:x@y>" {
		t.Error(got)
	}
}

func TestWhatIsKeptIsOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"Codec/1":                     "Codec/1",
		"a\x00b\x1b[2Jc\td":           "ab[2Jcd",
		"one\r\ntwo":                  "onetwo",
		"r\u202ele":                   "rle",
		"Fran\u00e7ais \u65e5\u672c":  "Fran\u00e7ais \u65e5\u672c",
		"torn \xe6\x97":               "torn ",
		strings.Repeat("\u00e9", 200): strings.Repeat("\u00e9", 128),
	} {
		if got := text([]byte(in)); got != want {
			t.Errorf("%q is kept as %q, want %q", in, got, want)
		}
	}
}

// An agent that uses its Call-ID, and even its tag, twice.
func TestCallsOfOneCallID(t *testing.T) {
	run(t, func(b *bench) {
		first := b.call()
		b.serial--
		second := b.up("45675001", "45675002", udp(one), udp(two))
		b.inside(first, CallerSide, "ACK", 7)
		if b.table.Len() != 2 || b.calls.With("45675001") != 2 {
			t.Errorf("%d calls", b.table.Len())
		}
		b.do(func() { first.Terminate("x"); second.Terminate("x") })
	})
}

func TestTheJury(t *testing.T) {
	cs := &Calls{}
	now := time.Unix(1_000_000_000, 0)
	if cs.othersAnswer(now, nil) {
		t.Error("nobody was asked")
	}
	for range 9 {
		cs.heard(now, true)
	}
	cs.heard(now, false)
	if !cs.othersAnswer(now, nil) {
		t.Error("nine of ten answered")
	}
	cs.heard(now, false)
	if cs.othersAnswer(now, nil) {
		t.Error("nine of eleven answered")
	}
	if !cs.othersAnswer(now, []time.Time{now, now.Add(-time.Hour)}) {
		t.Error("one's own silence does not count")
	}
	if later := now.Add(15 * time.Minute); cs.othersAnswer(later, nil) {
		t.Error("what was answered a quarter of an hour ago counts")
	}
}

func TestANumberInTwoCallsAtOnce(t *testing.T) {
	run(t, func(b *bench) {
		a := b.call()
		c := b.up("45675001", "45675001", udp(one), udp(one)) // one calls itself
		if n := b.calls.With("45675001"); n != 3 {
			t.Errorf("counted %d times", n)
		}
		b.do(func() { c.Terminate("x") })
		if n := b.calls.With("45675001"); n != 1 {
			t.Errorf("counted %d times", n)
		}
		b.do(func() { a.Terminate("x") })
	})
}
