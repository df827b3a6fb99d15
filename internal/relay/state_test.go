package relay

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// killed is what kill -9 does to a relay: its sockets close, and nothing is said or kept.
func killed(r *Relay) {
	for s := range r.sessions {
		s.Close()
	}
}

func TestRestore(t *testing.T) {
	caller, callee := newAgent(t, "127.6.1.2"), newAgent(t, "127.6.1.3")
	callerRTCP, calleeRTCP := newAgent(t, "127.6.1.2"), newAgent(t, "127.6.1.3")
	stranger, neighbour := newAgent(t, "127.6.1.66"), newAgent(t, "127.6.1.2")
	probe := Address{Announce: ip("127.6.1.9"), First: testFirst, Last: testLast}
	config := Config{Pools: poolAt("127.6.1.1"), Probe: &probe}
	r, _ := start(t, config)
	s, err := r.Open(Plan{ID: "7f3a", Streams: 2, Legs: [2]Leg{{}, {Probe: true}}})
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(Caller, 0, Remote{RTP: ap("192.168.1.5:5004"), Source: caller.addr.Addr(), Clocks: []Clock{{8, 8000}, {97, 48000}}})
	s.SetRemote(Callee, 0, Remote{RTP: callee.addr, RTCP: calleeRTCP.addr, Source: callee.addr.Addr()})
	join(t, s, caller, callee)
	toCaller, toCallerRTCP := s.Local(Caller, 0)
	toCallee, toCalleeRTCP := s.Local(Callee, 0)
	callerRTCP.send(toCallerRTCP, controlPacket(1))
	calleeRTCP.expect(controlPacket(1), toCalleeRTCP)
	before := s.Traffic(Caller, 0)
	state := s.State()
	if len(state) > 250 {
		t.Errorf("a state of two streams takes %d bytes", len(state))
	}
	killed(r)

	r2, c := start(t, config)
	s2, err := r2.Restore(state)
	if err != nil {
		t.Fatal(err)
	}
	if s2.ID() != "7f3a" || s2.Pool() != "house" || s2.Streams() != 2 {
		t.Errorf("%q in %q with %d streams", s2.ID(), s2.Pool(), s2.Streams())
	}
	if u := portsUsed(t, r2); u != 4 {
		t.Errorf("%d ports of the pool", u)
	}

	// The same ports and the same sources at once, whoever sends first.
	callee.send(toCallee, packet(2, 2, "goes on"))
	caller.expect(packet(2, 2, "goes on"), toCaller)
	for i := range uint16(20) {
		stranger.send(toCaller, packet(1, 2+i, "injected"))
		neighbour.send(toCaller, packet(1, 2+i, "injected"))
		caller.send(toCaller, packet(1, 2+i, "programme"))
		callee.expect(packet(1, 2+i, "programme"), toCallee)
	}
	calleeRTCP.send(toCalleeRTCP, controlPacket(2))
	callerRTCP.expect(controlPacket(2), toCallerRTCP)

	// What it had counted is in the sums, and it goes on.
	after := s2.Traffic(Caller, 0)
	if after.Packets != before.Packets+20 || after.Control != 1 || before.Control != 1 {
		t.Errorf("%+v, then %+v", before, after)
	}
	if o := s2.Observed(Callee, 0); o.Source != callee.addr || o.Signalled != callee.addr || !o.Probe {
		t.Errorf("%+v", o)
	}

	// The agent may move after it as before.
	moved := newAgent(t, "127.6.1.200")
	c.pass(20 * time.Second)
	moved.send(toCaller, packet(1, 500, "from the new place"))
	callee.expect(packet(1, 500, "from the new place"), toCallee)

	// A state of a state is the same but for what has happened since.
	s3 := s2.State()
	killed(r2)
	r3, _ := still(t, config)
	again, err := r3.Restore(s3)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s3, again.State()); d != "" {
		t.Error(d)
	}
}

