package call

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// bench is Calls over one shard in a time of its own. The agents around it answer our requests as a test says.
type bench struct {
	*testing.T
	calls  *Calls
	shard  *transaction.Shard
	layer  *transaction.Layer
	table  *Table
	start  time.Time
	end    func()
	serial int

	mu         sync.Mutex
	agents     map[netip.AddrPort]func(m *sip.Message) int // the status that it answers, 0: nothing
	registered map[account.Number]transport.Flow
	broken     map[transport.Flow]bool
	sent       []string // what we sent, in short
	whole      []string
	saved      []Record
	slow       time.Duration
}

func run(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, agents: make(map[netip.AddrPort]func(*sip.Message) int), registered: make(map[account.Number]transport.Flow),
			broken: make(map[transport.Flow]bool)}
		b.begin()
		defer func() { b.end() }()
		test(b)
		if !t.Failed() {
			b.nothingIsLeft()
		}
	})
}

// begin is a start of the service.
func (b *bench) begin() {
	b.start = time.Now()
	b.calls = New(Config{
		Recorder: b,
		Flow: func(n account.Number, now transport.Flow) (transport.Flow, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			f, ok := b.registered[n]
			return f, ok
		},
		Announced: func(f transport.Flow) string { return f.Local.String() },
		Logger:    slog.New(slog.DiscardHandler),
	})
	b.layer = transaction.New(transaction.Config{
		Logger: slog.New(slog.NewTextHandler(b.Output(), nil)),
		Sender: func() transaction.Sender { return b },
		User: func(s *transaction.Shard) transaction.User {
			b.shard, b.table = s, b.calls.NewTable(s)
			return nobody{}
		},
	})
	if err := b.calls.Load(b.Context(), func([]byte) *Table { return b.table }); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.layer.Run(ctx)
	}()
	b.end = func() {
		cancel()
		<-ended
	}
	synctest.Wait()
}

// restart stops without a word, as a kill does, and starts again.
func (b *bench) restart() {
	b.end()
	b.take()
	b.begin()
}

// nothingIsLeft of calls that have ended, when the timers have run.
func (b *bench) nothingIsLeft() {
	b.Helper()
	b.sleep(35 * time.Second)
	b.do(func() {
		_, clients, timers := b.shard.Open()
		up := len(b.calls.byID)
		if b.table.Len() != up || len(b.table.byID) > up || up == 0 && len(b.calls.number)+timers+clients > 0 {
			b.Errorf("%d calls are up, %d in the table, %d numbers, %d transactions, %d timers", up, b.table.Len(), len(b.calls.number), clients, timers)
		}
	})
}

// Send is the transport: the agent at that place answers what its function says.
func (b *bench) Send(f transport.Flow, text []byte) {
	p := &transport.Packet{Flow: f}
	m := new(sip.Message)
	if err := m.Parse([]byte(string(text))); err != nil {
		b.Errorf("the service sent what cannot be read: %v\n%s", err, text)
		return
	}
	b.mu.Lock()
	b.sent = append(b.sent, fmt.Sprintf("%s to %s", m.Header(sip.HeaderCSeq), f.Remote))
	b.whole = append(b.whole, string(text))
	answer := b.agents[f.Remote]
	b.mu.Unlock()
	if answer == nil || m.Method == sip.ACK {
		return
	}
	if status := answer(m); status != 0 {
		p.Msg.Parse(sip.AppendBody(sip.AppendResponse(nil, m, status, "", ""), "", nil))
		b.layer.Receive([]*transport.Packet{p})
	}
}

func (b *bench) Flush() {}

func (b *bench) Connected(f transport.Flow) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.broken[f]
}

// always answers one status, 0: nothing.
func always(status int) func(*sip.Message) int { return func(*sip.Message) int { return status } }

// at says how the agent at a place answers.
func (b *bench) at(place string, answer func(*sip.Message) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agents[netip.MustParseAddrPort(place)] = answer
}

// take is what was sent since, in short.
func (b *bench) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := strings.Join(b.sent, "\n")
	b.sent, b.whole = nil, nil
	return text
}

func (b *bench) Save(r Record, done func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.saved = append(b.saved, r)
	time.AfterFunc(b.slow, func() { done(nil) })
}

func (b *bench) OpenCalls(context.Context) (open []Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := make(map[string]Record)
	for _, r := range b.saved {
		last[r.ID] = r
	}
	for _, r := range last {
		if r.Open() {
			open = append(open, r)
		}
	}
	return open, nil
}

