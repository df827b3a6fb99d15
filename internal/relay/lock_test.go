package relay

import (
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

func ap(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

func ip(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// Steps of a story about one lock.
type (
	signals struct { // an offer or answer comes
		at        time.Duration
		rtp, from string
	}
	arrives struct { // a packet comes
		at   time.Duration
		from string
		header
		want verdict
	}
	sends struct { // a packet for the agent goes there
		to string
	}
	reopens struct{ at time.Duration }
)

func audio(ssrc uint32, sequence uint16) header {
	return header{kind: media, ssrc: ssrc, sequence: sequence}
}

func report(ssrc uint32) header { return header{kind: control, ssrc: ssrc} }

func TestLock(t *testing.T) {
	const (
		ms  = time.Millisecond
		sec = time.Second
		nat = "203.0.113.7"
	)
	// An agent behind a NAT that knows only its own address.
	natted := signals{0, "192.168.1.5:5004", nat}
	rows := []struct {
		name  string
		steps []any
	}{
		{"nothing passes before an offer or answer", []any{
			arrives{0, nat + ":5004", audio(1, 1), stranger},
			sends{""},
		}},
		{"the address that was signalled is learned", []any{
			signals{0, nat + ":5004", "198.51.100.1"},
			arrives{sec, nat + ":5004", audio(1, 1), learned},
			arrives{sec, nat + ":5004", audio(1, 2), passed},
			sends{nat + ":5004"},
		}},
		{"another port of the address that was signalled is learned", []any{
			signals{0, nat + ":5004", "198.51.100.1"},
			arrives{sec, nat + ":61000", audio(1, 1), learned},
			sends{nat + ":61000"},
		}},
		{"the address that the signalling came from is learned, with the port that the NAT chose", []any{
			natted,
			arrives{sec, nat + ":61000", audio(1, 1), learned},
			sends{nat + ":61000"},
		}},
		{"a stranger is not learned, in the window neither", []any{
			natted,
			arrives{1 * ms, "203.0.113.8:5004", audio(1, 1), stranger},
			arrives{2 * ms, "203.0.113.8:5004", audio(1, 2), stranger},
			arrives{3 * ms, nat + ":61000", audio(1, 1), learned},
			arrives{4 * ms, "203.0.113.8:5004", audio(1, 2), stranger},
		}},
		{"the window ends", []any{
			natted,
			arrives{10*sec - 1, "203.0.113.8:5004", audio(1, 1), stranger},
			arrives{10 * sec, nat + ":61000", audio(1, 1), late},
			sends{""},
		}},
		{"exactly what was signalled is learned also later", []any{
			signals{0, nat + ":5004", nat},
			arrives{50 * sec, nat + ":5006", audio(1, 1), late},
			arrives{50 * sec, nat + ":5004", audio(1, 1), learned},
		}},
		{"the other side's answer opens the window of a side that nothing was learned of", []any{
			natted,
			reopens{40 * sec},
			arrives{49 * sec, nat + ":61000", audio(1, 1), learned},
		}},
		{"and not of one that is locked", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			reopens{40 * sec},
			arrives{42 * sec, nat + ":61001", audio(9, 1), foreign},
		}},
		{"a refused stream is closed", []any{
			signals{0, nat + ":5004", nat},
			arrives{0, nat + ":5004", audio(1, 1), learned},
			signals{sec, "", ""},
			arrives{sec, nat + ":5004", audio(1, 2), stranger},
			sends{""},
		}},
		{"where there is only a name, the address of the signalling is learned", []any{
			signals{0, "", nat},
			sends{""},
			arrives{sec, nat + ":61000", audio(1, 1), learned},
		}},
		{"before learning, packets go to a public address that was signalled", []any{
			signals{0, nat + ":5004", "198.51.100.1"},
			sends{nat + ":5004"},
		}},
		{"and not to a private one that is behind somebody's NAT", []any{
			natted,
			sends{""},
		}},
		{"what is held by 0.0.0.0 gets nothing, but is heard", []any{
			signals{0, nat + ":5004", nat},
			arrives{0, nat + ":5004", audio(1, 1), learned},
			signals{sec, "0.0.0.0:5004", nat},
			sends{""},
			arrives{sec, nat + ":5004", audio(1, 2), passed},
			sends{""},
			signals{2 * sec, nat + ":5004", nat},
			sends{nat + ":5004"},
		}},

		{"once locked, another port of the same address is refused, with the right SSRC too", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			arrives{20 * ms, nat + ":61001", audio(1, 2), foreign},
			arrives{20 * ms, nat + ":61000", audio(1, 2), passed},
			arrives{900 * ms, nat + ":61001", audio(1, 3), foreign},
		}},
		{"a new SSRC from the locked source passes: the codec was changed", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			arrives{sec, nat + ":61000", audio(2, 9000), passed},
		}},
		{"the port changes: SSRC and sequence go on and the old source is silent", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 65530), learned},
			arrives{20 * sec, nat + ":61000", audio(1, 65531), passed},
			arrives{20*sec + 999*ms, nat + ":61001", audio(1, 65535), foreign},
			arrives{21 * sec, nat + ":61001", audio(1, 50), moved},
			arrives{21 * sec, nat + ":61001", audio(1, 51), passed},
			sends{nat + ":61001"},
			arrives{21 * sec, nat + ":61000", audio(1, 52), foreign},
		}},
		{"the network changes: from any address", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{20 * sec, nat + ":61000", audio(1, 1100), passed},
			arrives{21 * sec, "198.51.100.20:7000", audio(1, 1150), moved},
			sends{"198.51.100.20:7000"},
		}},
		{"and back again", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{20 * sec, "198.51.100.20:7000", audio(1, 1100), moved},
			arrives{22 * sec, nat + ":61000", audio(1, 1200), moved},
		}},
		{"a silent source is not followed with another SSRC", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{20 * sec, nat + ":61001", audio(2, 101), foreign},
			arrives{20 * sec, "198.51.100.20:7000", audio(2, 101), stranger},
		}},
		{"nor with a sequence that goes back", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{20 * sec, nat + ":61001", audio(1, 100), foreign},
			arrives{20 * sec, nat + ":61001", audio(1, 99), foreign},
		}},
		{"nor with one that is too far ahead for the time that has passed", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{20 * sec, nat + ":61000", audio(1, 1100), passed},
			arrives{21 * sec, nat + ":61001", audio(1, 2600), foreign},
		}},
		{"nor with RTCP or with what is not RTP", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{20 * sec, nat + ":61001", report(1), foreign},
			arrives{20 * sec, nat + ":61001", header{}, foreign},
		}},
		{"one of two streams on a port is enough to follow", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{0, nat + ":61000", audio(2, 900), passed},
			arrives{2 * sec, nat + ":61001", audio(2, 950), moved},
			arrives{2 * sec, nat + ":61001", audio(1, 150), passed},
		}},
		{"an overtaken packet does not set the sequence back", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 100), learned},
			arrives{0, nat + ":61000", audio(1, 98), passed},
			arrives{20 * sec, nat + ":61001", audio(1, 99), foreign},
		}},

		{"a refresh that says the same does not open a locked port", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			arrives{90 * sec, nat + ":61000", audio(1, 2), passed},
			signals{90 * sec, "192.168.1.5:5004", nat},
			arrives{90 * sec, nat + ":61001", audio(9, 1), foreign},
			arrives{90 * sec, nat + ":61001", audio(1, 3), foreign},
			sends{nat + ":61000"},
		}},
		{"but a silent source may then be replaced from a possible address", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			signals{90 * sec, "192.168.1.5:5004", nat},
			arrives{90 * sec, "203.0.113.8:61001", audio(9, 1), stranger},
			arrives{90 * sec, nat + ":61001", audio(9, 1), learned},
		}},
		{"a re-INVITE with another port lets a new source in at once", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			arrives{50 * sec, nat + ":61000", audio(1, 2), passed},
			signals{50 * sec, "192.168.1.5:5010", nat},
			sends{nat + ":61000"}, // the new one is behind the NAT too
			arrives{50*sec + 20*ms, nat + ":61000", audio(1, 3), passed},
			arrives{50*sec + 40*ms, nat + ":61002", audio(2, 1), learned},
			arrives{50*sec + 60*ms, nat + ":61000", audio(1, 4), foreign},
			sends{nat + ":61002"},
		}},
		{"media goes to a new public address at once", []any{
			signals{0, nat + ":5004", nat},
			arrives{0, nat + ":5004", audio(1, 1), learned},
			signals{50 * sec, nat + ":5010", nat},
			sends{nat + ":5010"},
			arrives{50 * sec, nat + ":5010", audio(2, 1), learned},
		}},
		{"but back to the old one if the agent goes on sending from there", []any{
			signals{0, nat + ":5004", nat},
			arrives{0, nat + ":5004", audio(1, 1), learned},
			signals{50 * sec, nat + ":5010", nat},
			arrives{50*sec + 20*ms, nat + ":5004", audio(1, 2), passed},
			sends{nat + ":5010"},
			arrives{52 * sec, nat + ":5004", audio(1, 3), passed},
			sends{nat + ":5004"},
			arrives{52 * sec, nat + ":5011", audio(9, 1), foreign},
		}},
		{"a re-INVITE from another network lets the new address in", []any{
			natted,
			arrives{0, nat + ":61000", audio(1, 1), learned},
			signals{50 * sec, "192.168.1.5:5004", "198.51.100.20"},
			arrives{50 * sec, "198.51.100.20:7000", audio(2, 1), learned},
			arrives{50 * sec, nat + ":61000", audio(1, 2), stranger},
		}},
		{"what opens a NAT is learned until RTP comes from elsewhere", []any{
			natted,
			arrives{0, nat + ":61000", header{}, learned},
			sends{nat + ":61000"},
			arrives{20 * ms, nat + ":61001", header{}, foreign},
			arrives{20 * ms, nat + ":61001", report(1), foreign},
			arrives{20 * ms, nat + ":61001", audio(1, 1), learned},
			arrives{40 * ms, nat + ":61000", audio(1, 2), foreign},
		}},
		{"and a new window lets RTP in", []any{
			natted,
			arrives{0, nat + ":61000", header{}, learned},
			arrives{30 * sec, nat + ":61001", audio(1, 1), foreign},
			reopens{40 * sec},
			arrives{40 * sec, nat + ":61001", audio(1, 2), learned},
		}},
		{"in the window, exactly what was signalled goes before another port", []any{
			signals{0, nat + ":5004", nat},
			arrives{0, nat + ":61000", audio(1, 1), learned},
			arrives{20 * ms, nat + ":5004", audio(2, 1), learned},
			arrives{40 * ms, nat + ":61000", audio(1, 2), foreign},
		}},
		{"and after it not", []any{
			signals{0, nat + ":5004", nat},
			arrives{0, nat + ":61000", audio(1, 1), learned},
			arrives{20 * sec, nat + ":61000", audio(1, 2), passed},
			arrives{20 * sec, nat + ":5004", audio(2, 1), foreign},
		}},
		{"RTCP alone is learned on a port for both", []any{
			natted,
			arrives{0, nat + ":61000", report(1), learned},
			arrives{5 * sec, nat + ":61000", report(1), passed},
		}},
		{"IPv6", []any{
			signals{0, "[2001:db8::5]:5004", "2001:db8::5"},
			arrives{0, "[2001:db8::6]:5004", audio(1, 1), stranger},
			arrives{0, "[2001:db8::5]:5004", audio(1, 1), learned},
			sends{"[2001:db8::5]:5004"},
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var l lock
			for i, step := range row.steps {
				switch s := step.(type) {
				case signals:
					l.signal(ap(s.rtp), ip(s.from), epoch.Add(s.at))
				case reopens:
					l.reopen(epoch.Add(s.at))
				case sends:
					if got := l.destination(); got != ap(s.to) {
						t.Errorf("step %d: packets go to %v, want %q", i+1, got, s.to)
					}
				case arrives:
					if got := l.judge(ap(s.from), s.header, nil, epoch.Add(s.at)); got != s.want {
						t.Errorf("step %d: %v from %s is %d, want %d", i+1, s.header, s.from, got, s.want)
					}
				}
			}
		})
	}
}

