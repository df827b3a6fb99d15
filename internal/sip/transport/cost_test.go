package transport

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"liaison/internal/sip"
)

// fixed answers every request with bytes that it builds in its own buffer.
type fixed struct {
	batch *Batch
	buf   []byte
}

func (h *fixed) Receive(batch []*Packet) {
	for _, p := range batch {
		h.buf = sip.AppendBody(sip.AppendResponse(h.buf[:0], &p.Msg, 200, "", "totag"), "", nil)
		h.batch.Send(p.Flow, h.buf)
		p.Release()
	}
	h.batch.Flush()
}

func (h *fixed) Closed(Flow, error) {}

// onOneGoroutine is a socket whose reader is the caller: receive can be called when a datagram is there.
func onOneGoroutine(tb testing.TB) (s *socket, raw uintptr) {
	tr := New(Config{})
	tb.Cleanup(tr.Close)
	h := &fixed{}
	tr.Handle(h)
	if err := tr.ListenUDP("0.0.0.0:0"); err != nil {
		tb.Fatal(err)
	}
	h.batch = tr.NewBatch()
	s = tr.sockets[0]
	s.init()
	_ = s.raw.Control(func(fd uintptr) { raw = fd })
	return s, raw
}

// peer is a connected socket of raw system calls, so that only the service's work is measured beside the kernel's.
func peer(tb testing.TB, port uint16) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	// On a busy machine a datagram arrives some time after it was sent: whoever waits for an answer looks again.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 10_000}); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	return fd
}

func TestReceivingAndSendingADatagramAllocatesNothing(t *testing.T) {
	s, fd := onOneGoroutine(t)
	c := peer(t, s.addr.Port())
	m, buf := options("UDP 127.0.0.1", "1", "c1"), make([]byte, 2048)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := unix.Write(c, m); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; {
			s.receive(fd)
			_, err := unix.Read(c, buf)
			answered = err == nil
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for one datagram", n)
	}
}

// BenchmarkUDP is one OPTIONS received, parsed, answered and sent, n datagrams at a time. cpu-ns/op is the processor time
// of that alone; ns/op holds the peer's part and whatever else the machine does.
func BenchmarkUDP(b *testing.B) {
	for _, row := range []struct {
		name string
		n    int
	}{{"one by one", 1}, {"eight at a time", 8}, {"32 at a time", 32}} {
		b.Run(row.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			s, fd := onOneGoroutine(b)
			c := peer(b, s.addr.Port())
			m, buf := options("UDP 127.0.0.1", "1", "c1"), make([]byte, 2048)
			var spent time.Duration
			b.ReportAllocs()
			for i := 0; i < b.N; i += row.n {
				for range row.n {
					_, _ = unix.Write(c, m)
				}
				begin := threadTime()
				s.receive(fd)
				spent += threadTime() - begin
				for range row.n {
					_, _ = unix.Read(c, buf)
				}
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// BenchmarkKernel is the floor under BenchmarkUDP: the same datagrams received and sent, and nothing done with them.
func BenchmarkKernel(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, fd := onOneGoroutine(b)
	l := newLane(s.out, s)
	c := peer(b, s.addr.Port())
	m, buf := options("UDP 127.0.0.1", "1", "c1"), make([]byte, 2048)
	const n = 8
	var spent time.Duration
	for i := 0; i < b.N; i += n {
		for range n {
			_, _ = unix.Write(c, m)
		}
		begin := threadTime()
		got, _ := recvmmsg(fd, s.in.hdrs[:])
		for i := range got {
			s.in.reset(i, true)
			l.names[i], l.iovs[i].Base = s.in.names[i], s.in.iovs[i].Base
			l.iovs[i].SetLen(len(m))
			l.controls[i].put4(netip.MustParseAddr("127.0.0.1"))
		}
		_, _ = sendmmsg(fd, l.hdrs[:got])
		spent += threadTime() - begin
		for range n {
			_, _ = unix.Read(c, buf)
		}
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkSend is what Batch costs by itself: no system call.
func BenchmarkSend(b *testing.B) {
	tr := New(Config{})
	defer tr.Close()
	if err := tr.ListenUDP("0.0.0.0:0"); err != nil {
		b.Fatal(err)
	}
	batch := tr.NewBatch()
	f := Flow{Proto: UDP, Local: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), tr.Listeners()[0].Addr.Port()), Remote: netip.MustParseAddrPort("127.0.0.1:9")}
	m := options("UDP 127.0.0.1", "1", "c1")
	b.ReportAllocs()
	for b.Loop() {
		batch.Send(f, m)
		if l := batch.lanes[0]; l.n == batchSize {
			l.n, batch.arena = 0, batch.arena[:0]
		}
	}
}
