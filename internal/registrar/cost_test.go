package registrar

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip/transport"
)

// nowhere is a Store that takes everything and keeps nothing.
type nowhere struct{}

func (nowhere) SaveBindings(context.Context, []Change) error         { return nil }
func (nowhere) Bindings(context.Context, func(*Binding) error) error { return nil }

var _ Sender = (*transport.Batch)(nil)

type discard struct{}

func (discard) Send(transport.Flow, []byte) {}
func (discard) Flush()                      {}

func loose(tb testing.TB) *Registrar {
	tb.Helper()
	r := New(Config{
		Store: nowhere{}, Sender: discard{},
		Announce: func(transport.Flow) netip.AddrPort { return ourself },
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err := r.Load(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.commit(ctx) })
	tb.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return r
}

// agents is a population with its next REGISTER each.
type agents struct {
	packets  []*transport.Packet
	accounts []*account.Account
}

func population(tb testing.TB, n int) agents {
	var a agents
	for i := range n {
		number := fmt.Sprint(10000000 + i)
		p := &transport.Packet{Flow: transport.Flow{Proto: transport.UDP, Local: ourself,
			Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 16), byte(i >> 8)}), uint16(1024+i&0xff))}}
		text := message(number, "Call-ID: 6f1ed002-"+number+"@192.168.1.10", "User-Agent: ScoopFone 4G/2.07",
			"Contact: <sip:"+number+"@192.168.1.10:5060>", "Expires: 300")
		if err := p.Msg.Parse([]byte(text)); err != nil {
			tb.Fatal(err)
		}
		p.Msg.Source = p.Flow.Remote
		a.packets = append(a.packets, p)
		a.accounts = append(a.accounts, &account.Account{Number: account.Number(number)})
	}
	return a
}

func (a agents) register(tb testing.TB, r *Registrar, buf []byte) {
	var wg sync.WaitGroup
	ok := func(status int, _ []byte) {
		if status != 200 {
			tb.Errorf("status %d", status)
		}
		wg.Done()
	}
	for i, p := range a.packets {
		if i%1000 == 999 {
			wg.Wait() // the queue is bounded
		}
		wg.Add(1)
		var mine []byte
		if buf != nil {
			mine = buf[i%1000*1024 : i%1000*1024 : i%1000*1024+1024]
		}
		r.Register(p, a.accounts[i], mine, ok)
		p.Msg.CSeq++
	}
	wg.Wait()
}

func BenchmarkRefresh(b *testing.B) {
	r := loose(b)
	a := population(b, 1000)
	buf := make([]byte, 1000*1024)
	a.register(b, r, buf)
	b.ReportAllocs()
	b.ResetTimer()
	begin := processor()
	for n := 0; n < b.N; n += len(a.packets) {
		a.register(b, r, buf)
	}
	// The time on the clock is that of the committer's pace; what counts is what the processor did.
	b.ReportMetric(float64(processor()-begin)/float64(b.N), "cpu-ns/op")
}

// processor is the processor time of this process.
func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkPing(b *testing.B) {
	r := loose(b)
	a := population(b, 10000)
	a.register(b, r, nil)
	w := walker{r: r}
	now := time.Now()
	b.ReportAllocs()
	b.ResetTimer()
	for n, part := 0, int64(0); n < b.N; part++ {
		before := r.count.pings.Load()
		w.visit(part, now)
		w.judge(part-lag, now)
		n += int(r.count.pings.Load() - before)
	}
}

func BenchmarkLookup(b *testing.B) {
	r := loose(b)
	a := population(b, 1000)
	a.register(b, r, nil)
	var dst []Binding
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		dst = r.Lookup(a.accounts[n%1000].Number, dst[:0])
	}
}

// 100,000 bindings must leave room in 60 MB for everything else.
func TestBytesPerBinding(t *testing.T) {
	const n = 20000
	r := loose(t)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	a := population(t, n)
	before := heap()
	a.register(t, r, nil)
	each := (heap() - before) / n
	t.Logf("%d bytes per binding", each)
	if each > 350 {
		t.Errorf("%d bytes per binding, want at most 350", each)
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(r)
}