func TestLockOfRTCP(t *testing.T) {
	const (
		sec = time.Second
		nat = "203.0.113.7"
	)
	// RTP came from nat:61000 with SSRC 1.
	var rtp lock
	rtp.signal(ap("192.168.1.5:5004"), ip(nat), epoch)
	rtp.judge(ap(nat+":61000"), audio(1, 1), nil, epoch)

	rows := []struct {
		name  string
		steps []arrives
	}{
		{"RTCP has a source of its own", []arrives{
			{sec, nat + ":61001", report(1), learned},
			{sec, nat + ":61000", report(1), foreign},
		}},
		{"a stranger's is refused", []arrives{
			{sec, "203.0.113.8:61001", report(1), stranger},
		}},
		{"it may begin after the window where RTP comes from, with its SSRC", []arrives{
			{60 * sec, nat + ":61001", report(2), late},
			{60 * sec, "203.0.113.8:61001", report(1), stranger},
			{60 * sec, nat + ":61001", report(1), learned},
		}},
		{"its port may change when it has been silent for two intervals", []arrives{
			{5 * sec, nat + ":61001", report(1), learned},
			{14 * sec, nat + ":61002", report(1), foreign},
			{15 * sec, nat + ":61002", report(2), foreign},
			{15 * sec, nat + ":61002", report(1), moved},
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var l lock
			l.signal(ap("192.168.1.5:5005"), ip(nat), epoch)
			for i, s := range row.steps {
				if got := l.judge(ap(s.from), s.header, &rtp, epoch.Add(s.at)); got != s.want {
					t.Errorf("step %d: %v from %s is %d, want %d", i+1, s.header, s.from, got, s.want)
				}
			}
		})
	}

	t.Run("it follows RTP to another network", func(t *testing.T) {
		rtp, l := rtp, lock{}
		l.signal(ap("192.168.1.5:5005"), ip(nat), epoch)
		if got := l.judge(ap(nat+":61001"), report(1), &rtp, epoch.Add(sec)); got != learned {
			t.Fatal(got)
		}
		if got := l.judge(ap("198.51.100.20:7001"), report(1), &rtp, epoch.Add(2*sec)); got != stranger {
			t.Error("before RTP is there:", got)
		}
		if got := rtp.judge(ap("198.51.100.20:7000"), audio(1, 100), nil, epoch.Add(2*sec)); got != moved {
			t.Fatal(got)
		}
		if got := l.judge(ap("198.51.100.20:7001"), report(1), &rtp, epoch.Add(3*sec)); got != moved {
			t.Error(got)
		}
	})
}

