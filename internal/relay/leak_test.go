package relay

import (
	"os"
	"runtime"
	"sync"
	"testing"
)

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestTenThousandSessionsLeaveNothing(t *testing.T) {
	caller, callee := newAgent(t, "127.7.1.2"), newAgent(t, "127.7.1.3")
	r, _ := start(t, Config{Pools: poolAt("127.7.1.1")})
	one := func() {
		s := open(t, r, caller, callee)
		join(t, s, caller, callee)
		s.Close()
	}
	for range 100 { // what is made once
		one()
	}
	fds, goroutines, bytes := descriptors(t), runtime.NumGoroutine(), heap()
	for range 10000 {
		one()
	}
	if n := portsUsed(t, r); n != 0 {
		t.Errorf("%d ports", n)
	}
	if n := descriptors(t); n != fds {
		t.Errorf("%d descriptors, and %d before", n, fds)
	}
	if n := runtime.NumGoroutine(); n != goroutines {
		t.Errorf("%d goroutines, and %d before", n, goroutines)
	}
	// A single session takes some 3 kB.
	if n := heap(); n > bytes+256<<10 {
		t.Errorf("%d bytes more", n-bytes)
	}
	for _, w := range r.workers {
		if n := w.sessions.Load(); n != 0 {
			t.Errorf("a worker counts %d sessions", n)
		}
		for _, p := range w.ports {
			if p != nil {
				t.Error("a worker knows a port")
			}
		}
	}
}

func TestTheEndOfRunClosesEverything(t *testing.T) {
	fds := descriptors(t)
	r, err := New(Config{Pools: poolAt("127.7.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("with sessions open", func(t *testing.T) {
		run(t, r)
		for range 10 {
			if _, err := r.Open(Plan{Streams: 2}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n := descriptors(t); n != fds {
		t.Errorf("%d descriptors, and %d before", n, fds)
	}
	if n := portsUsed(t, r); n != 0 {
		t.Errorf("%d ports", n)
	}
	if _, err := r.Open(Plan{Streams: 1}); err == nil {
		t.Error("a session was opened after the end")
	}
	if n := portsUsed(t, r); n != 0 {
		t.Errorf("%d ports", n)
	}
}

// Everything at once, for the race detector.
func TestManySessionsAtOnce(t *testing.T) {
	r, err := New(Config{Pools: poolAt("127.7.3.1"), Workers: 2, Notify: func(n Notice) { n.Session.State() }})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	var wg sync.WaitGroup
	for range 8 {
		caller, callee := newAgent(t, "127.7.3.2"), newAgent(t, "127.7.3.3")
		wg.Go(func() {
			for range 20 {
				s := open(t, r, caller, callee)
				join(t, s, caller, callee)
				s.Traffic(Caller, 0)
				s.Observed(Callee, 0)
				s.History(Caller, 0)
				s.Close()
			}
		})
	}
	wg.Wait()
	if n := portsUsed(t, r); n != 0 {
		t.Errorf("%d ports", n)
	}
}
