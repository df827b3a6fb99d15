package relay

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is a notice in words.
func told(n Notice) string {
	words := n.Event.String()
	if n.Event == Silent {
		return words
	}
	words = n.Side.String() + " " + words
	if n.Control {
		words += " RTCP"
	}
	return words
}

func TestNotices(t *testing.T) {
	// Each step lets time pass, has somebody do something, and looks.
	type step struct {
		after time.Duration
		what  string // "caller", "callee": RTP; "caller RTCP"; "hold", "resume", "re-INVITE"
		want  []string
	}
	const sec = time.Second
	begin := step{0, "both", []string{"caller learned", "callee learned"}}
	rows := []struct {
		name  string
		steps []step
	}{
		{"sources are learned", []step{begin, {sec, "caller RTCP", []string{"caller learned RTCP"}}, {sec, "both", nil}}},
		{"nothing on any side for 60 s", []step{begin,
			{10 * sec, "", []string{"caller stopped", "callee stopped"}},
			{49 * sec, "", nil},
			{1 * sec, "", []string{"silent"}},
			{59 * sec, "", nil},
			{1 * sec, "", []string{"silent"}}, // again, in case nobody could act on the first
		}},
		{"one live direction is life", []step{begin,
			{10 * sec, "caller", []string{"callee stopped"}},
			{20 * sec, "caller", nil}, // it came at once, so it was not looked at in between
			{50 * sec, "caller", nil},
			{59 * sec, "", []string{"caller stopped"}},
			{1 * sec, "", []string{"silent"}},
		}},
		{"RTCP is life, but not RTP", []step{begin,
			{10 * sec, "", []string{"caller stopped", "callee stopped"}},
			{40 * sec, "callee RTCP", []string{"callee learned RTCP"}},
			{59 * sec, "", nil},
			{1 * sec, "", []string{"silent"}},
		}},
		{"a side that stopped is told of again after it has sent", []step{begin,
			{10 * sec, "callee", []string{"caller stopped"}},
			{5 * sec, "both", nil},
			{9 * sec, "callee", nil},
			{1 * sec, "callee", []string{"caller stopped"}},
		}},
		{"what is held is expected to be silent", []step{begin,
			{sec, "hold", nil},
			{3600 * sec, "", nil},
			{sec, "resume", nil},
			{9 * sec, "", nil},
			{1 * sec, "", []string{"caller stopped", "callee stopped"}},
			{49 * sec, "", nil},
			{1 * sec, "", []string{"silent"}},
		}},
		{"an offer begins it anew", []step{begin,
			{59 * sec, "re-INVITE", nil},
			{10 * sec, "", []string{"caller stopped", "callee stopped"}},
			{49 * sec, "", nil},
			{1 * sec, "", []string{"silent"}},
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			caller, callee := newAgent(t, "127.4.1.2"), newAgent(t, "127.4.1.3")
			callerRTCP, calleeRTCP := newAgent(t, "127.4.1.2"), newAgent(t, "127.4.1.3")
			var got []string
			r, c := still(t, Config{Pools: poolAt("127.4.1.1"), Notify: func(n Notice) { got = append(got, told(n)) }})
			s := open(t, r, caller, callee)
			e := &s.streams[0].ends
			sequence := uint16(0)
			media := func(side Side, a *agent) {
				to, _ := s.Local(side, 0)
				a.send(to, packet(uint32(side)+1, sequence, "audio"))
				one(t, &e[side].rtp, c.read())
			}
			control := func(side Side, a *agent) {
				_, to := s.Local(side, 0)
				a.send(to, controlPacket(uint32(side)+1))
				one(t, &e[side].rtcp, c.read())
			}
			for i, step := range row.steps {
				got = nil
				sequence++
				c.pass(step.after)
				switch step.what {
				case "both":
					media(Caller, caller)
					media(Callee, callee)
				case "caller":
					media(Caller, caller)
				case "callee":
					media(Callee, callee)
				case "caller RTCP":
					control(Caller, callerRTCP)
				case "callee RTCP":
					control(Callee, calleeRTCP)
				case "hold":
					s.Hold(true)
				case "resume":
					s.Hold(false)
				case "re-INVITE":
					s.SetRemote(Caller, 0, Remote{RTP: caller.addr, Source: caller.addr.Addr()})
					s.SetRemote(Callee, 0, Remote{RTP: callee.addr, Source: callee.addr.Addr()})
				}
				r.tick()
				if d := cmp.Diff(step.want, got); d != "" {
					t.Errorf("step %d: %s", i+1, d)
				}
			}
		})
	}

	t.Run("a call that is not answered yet is not silent", func(t *testing.T) {
		caller := newAgent(t, "127.4.1.2")
		r, c := still(t, Config{Pools: poolAt("127.4.1.1"), Notify: func(n Notice) { t.Error(told(n)) }})
		s, err := r.Open(Plan{Streams: 1})
		if err != nil {
			t.Fatal(err)
		}
		s.SetRemote(Caller, 0, Remote{RTP: caller.addr, Source: caller.addr.Addr()})
		c.pass(time.Hour)
		r.tick()
	})
}

func TestTheRelayLooksByItself(t *testing.T) {
	caller, callee := newAgent(t, "127.4.2.2"), newAgent(t, "127.4.2.3")
	notices := make(chan Notice, 10)
	r, err := New(Config{Pools: poolAt("127.4.2.1"), Notify: func(n Notice) { notices <- n }})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	s := open(t, r, caller, callee)
	join(t, s, caller, callee)
	for range 2 {
		if n := <-notices; n.Session != s || n.Event != Learned {
			t.Errorf("%+v", n)
		}
	}
}

func TestTheOwnerMayCloseFromANotice(t *testing.T) {
	caller, callee := newAgent(t, "127.4.3.2"), newAgent(t, "127.4.3.3")
	var ended Totals
	r, c := still(t, Config{Pools: poolAt("127.4.3.1"), Notify: func(n Notice) {
		if n.Event == Silent {
			ended = n.Session.Close()
		}
	}})
	open(t, r, caller, callee)
	c.pass(time.Minute)
	r.tick()
	if len(ended.Streams) != 1 || portsUsed(t, r) != 0 {
		t.Errorf("%+v", ended)
	}
	r.tick()
}