// ended is how the last record says that its call ended.
func (b *bench) ended() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.saved[len(b.saved)-1]
	if r.Open() {
		return "up"
	}
	if r.Dialog != nil {
		b.Error("a call that has ended keeps its dialog")
	}
	return fmt.Sprintf("%s by %s after %s", r.Cause, r.EndedBy, r.Ended.Sub(r.Answered).Round(time.Minute))
}

func (b *bench) want(what, got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func (b *bench) sleep(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

// do runs fn in the shard.
func (b *bench) do(fn func()) {
	done := make(chan struct{})
	b.shard.Post(func() {
		defer close(done)
		fn()
	})
	<-done
	synctest.Wait()
}

func udp(remote string) transport.Flow {
	return transport.Flow{Proto: transport.UDP, Local: netip.MustParseAddrPort("192.0.2.1:5060"), Remote: netip.MustParseAddrPort(remote)}
}

// register says where an account is registered.
func (b *bench) register(n account.Number, f transport.Flow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.registered[n] = f
}

func (b *bench) unregister(n account.Number) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.registered, n)
}

func packet(t *testing.T, f transport.Flow, lines ...string) *transport.Packet {
	t.Helper()
	p := &transport.Packet{Flow: f}
	text := strings.Join(append(lines, "Content-Length: 0", "", ""), "\r\n")
	if err := p.Msg.Parse([]byte(text)); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p.Msg.Source = f.Remote
	return p
}

// The usual two: the caller is at one, the callee at two. Both sides have a proxy of their site in the path.
const one, two = "198.51.100.1:5060", "203.0.113.2:5060"

func ours(uri []byte) bool { return string(uri) == "sip:192.0.2.1:5060;lr" }

// up makes a call of two agents that are registered where they are, answered but without an ACK yet.
func (b *bench) up(caller, callee account.Number, from, to transport.Flow) *Call {
	b.Helper()
	b.serial++
	head := []string{"Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: \"Studio\" <sip:" + string(caller) + "@example.org>;tag=a",
		"To: <sip:" + string(callee) + "@example.org>", fmt.Sprintf("Call-ID: %d", b.serial)}
	invite := packet(b.T, from, append([]string{"INVITE sip:" + string(callee) + "@example.org SIP/2.0"}, append(head,
		"CSeq: 7 INVITE", "Contact: <sip:caller@10.0.0.1>", "Record-Route: <sip:near.caller;lr>", "Record-Route: <sip:inside.caller;lr>")...)...)
	head[2] += ";tag=b"
	ok := packet(b.T, to, append([]string{"SIP/2.0 200 OK"}, append(head,
		"CSeq: 7 INVITE", "Contact: <sip:callee@10.0.0.2>", "Record-Route: <sip:inside.callee;lr>", "Record-Route: <sip:near.callee;lr>",
		"Record-Route: <sip:192.0.2.1:5060;lr>", "Record-Route: <sip:near.caller;lr>", "Record-Route: <sip:inside.caller;lr>")...)...)
	var c *Call
	b.do(func() {
		c = b.table.Begin(invite, &account.Account{Number: caller}, []byte(callee), &account.Account{Number: callee})
		c.Answered(&ok.Msg, callee, to, nil, ours, func() {})
	})
	b.sleep(time.Millisecond)
	return c
}

// inside lets a side send a request in a call.
func (b *bench) inside(c *Call, side Side, method string, cseq int, lines ...string) Dialog {
	b.Helper()
	from, to := &c.Caller, c.up
	if side == CalleeSide {
		from, to = to, from
	}
	p := packet(b.T, from.Flow, append([]string{method + " sip:x SIP/2.0", "Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: " + from.Party,
		"To: " + to.Party, "Call-ID: " + c.Record.CallID, fmt.Sprintf("CSeq: %d %s", cseq, method)}, lines...)...)
	var d Dialog
	b.do(func() {
		ok := false
		if d, ok = b.table.Find(&p.Msg); !ok || d.Call != c || d.Side != side {
			b.Fatalf("the dialog is not found: %v", ok)
		}
		d.Seen(p)
	})
	return d
}

// call is one between two agents that live.
func (b *bench) call() *Call {
	b.Helper()
	b.register("45675001", udp(one))
	b.register("45675002", udp(two))
	b.at(one, always(200))
	b.at(two, always(200))
	c := b.up("45675001", "45675002", udp(one), udp(two))
	b.inside(c, CallerSide, "ACK", 7)
	return c
}

type nobody struct{}

func (nobody) Request(*transaction.Server)   {}
func (nobody) Ack(*transport.Packet)         {}
func (nobody) Cancelled(*transaction.Server) {}
func (nobody) Response(*transport.Packet)    {}
func (nobody) Closed(transport.Flow)         {}