func TestWhatWasNotLearnedMayBeLearnedAfterARestart(t *testing.T) {
	caller, callee, stranger := newAgent(t, "127.6.2.2"), newAgent(t, "127.6.2.3"), newAgent(t, "127.6.2.66")
	r, _ := start(t, Config{Pools: poolAt("127.6.2.1")})
	s := open(t, r, caller, callee)
	s.SetRemote(Caller, 0, Remote{RTP: ap("192.168.1.5:5004"), Source: caller.addr.Addr()})
	state := s.State()
	killed(r)
	r2, c := start(t, Config{Pools: poolAt("127.6.2.1")})
	c.pass(time.Hour)
	s2, err := r2.Restore(state)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := s2.Local(Caller, 0)
	stranger.send(to, packet(1, 1, "bleed"))
	join(t, s2, caller, callee)
	stranger.empty()
	callee.empty()
}

func TestRestoreIsRefused(t *testing.T) {
	r, _ := start(t, Config{Pools: poolAt("127.6.3.1")})
	s, err := r.Open(Plan{ID: "7f3a", Streams: 1})
	if err != nil {
		t.Fatal(err)
	}
	state := s.State()
	local, _ := s.Local(Caller, 0)

	rows := []struct {
		name, want string
		relay      func() *Relay
		state      []byte
	}{
		{"nothing", "relay: not the state of a session", nil, nil},
		{"another version", "relay: not the state of a session", nil, append([]byte{stateVersion + 1}, state[1:]...)},
		{"half of one", "relay: not the state of a session", nil, state[:len(state)-3]},
		{"more than one", "relay: not the state of a session", nil, append(bytes.Clone(state), 0)},
		{"a port that is in use", `relay pool "house": port ` + local.String()[len("127.6.3.1:"):] + " of 127.6.3.1 is in use or out of range", nil, state},
		{"an address that is not configured any more", `relay pool "house" has no address 127.6.3.1 any more`, func() *Relay {
			r, _ := start(t, Config{Pools: poolAt("127.6.3.9")})
			return r
		}, state},
		{"a pool that is not configured any more", `there is no relay pool "house"`, func() *Relay {
			r, _ := start(t, Config{Pools: []Pool{{Name: "lyon", Addresses: poolAt("127.6.3.8")[0].Addresses}}})
			return r
		}, state},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			on := r
			if row.relay != nil {
				on = row.relay()
			}
			before := on.workers[0].sessions.Load() + on.workers[len(on.workers)-1].sessions.Load()
			used, _ := on.Usage("")
			if _, err := on.Restore(row.state); err == nil || err.Error() != row.want {
				t.Errorf("%v", err)
			}
			after := on.workers[0].sessions.Load() + on.workers[len(on.workers)-1].sessions.Load()
			if u, _ := on.Usage(""); u != used || after != before {
				t.Error("something stays of it")
			}
		})
	}
}

// Whatever bytes are restored: an error and nothing in use, or a session that gives the same state again.
func FuzzRestore(f *testing.F) {
	r, err := New(Config{Pools: poolAt("127.6.4.1"), Workers: 1})
	if err != nil {
		f.Fatal(err)
	}
	defer r.closeWorkers()
	r.now = func() time.Time { return epoch }
	s, err := r.Open(Plan{ID: "7f3a", Streams: 1})
	if err != nil {
		f.Fatal(err)
	}
	s.SetRemote(Caller, 0, Remote{RTP: ap("192.0.2.1:5004"), Source: ip("192.0.2.2"), Clocks: []Clock{{8, 8000}}})
	s.streams[0].ends[Caller].rtp.lock.judge(ap("192.0.2.1:5004"), audio(1, 2), nil, epoch)
	f.Add(s.State())
	s.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := r.Restore(b)
		if err == nil {
			state := s.State()
			s.Close()
			s2, err := r.Restore(state)
			if err != nil {
				t.Fatalf("its own state is refused: %v", err)
			}
			if again := s2.State(); !bytes.Equal(state, again) {
				t.Errorf("%x becomes %x", state, again)
			}
			s2.Close()
		}
		if u, err := r.Usage(""); err != nil || u.Used != 0 || len(r.sessions) != 0 || r.workers[0].sessions.Load() != 0 {
			t.Fatalf("%+v %v: something stays", u, err)
		}
	})
}