func TestUsable(t *testing.T) {
	rows := []struct {
		name     string
		to, from string
		want     bool
	}{
		{"a public address", "203.0.113.7:5004", "198.51.100.1", true},
		{"a public address, whoever says it", "203.0.113.7:5004", "", true},
		{"the address that the signalling came from", "10.0.0.5:5004", "10.0.0.5", true},
		{"a private one of an agent in the same house", "10.0.0.6:5004", "10.9.0.5", true},
		{"a private one behind somebody's NAT", "192.168.1.5:5004", "203.0.113.7", false},
		{"one behind a provider's NAT", "100.64.1.5:5004", "203.0.113.7", false},
		{"a unique local one of IPv6 from outside", "[fd00::5]:5004", "2001:db8::5", false},
		{"a public one of IPv6", "[2001:db8::5]:5004", "203.0.113.7", true},
		{"no port", "203.0.113.7:0", "203.0.113.7", false},
		{"held", "0.0.0.0:5004", "203.0.113.7", false},
		{"this network", "0.1.2.3:5004", "203.0.113.7", false},
		{"multicast", "239.1.2.3:5004", "203.0.113.7", false},
		{"multicast of IPv6", "[ff0e::1]:5004", "203.0.113.7", false},
		{"broadcast", "255.255.255.255:5004", "203.0.113.7", false},
		{"a cloud's metadata", "169.254.169.254:5004", "203.0.113.7", false},
		{"link-local of IPv6", "[fe80::1]:5004", "203.0.113.7", false},
		{"our own machine, from outside", "127.0.0.1:5004", "203.0.113.7", false},
		{"our own machine, from the house", "127.0.0.1:5004", "10.0.0.5", false},
		{"our own machine, from itself", "127.0.0.2:5004", "127.0.0.1", true},
		{"nothing", "", "203.0.113.7", false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := usable(ap(row.to), ip(row.from)); got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}
