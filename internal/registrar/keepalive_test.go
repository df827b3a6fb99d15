package registrar

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"liaison/internal/sip/transport"
)

// answerPing is what an agent says to an OPTIONS.
func answerPing(ping, status string) string {
	lines := strings.Split(ping, "\r\n")
	out := []string{"SIP/2.0 " + status}
	for _, l := range lines[1:] {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "To":
			out = append(out, l+";tag=x")
		case "Via", "From", "Call-ID", "CSeq":
			out = append(out, l)
		}
	}
	return strings.Join(out, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

func (b *bench) pong(flow transport.Flow, text string) bool {
	b.Helper()
	p := &transport.Packet{Flow: flow}
	if err := p.Msg.Parse([]byte(text)); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	return b.r.Pong(p)
}

// pass lets time go by while the agents of these addresses answer every ping.
func (b *bench) pass(d time.Duration, alive ...string) {
	b.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(time.Second, time.Until(end)))
		synctest.Wait()
		for _, sent := range b.wire.take() {
			for _, a := range alive {
				if sent.flow.Remote.String() == a && !b.pong(sent.flow, answerPing(sent.text, "200 OK")) {
					b.Errorf("not taken for an answer:\n%s", sent.text)
				}
			}
		}
	}
}

func TestPing(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Supported: path", "Path: <sip:198.51.100.7;lr>", "Contact: <sip:a@10.0.0.7:5062;x=1?Route=%3Csip:b%3E>", "Expires: 3600")
		b.sleep(interval)
		sent := b.wire.take()
		if len(sent) != 1 {
			b.Fatalf("%d pings", len(sent))
		}
		if sent[0].flow != flowFrom(home) {
			b.Errorf("sent to %s", sent[0].flow)
		}
		want := `OPTIONS sip:a@10.0.0.7:5062;x=1 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK-ka-(\w{24})
Route: <sip:198.51.100.7;lr>
Max-Forwards: 70
From: <sip:192.0.2.1:5060>;tag=\w{8}
To: <sip:a@10.0.0.7:5062;x=1>
Call-ID: (\w{24})
CSeq: 1 OPTIONS
Content-Length: 0

`
		want = "^" + strings.NewReplacer("?", `\?`, ".", `\.`).Replace(want) + "$"
		if got := strings.ReplaceAll(sent[0].text, "\r\n", "\n"); !regexp.MustCompile(want).MatchString(got) {
			b.Errorf("got\n%s", got)
		}
	})
}

func TestPingsAreSpread(t *testing.T) {
	onBench(t, func(b *bench) {
		const agents = 2000
		for i := range agents {
			b.send(fmt.Sprintf("udp 198.51.100.7:%d", 10000+i), fmt.Sprint(10000000+i), "Expires: 3600", "Contact: <sip:a@10.0.0.7>")
		}
		b.sleep(time.Second)
		b.wire.take()
		begin := time.Now()
		b.sleep(4 * interval)
		times := make(map[string][]time.Time)
		perTenth := make(map[int64]int)
		for _, s := range b.wire.take() {
			times[s.flow.Remote.String()] = append(times[s.flow.Remote.String()], s.at)
			perTenth[int64(s.at.Sub(begin)/(100*time.Millisecond))]++
		}
		if len(times) != agents {
			b.Errorf("%d agents pinged, want %d", len(times), agents)
		}
		for agent, at := range times {
			for i := range at[1:] {
				if gap := at[i+1].Sub(at[i]); gap > interval+time.Second || gap < interval-time.Second {
					b.Errorf("%s: %s between two pings", agent, gap)
				}
			}
		}
		for tenth, n := range perTenth {
			if n > 10*agents/250 {
				b.Errorf("%d pings in tenth %d", n, tenth)
			}
		}
	})
}

func TestReach(t *testing.T) {
	const agent = "198.51.100.7:5060"
	stored := func(b *bench) string {
		for _, row := range b.store.stored() {
			return row.Reach.String()
		}
		return "no row"
	}
	tests := []struct {
		sentence string
		story    func(b *bench)
		want     Reach
	}{
		{"an agent that answers is reachable", func(b *bench) {
			b.pass(40*time.Second, agent)
		}, Reachable},
		{"an agent that never answered is not judged", func(b *bench) {
			b.pass(10 * time.Minute)
		}, Unproven},
		{"an agent that stops answering is unreachable within 90 s", func(b *bench) {
			b.pass(40*time.Second, agent)
			b.pass(90 * time.Second)
			if !strings.Contains(b.log.String(), "msg=unreachable account=45675001") {
				b.Errorf("the log does not say so:\n%s", b.log)
			}
		}, Unreachable},
		{"two misses are not enough", func(b *bench) {
			b.pass(40*time.Second, agent)
			b.pass(50 * time.Second)
		}, Reachable},
		{"misses that are not in a row do not add up", func(b *bench) {
			for range 5 {
				b.pass(30*time.Second, agent)
				b.pass(45 * time.Second)
			}
		}, Reachable},
		{"an answer makes it reachable again", func(b *bench) {
			b.pass(40*time.Second, agent)
			b.pass(90 * time.Second)
			b.pass(40*time.Second, agent)
		}, Reachable},
		{"a REGISTER from the same place makes it reachable again", func(b *bench) {
			b.pass(40*time.Second, agent)
			b.pass(90 * time.Second)
			b.fresh = nil
			b.register(home, alice, "CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>", "Expires: 3600")
			b.want(strings.Join(b.fresh, ""), "45675001 fresh=true")
			b.pass(30*time.Second, agent)
		}, Reachable},
		{"in a new place it is judged anew", func(b *bench) {
			b.pass(40*time.Second, agent)
			b.register("udp 203.0.113.9:5060", alice, "CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7>", "Expires: 3600")
			b.pass(10*time.Minute, agent)
		}, Unproven},
		{"what the database did not take is told again", func(b *bench) {
			b.store.set(errDisk, 0)
			b.pass(40*time.Second, agent)
			b.store.set(nil, 0)
			b.pass(30*time.Second, agent)
		}, Reachable},
	}
	for _, test := range tests {
		t.Run(test.sentence, func(t *testing.T) {
			onBench(t, func(b *bench) {
				b.register(home, alice, "Contact: <sip:a@10.0.0.7>", "Expires: 3600")
				test.story(b)
				if got := b.r.Lookup(alice, nil)[0].Reach; got != test.want {
					b.Errorf("is %s, want %s", got, test.want)
				}
				b.want(stored(b), test.want.String())
			})
		})
	}
}

