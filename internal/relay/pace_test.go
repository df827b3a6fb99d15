package relay

import (
	"sync"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	rows := []struct {
		name   string
		second int // packets
		want   time.Duration
	}{
		{"nothing to do", 0, 0},
		{"a few calls are forwarded at once", 1000, 0},
		{"more than some twenty rest", 2500, 750 * time.Microsecond},
		{"eight packets should be there", 20000, 400 * time.Microsecond},
		{"at full load the rest is short", 100000, 250 * time.Microsecond},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := pace{since: epoch}
			now := epoch
			for range 100 {
				now = now.Add(measured)
				p.next(row.second/100, now)
			}
			if p.rest != row.want {
				t.Errorf("%v", p.rest)
			}
			if got := p.next(0, now.Add(time.Minute)); got != 0 {
				t.Errorf("%v after the end of it", got)
			}
		})
	}
}

// Under load workers rest between rounds; nothing is lost, and nothing is left behind when it is over.
func TestManyCallsPassAtOnce(t *testing.T) {
	r, _ := start(t, Config{Pools: poolAt("127.9.1.1"), Workers: 1})
	var wg sync.WaitGroup
	for range 10 {
		caller, callee := newAgent(t, "127.9.1.2"), newAgent(t, "127.9.1.3")
		s := open(t, r, caller, callee)
		to, _ := s.Local(Caller, 0)
		from, _ := s.Local(Callee, 0)
		wg.Go(func() {
			const ahead = 20 // packets under way, which fit into the queue of a socket
			for n := range uint16(1000 + ahead) {
				if n < 1000 {
					caller.send(to, packet(1, n, "audio"))
				}
				if n >= ahead {
					callee.expect(packet(1, n-ahead, "audio"), from)
				}
			}
		})
	}
	wg.Wait()
	until(t, func() bool { return r.count(forwardedPackets) == 10000 })
}
