package registrar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"liaison/internal/account"
	"liaison/internal/sip/transport"
)

// memory is a Store that keeps its rows in memory, as slow and as broken as a test wants it.
type memory struct {
	mu     sync.Mutex
	rows   map[int64]Binding
	groups [][]Change
	err    error
	delay  time.Duration
}

var errDisk = errors.New("disk full")

func (m *memory) SaveBindings(ctx context.Context, changes []Change) error {
	m.mu.Lock()
	delay, err := m.delay, m.err
	m.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups = append(m.groups, append([]Change(nil), changes...))
	for _, c := range changes {
		row, there := m.rows[c.Binding.ID]
		switch c.Kind {
		case Added:
			m.rows[c.Binding.ID] = c.Binding
			continue
		case Removed:
			delete(m.rows, c.Binding.ID)
			continue
		case Refreshed:
			row.Expires, row.CSeq = c.Binding.Expires, c.Binding.CSeq
		case Reached:
			row.Reach, row.Seen = c.Binding.Reach, c.Binding.Seen
		}
		if there {
			m.rows[c.Binding.ID] = row
		}
	}
	return nil
}

func (m *memory) Bindings(_ context.Context, each func(*Binding) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.rows {
		if err := each(&b); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) set(err error, delay time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.delay = err, delay
}

func (m *memory) stored() []Binding {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Binding
	for _, b := range m.rows {
		all = append(all, b)
	}
	return all
}

// wire is a Sender that keeps what was sent.
type wire struct {
	mu   sync.Mutex
	sent []datagram
}

type datagram struct {
	flow transport.Flow
	text string
	at   time.Time
}

func (w *wire) Send(f transport.Flow, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, datagram{f, string(b), time.Now()})
}

func (w *wire) Flush() {}

func (w *wire) take() []datagram {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// bench is a Registrar under test with everything around it.
type bench struct {
	*testing.T
	r     *Registrar
	store *memory
	wire  *wire
	log   *lockedBuffer
	fresh []string
	stop  func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var ourself = netip.MustParseAddrPort("192.0.2.1:5060")

// onBench runs a test in a time of its own, which starts on 1 January 2000.
func onBench(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, store: &memory{rows: make(map[int64]Binding)}}
		b.start()
		defer func() { b.stop() }()
		test(b)
	})
}

// start makes a Registrar over the store, as after a start of the service.
func (b *bench) start() {
	b.Helper()
	b.wire, b.log = &wire{}, &lockedBuffer{}
	b.r = New(Config{
		Store:    b.store,
		Sender:   b.wire,
		Announce: func(transport.Flow) netip.AddrPort { return ourself },
		Ours: func(host []byte, port uint16) bool {
			return (string(host) == "192.0.2.1" || string(host) == "sip.example.org") && (port == 0 || port == 5060)
		},
		Registered: func(n account.Number, fresh bool) { b.fresh = append(b.fresh, fmt.Sprintf("%s fresh=%t", n, fresh)) },
		Logger:     slog.New(slog.NewTextHandler(b.log, nil)),
	})
	if err := b.r.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.r.Run(ctx)
	}()
	b.stop = func() {
		cancel()
		<-ended
	}
}

func (b *bench) restart() {
	b.Helper()
	b.stop()
	b.start()
}

// sleep lets time go by and everything due by then happen.
func (b *bench) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// flowFrom reads "udp 198.51.100.7:5060" or "tcp 198.51.100.7:40000 #3".
func flowFrom(from string) transport.Flow {
	f := transport.Flow{Local: ourself}
	var proto, remote, conn string
	fmt.Sscan(from, &proto, &remote, &conn)
	f.Proto, _ = transport.ParseProto(proto)
	f.Remote = netip.MustParseAddrPort(remote)
	fmt.Sscanf(conn, "#%d", &f.Conn)
	return f
}

// message fills up a REGISTER: lines given here stand in place of the usual ones.
func message(number string, lines ...string) string {
	usual := []string{
		"Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1;rport",
		"From: <sip:" + number + "@sip.example.org>;tag=a",
		"To: <sip:" + number + "@sip.example.org>",
		"Call-ID: one@198.51.100.7",
		"CSeq: 1 REGISTER",
		"Max-Forwards: 70",
		"User-Agent: Codec/1",
	}
	for i, line := range usual {
		for k, l := range lines {
			name, _, _ := strings.Cut(line, ":")
			if strings.HasPrefix(l, name+":") {
				usual[i], lines = l, append(append([]string(nil), lines[:k]...), lines[k+1:]...)
				break
			}
		}
	}
	all := append(append([]string{"REGISTER sip:sip.example.org SIP/2.0"}, usual...), lines...)
	return strings.Join(all, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

// send registers and gives the answer to come.
func (b *bench) send(from, number string, lines ...string) *answer {
	b.Helper()
	return b.raw(from, number, message(number, lines...))
}

func (b *bench) raw(from, number, text string) *answer {
	b.Helper()
	p := &transport.Packet{Flow: flowFrom(from)}
	buffer := []byte(text)
	if err := p.Msg.Parse(buffer); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	p.Msg.Source = p.Flow.Remote
	a := new(answer)
	b.r.Register(p, &account.Account{Number: account.Number(number)}, nil, func(status int, response []byte) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.status, a.text = status, string(response)
	})
	clear(buffer) // nothing of the packet may be used any more
	return a
}

type answer struct {
	mu     sync.Mutex
	status int
	text   string
}

func (a *answer) get() (int, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status, a.text
}

// register is send and the answer's status with its lines of these headers.
func (b *bench) register(from, number string, lines ...string) string {
	b.Helper()
	a := b.send(from, number, lines...)
	b.sleep(3 * pace)
	return short(a)
}

// short is the status and what of the answer is the registrar's own.
func short(a *answer) string {
	status, text := a.get()
	if status == 0 {
		return "none yet"
	}
	out := []string{fmt.Sprint(status)}
	lines := strings.Split(text, "\r\n")
	if want := fmt.Sprintf("SIP/2.0 %d ", status); !strings.HasPrefix(text, want) {
		out = append(out, "BUT "+lines[0])
	}
	for _, l := range lines[1:] {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "Via", "From", "To", "Call-ID", "CSeq", "Date", "Content-Length", "":
		default:
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func (b *bench) want(got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func (b *bench) lookup(number string) string {
	var out []string
	for _, x := range b.r.Lookup(account.Number(number), nil) {
		out = append(out, fmt.Sprintf("%s via %s %s %s %s", x.Contact, x.Flow.Proto.Param(), x.Flow.Remote, x.Reach,
			time.Until(x.Expires).Round(time.Second)))
	}
	return strings.Join(out, "\n")
}
