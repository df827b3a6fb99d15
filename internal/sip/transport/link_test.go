package transport

import (
	"net/netip"
	"strings"
	"testing"
)

func TestLinkedStacksSeeEachOtherAtTheAddressesThatTheSenderChose(t *testing.T) {
	outer, inner := New(Config{}), New(Config{})
	Join(outer, inner)
	outerSeen := &answerer{t: outer, silent: true, seen: make(chan seen, 10)}
	innerSeen := &answerer{t: inner, seen: make(chan seen, 10)}
	for tr, a := range map[*Transport]*answerer{outer: outerSeen, inner: innerSeen} {
		tr.Handle(a)
		a.batch = tr.NewBatch()
		run(t, tr)
	}
	f := Flow{Proto: Link, Local: netip.MustParseAddrPort("203.0.113.1:5060"), Remote: netip.MustParseAddrPort("127.0.0.1:15000")}
	back := Flow{Proto: Link, Local: f.Remote, Remote: f.Local}
	b := outer.NewBatch()
	b.Send(f, options("LINK 203.0.113.1", "1", "c1"))
	b.Flush()
	if got := receive(t, innerSeen.seen); got.flow != back || got.source != f.Local {
		t.Errorf("inside: flow %v, source %v; want %v", got.flow, got.source, back)
	}
	if got := receive(t, outerSeen.seen); got.flow != f || !strings.HasPrefix(got.raw, "SIP/2.0 200 ") {
		t.Errorf("outside: flow %v, %q; want %v", got.flow, got.raw, f)
	}
	if got := outer.Announced(f); got != f.Local {
		t.Errorf("announced %v, want %v", got, f.Local)
	}
	if !outer.Connected(f) || New(Config{}).Connected(f) {
		t.Error("connected where there is no link, or not where there is")
	}
}

func TestAFullLinkDropsAndCounts(t *testing.T) {
	outer, inner := New(Config{}), New(Config{})
	Join(outer, inner) // nobody runs: nothing is taken out
	b := outer.NewBatch()
	f := Flow{Proto: Link, Local: netip.MustParseAddrPort("203.0.113.1:5060"), Remote: netip.MustParseAddrPort("127.0.0.1:15000")}
	for range linkQueue + 3 {
		b.Send(f, []byte("x"))
	}
	b.Flush()
	if n := inner.counters[dropLinkFull].Load(); n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
}