func TestPong(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register(home, alice, "Contact: <sip:a@10.0.0.7>", "Expires: 3600")
		b.sleep(interval)
		ping := b.wire.take()[0].text
		branch := regexp.MustCompile(`branch=[\w-]+`).FindString(ping)
		reach := func() Reach { return b.r.Lookup(alice, nil)[0].Reach }
		flow := flowFrom(home)

		if b.pong(flow, answerPing(strings.Replace(ping, branch, "branch=z9hG4bK12345", 1), "200 OK")) {
			b.Error("an answer to somebody else's request was taken")
		}
		for _, forged := range []string{branch[:len(branch)-4] + "0000", branch[:len(branch)-4], "branch=z9hG4bK-ka-ffffffff0000000000000000", "branch=z9hG4bK-ka-zz"} {
			if !b.pong(flow, answerPing(strings.Replace(ping, branch, forged, 1), "200 OK")) {
				b.Errorf("%s is ours to drop", forged)
			}
		}
		if reach() != Unproven {
			b.Error("a forged answer was taken for life")
		}
		if !b.pong(flow, answerPing(ping, "501 Not Implemented")) || reach() != Reachable {
			b.Error("any status is life")
		}
		b.sleep(interval)
		b.r.count.pongs.Store(0)
		b.pong(flow, answerPing(ping, "200 OK"))
		if b.r.count.pongs.Load() != 0 {
			b.Error("an answer to the ping before the last was counted")
		}
	})
}

func TestStreams(t *testing.T) {
	onBench(t, func(b *bench) {
		b.register("tcp 198.51.100.7:40000 #1", alice, "Contact: <sip:a@10.0.0.7;transport=tcp>", "Expires: 600")
		b.register("tcp 198.51.100.8:40000 #2", "45675002", "Contact: <sip:b@10.0.0.7;transport=tcp>", "Expires: 600")
		b.sleep(interval)
		if n := len(b.wire.take()); n != 0 {
			b.Errorf("%d pings over TCP", n)
		}
		b.r.Closed(flowFrom("tcp 198.51.100.7:40000 #1"))
		b.r.Closed(flowFrom(home))
		b.sleep(2 * time.Second)
		b.want(b.lookup(alice), "sip:a@10.0.0.7;transport=tcp via tcp 198.51.100.7:40000 unreachable 9m33s")
		b.want(b.lookup("45675002"), "sip:b@10.0.0.7;transport=tcp via tcp 198.51.100.8:40000 unproven 9m33s")
		b.register("tcp 198.51.100.7:40001 #3", alice, "CSeq: 2 REGISTER", "Contact: <sip:a@10.0.0.7;transport=tcp>", "Expires: 600")
		b.want(b.lookup(alice), "sip:a@10.0.0.7;transport=tcp via tcp 198.51.100.7:40001 unproven 10m0s")
	})
}

func TestExpiry(t *testing.T) {
	onBench(t, func(b *bench) {
		for i := range 100 {
			b.send(home, fmt.Sprint(10000000+i), "Contact: <sip:a@10.0.0.7>;expires=60, <sip:b@10.0.0.7>;expires=600")
		}
		b.sleep(time.Minute + interval + time.Second)
		if b.r.Bindings() != 100 || len(b.store.stored()) != 100 {
			b.Errorf("%d bindings, %d rows, want 100", b.r.Bindings(), len(b.store.stored()))
		}
		b.want(b.lookup("10000000"), "sip:b@10.0.0.7 via udp 198.51.100.7:5060 unproven 8m34s")
		// The room of the old ones is used again.
		used := b.r.table.stripes[0].used
		for i := range 100 {
			b.send(home, fmt.Sprint(10000000+i), "CSeq: 2 REGISTER", "Contact: <sip:c@10.0.0.7>;expires=60")
		}
		b.sleep(time.Second)
		if now := b.r.table.stripes[0].used; now != used {
			b.Errorf("%d slots used, were %d", now, used)
		}
	})
}
