package proxy

import (
	"bytes"
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
	"liaison/internal/call"
	"liaison/internal/digest"
	"liaison/internal/registrar"
	"liaison/internal/relay"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// bench is the service from the transactions up, in one shard and a time of its own, with agents around it. What it
// sends lies in their inboxes until a test takes it.
type bench struct {
	keepAlive keepAlive
	*testing.T
	directory *account.Directory
	registrar *registrar.Registrar
	recorder  *recorder
	calls     *call.Calls
	proxy     *Proxy
	layer     *transaction.Layer
	shard     *transaction.Shard
	table     *call.Table
	agents    []*agent
	relay     *relay.Relay            // nil: media goes directly
	relayed   *relay.Pool             // what start makes it of
	broken    map[transport.Flow]bool // connections that have ended
	lost      []*msg                  // sent to nobody
	branch    int
	end       func()
}

const ourselves = "192.0.2.1:5060"

// run gives a test its bench. At the end nothing of what has finished may be left.
func run(t *testing.T, test func(b *bench)) {
	t.Helper()
	runWith(t, nil, test)
}

// runWith is run with a relay of that pool.
func runWith(t *testing.T, pool *relay.Pool, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, relayed: pool, directory: account.NewDirectory(), recorder: &recorder{}, broken: make(map[transport.Flow]bool)}
		for _, n := range []account.Number{"45675001", "45675002", "45675003", "45675004", "99990001"} {
			b.account(n, nil)
		}
		b.directory.Set(account.Account{Number: "15000", Kind: account.Test})
		b.directory.SetPrefixes(map[int64]string{1: "4567", 2: "9999"})
		b.start()
		defer func() { b.end() }()
		test(b)
		if !t.Failed() {
			b.nothingIsLeft()
		}
	})
}

func (b *bench) account(n account.Number, change func(*account.Account)) {
	a := account.Account{Number: n, Subscriber: 1, Hashes: digest.Hash(string(n), "liaison", "secret "+string(n))}
	if n[0] == '9' {
		a.Subscriber = 2
	}
	if change != nil {
		change(&a)
	}
	b.directory.Set(a)
}

// start builds the service, as after a start of the process: bindings and calls are what the stores remember.
func (b *bench) start() {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	announced := func(f transport.Flow) netip.AddrPort { return f.Local }
	names := NewNames([]string{"sip.example.org", "Radio.Example"},
		[]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}, []uint16{5060, 5070})
	b.registrar = registrar.New(registrar.Config{
		Store: noBindings{}, Sender: &b.keepAlive, Announce: announced, Ours: names.Host, Logger: log, Max: 24 * time.Hour,
		Registered: func(n account.Number, fresh bool) {
			if fresh {
				b.calls.Fresh(n)
			}
		},
	})
	flow := func(n account.Number, now transport.Flow) (transport.Flow, bool) {
		if b.registrar.Current(n, now) && b.Connected(now) {
			return now, true
		}
		for _, x := range b.registrar.Lookup(n, nil) {
			if b.Connected(x.Flow) {
				return x.Flow, true
			}
		}
		return transport.Flow{}, false
	}
	if b.relayed != nil {
		var err error
		if b.relay, err = relay.New(relay.Config{Pools: []relay.Pool{*b.relayed}, Workers: 1}); err != nil {
			b.Fatal(err)
		}
	}
	var relayed []netip.Addr
	if b.relayed != nil {
		for _, a := range b.relayed.Addresses {
			relayed = append(relayed, a.Announce)
		}
	}
	b.calls = call.New(call.Config{Recorder: b.recorder, Flow: flow, Logger: log, Relay: b.relay, RelayAddresses: relayed,
		Announced: func(f transport.Flow) string { return announced(f).String() }})
	b.proxy = New(Config{
		Names: names, Realm: "liaison", Directory: b.directory, Registrar: b.registrar, Calls: b.calls, Announced: announced,
		Authenticator: account.NewAuthenticator("liaison", []digest.Algorithm{digest.MD5}, digest.NewNonces(time.Now(), 24*time.Hour), b.directory),
		Local: func(n account.Number, caller transport.Flow) (transport.Flow, bool) {
			return transport.Flow{Proto: transport.Link, Local: caller.Local, Remote: caller.Local}, n == "15000"
		},
		Logger: log,
	})
	b.layer = transaction.New(transaction.Config{
		Logger: slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		Sender: func() transaction.Sender { return b },
		User: func(s *transaction.Shard) transaction.User {
			b.shard, b.table = s, b.calls.NewTable(s)
			return b.proxy.User(s, b.table)
		},
	})
	if err := b.calls.Load(b.Context(), func([]byte) *call.Table { return b.table }); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { b.registrar.Run(ctx) })
	parts.Go(func() { b.layer.Run(ctx) })
	b.end = func() {
		cancel()
		parts.Wait()
		if b.relay != nil {
			b.relay.Run(ctx) // it has never run, and ends at once: sockets do not go with a time of one's own
		}
	}
	synctest.Wait()
}

func (b *bench) restart() {
	b.Helper()
	b.end()
	for _, a := range b.agents {
		a.challenge = nil
	}
	b.start()
}

func (b *bench) sleep(d time.Duration) {
	b.shard.Post(func() {}) // what the test has done so far comes before what the shard does meanwhile
	time.Sleep(d)           // of the bubble
	synctest.Wait()
}

// nothingIsLeft: finished calls and transactions cost no memory when their timers have run.
func (b *bench) nothingIsLeft() {
	b.Helper()
	b.sleep(70 * time.Second)
	done := make(chan struct{})
	b.shard.Post(func() {
		defer close(done)
		servers, clients, timers := b.shard.Open()
		if up := b.calls.Up(); servers != 0 || clients != 0 || timers != up || b.table.Len() != up {
			b.Errorf("%d calls are up, and there are %d of them in the table, %d server and %d client transactions, %d timers",
				up, b.table.Len(), servers, clients, timers)
		}
		if b.calls.Up() == 0 {
			for _, a := range b.agents {
				if n := b.calls.With(account.Number(a.number)); n != 0 {
					b.Errorf("%s has %d calls", a.number, n)
				}
			}
		}
		if n := b.proxy.Pending(); n != 0 {
			b.Errorf("%d INVITEs are counted as pending", n)
		}
		if n := b.layer.Panics.Load(); n != 0 {
			b.Errorf("%d panics", n)
		}
	})
	<-done
}

// Send is the transport.
func (b *bench) Send(f transport.Flow, bytes []byte) {
	m := &msg{text: string(bytes), flow: f}
	if err := m.Parse([]byte(m.text)); err != nil {
		b.Errorf("the service sent what cannot be read: %v\n%s", err, m.text)
	}
	for _, a := range b.agents {
		if a.flow.Remote != f.Remote || a.flow.Proto != f.Proto || a.flow.Conn != f.Conn {
			continue
		}
		if a.shares && (m.IsRequest() && string(m.URI) != a.contact ||
			!m.IsRequest() && !strings.HasPrefix(string(m.Via.Branch), sip.Cookie+a.tag+"-")) {
			continue
		}
		if m.Method == sip.OPTIONS && m.IsRequest() && len(m.lines("Via")) == 1 && !a.asked {
			a.probed++ // the service asks whether a call lives
			p := &transport.Packet{Flow: a.flow}
			p.Msg.Parse([]byte(a.response(m, 200)))
			b.layer.Receive([]*transport.Packet{p})
			return
		}
		a.inbox = append(a.inbox, m)
		return
	}
	b.lost = append(b.lost, m)
}

func (b *bench) Flush()                          {}
func (b *bench) Connected(f transport.Flow) bool { return !b.broken[f] }

// disconnect ends an agent's connection.
func (b *bench) disconnect(a *agent) {
	b.broken[a.flow] = true
	b.layer.Closed(a.flow, nil)
	synctest.Wait()
}

type noBindings struct{}

func (noBindings) SaveBindings(context.Context, []registrar.Change) error         { return nil }
func (noBindings) Bindings(context.Context, func(*registrar.Binding) error) error { return nil }

// keepAlive takes the registrar's pings, which nobody answers unless the test does.
type keepAlive struct {
	mu   sync.Mutex
	last []byte
}

func (k *keepAlive) Send(_ transport.Flow, ping []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = bytes.Clone(ping)
}

func (k *keepAlive) Flush() {}

// pong answers the last ping.
func (a *agent) pong() {
	a.Helper()
	a.keepAlive.mu.Lock()
	m := new(sip.Message)
	err := m.Parse(a.keepAlive.last)
	a.keepAlive.mu.Unlock()
	if err != nil {
		a.Fatalf("there was no ping: %v", err)
	}
	a.send(string(sip.AppendBody(sip.AppendResponse(nil, m, 200, "", a.tag), "", nil)))
}

// recorder keeps records in memory, as slowly and as badly as a test wants it.
type recorder struct {
	mu    sync.Mutex
	saved []call.Record
	given *call.Record // the newest, saved or not
	delay time.Duration
	err   error
}

func (r *recorder) Save(x call.Record, done func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given = &x
	err := r.err
	time.AfterFunc(r.delay, func() {
		r.mu.Lock()
		if err == nil {
			r.saved = append(r.saved, x)
		}
		r.mu.Unlock()
		done(err)
	})
}

func (r *recorder) OpenCalls(context.Context) (open []call.Record, err error) {
	for _, x := range r.latest() {
		if x.Open() {
			open = append(open, x)
		}
	}
	return open, nil
}

func (r *recorder) set(delay time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay, r.err = delay, err
}

// latest are the records as they stand, in the order of their calls.
func (r *recorder) latest() []call.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []call.Record
	at := make(map[string]int)
	for _, x := range r.saved {
		if _, known := at[x.ID]; !known {
			at[x.ID] = len(all)
			all = append(all, x)
		}
		all[at[x.ID]] = x
	}
	return all
}

// record is the newest record.
func (b *bench) record() call.Record {
	b.Helper()
	all := b.recorder.latest()
	if len(all) == 0 {
		b.Fatal("no record")
	}
	return all[len(all)-1]
}

// ended is how the newest record says that its call ended.
func (b *bench) ended() string {
	b.Helper()
	r := b.record()
	if r.Open() {
		return "still up"
	}
	return fmt.Sprintf("%d %s by %s", r.Status, r.Cause, r.EndedBy)
}

func (b *bench) want(what, got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// msg is a message that the service sent.
type msg struct {
	sip.Message
	text string
	flow transport.Flow
}

func (m *msg) start() string {
	line, _, _ := strings.Cut(m.text, "\r\n")
	return line
}

// lines are the values of all lines of a header.
func (m *msg) lines(name string) []string {
	var all []string
	for i := range m.Len() {
		if h := m.At(i); strings.EqualFold(string(h.Name), name) || h.ID.String() == name {
			all = append(all, string(h.Value))
		}
	}
	return all
}

func (m *msg) line(name string) string { return strings.Join(m.lines(name), " | ") }

// agent is a user agent that does what a test tells it.
type agent struct {
	*bench
	number    string
	tag       string // of its own; with a '-' behind it begins its branches
	flow      transport.Flow
	contact   string
	inbox     []*msg
	challenge *digest.Challenge // to answer without being asked
	nc        uint32
	serial    int
	probed    int  // how often it was asked whether its call lives, and said yes
	asked     bool // no: the test answers
	shares    bool // one place with another agent: by the Contact it is known which is meant
}

// path reads "udp 198.51.100.1:5060", "tcp 198.51.100.1:40000 #3", or with our end "udp 198.51.100.1:5060 @192.0.2.1:5070".
func path(text string) transport.Flow {
	f := transport.Flow{Local: netip.MustParseAddrPort(ourselves)}
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0 && word == "link":
			f.Proto = transport.Link
		case i == 0:
			f.Proto, _ = transport.ParseProto(word)
		case word[0] == '#':
			fmt.Sscanf(word, "#%d", &f.Conn)
		case word[0] == '@':
			f.Local = netip.MustParseAddrPort(word[1:])
		default:
			f.Remote = netip.MustParseAddrPort(word)
		}
	}
	return f
}

// agent puts a new one somewhere.
func (b *bench) agent(number, at string) *agent {
	f := path(at)
	a := &agent{bench: b, number: number, tag: fmt.Sprintf("agent%d", len(b.agents)), flow: f, contact: fmt.Sprintf("sip:%s@%s", number, f.Remote)}
	b.agents = append(b.agents, a)
	return a
}

// registered puts one somewhere that is registered.
func (b *bench) registered(number, at string, contactParams ...string) *agent {
	b.Helper()
	a := b.agent(number, at)
	a.register(contactParams...)
	return a
}

func (a *agent) register(contactParams ...string) {
	a.Helper()
	params := strings.Join(contactParams, "")
	lines := []string{"To: <sip:" + a.number + "@sip.example.org>", "Contact: <" + a.contact + ">" + params, "Expires: 80000"}
	if strings.Contains(params, "reg-id") {
		lines = append(lines, "Supported: path, outbound")
	}
	a.registers(lines...)
}

// pair is two agents of one number at one place, each with a Contact.
func (b *bench) pair(number, at, params1, params2 string) (*agent, *agent) {
	b.Helper()
	c, d := b.agent(number, at), b.agent(number, at)
	c.contact, d.contact = "sip:one@"+c.flow.Remote.String(), "sip:two@"+d.flow.Remote.String()
	c.registers("To: <sip:"+number+"@sip.example.org>", "Expires: 80000",
		"Contact: <"+c.contact+">"+params1+", <"+d.contact+">"+params2)
	c.shares, d.shares = true, true
	return c, d
}

func (a *agent) registers(lines ...string) {
	a.Helper()
	if !strings.Contains(strings.Join(lines, "\n"), "Call-ID:") {
		lines = append(lines, "Call-ID: reg-"+a.number)
	}
	lines = append(lines, "CSeq: "+fmt.Sprint(time.Now().Unix()%100000*100+int64(a.branch%100))+" REGISTER")
	a.send(a.request("REGISTER", "sip:sip.example.org", lines...))
	c := a.gets("401")
	answer := a.answers(c.line("WWW-Authenticate"), "REGISTER", "sip:sip.example.org")
	a.send(a.request("REGISTER", "sip:sip.example.org", append(lines, "Authorization: "+answer)...))
	a.sleep(10 * time.Millisecond)
	asked := a.inbox[:max(len(a.inbox)-1, 0)] // whether its calls live, before the answer
	a.inbox = a.inbox[len(asked):]
	a.gets("200")
	a.inbox = asked
}

func (a *agent) answers(challenge, method, uri string) string {
	a.Helper()
	c, err := digest.ParseChallenge([]byte(challenge))
	if err != nil {
		a.Fatal(err)
	}
	return c.Answer(a.number, "secret "+a.number, method, uri, "cnonce", 1)
}

// credentials are good ones: with a challenge that was got before, so that no 407 is in a test's way.
func (a *agent) credentials(method, uri string) string {
	a.Helper()
	if a.challenge == nil {
		a.send(a.request("OPTIONS", "sip:15000@sip.example.org"))
		c, err := digest.ParseChallenge([]byte(a.gets("407").line("Proxy-Authenticate")))
		if err != nil {
			a.Fatal(err)
		}
		a.challenge, a.nc = &c, 0
	}
	a.nc++
	return "Proxy-Authorization: " + a.challenge.Answer(a.number, "secret "+a.number, method, uri, "cnonce", a.nc)
}

// request writes one of the agent's. A line given here stands in the place of the usual one of that header, "Name:" alone
// leaves it out; a line that begins with v=0 is the body.
func (a *agent) request(method, uri string, lines ...string) string {
	a.branch++
	usual := []string{
		fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bK%s-%d;rport", a.flow.Proto, a.flow.Remote, a.tag, a.branch),
		"Max-Forwards: 70",
		"From: <sip:" + a.number + "@sip.example.org>;tag=from" + a.number,
		"To: <" + uri + ">",
		fmt.Sprintf("Call-ID: call-%d", a.branch),
		"CSeq: 1 " + method,
	}
	return compose(method+" "+uri+" SIP/2.0", usual, lines)
}

func compose(start string, usual, lines []string) string {
	head, body := []string{start}, ""
	used := make([]bool, len(lines))
	for _, line := range usual {
		name, _, _ := strings.Cut(line, ":")
		for i, l := range lines {
			if strings.HasPrefix(l, name+":") {
				if line = ""; l != name+":" {
					head = append(head, l)
				}
				used[i] = true
			}
		}
		if line != "" {
			head = append(head, line)
		}
	}
	length := true
	for i, l := range lines {
		switch {
		case used[i]:
		case strings.HasPrefix(l, "v=0"):
			body = l
			head = append(head, "Content-Type: application/sdp")
		case l == "Content-Length:":
			length = false
		default:
			head = append(head, l)
		}
	}
	if length {
		head = append(head, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(head, "\r\n") + "\r\n\r\n" + body
}

// send hands a message to the service as it comes from the agent.
func (a *agent) send(text string) { a.Helper(); a.sendFrom(a.flow, text) }

func (b *bench) sendFrom(f transport.Flow, text string) {
	b.Helper()
	p := &transport.Packet{Flow: f}
	buffer := []byte(text)
	if err := p.Msg.Parse(buffer); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	p.Msg.Source = f.Remote
	b.layer.Receive([]*transport.Packet{p})
	synctest.Wait()
}

// gets takes the one message that must be there: a request of a method, or a response of a status.
func (a *agent) gets(start string) *msg {
	a.Helper()
	if len(a.inbox) == 0 {
		a.Fatalf("%s at %s gets nothing, want %s", a.number, a.flow.Remote, start)
	}
	m := a.inbox[0]
	a.inbox = a.inbox[1:]
	if !strings.HasPrefix(m.start(), start+" ") && !strings.HasPrefix(m.start(), "SIP/2.0 "+start+" ") {
		a.Fatalf("%s at %s gets\n%s\nwant %s", a.number, a.flow.Remote, m.text, start)
	}
	return m
}

// getsNothing more.
func (a *agent) getsNothing() {
	a.Helper()
	for _, m := range a.inbox {
		a.Errorf("%s at %s gets %s", a.number, a.flow.Remote, m.start())
	}
	a.inbox = nil
}

// starts empties the inbox and tells the first lines, in short.
func (a *agent) starts() string {
	var all []string
	for _, m := range a.inbox {
		line := strings.TrimPrefix(m.start(), "SIP/2.0 ")
		word, _, _ := strings.Cut(line, " ")
		all = append(all, word)
	}
	a.inbox = nil
	return strings.Join(all, " ")
}

// response answers a request that the agent got, with a To tag of its own.
func (a *agent) response(req *msg, status int, lines ...string) string {
	usual := make([]string, 0, 16)
	for _, v := range req.lines("Via") {
		usual = append(usual, "Via: "+v)
	}
	for _, v := range req.lines("Record-Route") {
		usual = append(usual, "Record-Route: "+v)
	}
	to := req.line("To")
	if req.To.Tag() == nil && status > 100 {
		to += ";tag=" + a.tag
	}
	usual = append(usual, "From: "+req.line("From"), "To: "+to, "Call-ID: "+req.line("Call-ID"), "CSeq: "+req.line("CSeq"))
	if status > 100 && status < 300 {
		usual = append(usual, "Contact: <"+a.contact+">")
	}
	// The Via and Record-Route lines stand for all that was given of them.
	return compose(fmt.Sprintf("SIP/2.0 %d %s", status, sip.ReasonPhrase(status)), usual, lines)
}

func (a *agent) respond(req *msg, status int, lines ...string) {
	a.Helper()
	a.send(a.response(req, status, lines...))
}

const (
	offer  = "v=0\r\nc=IN IP4 198.51.100.1\r\nm=audio 4000 RTP/AVP 9 8\r\n"
	answer = "v=0\r\nc=IN IP4 203.0.113.2\r\nm=audio 5000 RTP/AVP 8\r\n"
)

// invites calls a number, and what it sent.
func (a *agent) invites(number string, lines ...string) *invitation {
	a.Helper()
	uri := "sip:" + number + "@sip.example.org"
	return a.invitesAt(uri, lines...)
}

func (a *agent) invitesAt(uri string, lines ...string) *invitation {
	a.Helper()
	a.serial++
	usual := []string{a.credentials("INVITE", uri), "Contact: <" + a.contact + ">", "User-Agent: Caller/1",
		fmt.Sprintf("Call-ID: %s-%d", a.number, a.serial)}
	for _, l := range lines {
		if strings.HasPrefix(l, "Call-ID:") {
			usual = usual[:3]
		}
	}
	i := &invitation{a, a.request("INVITE", uri, append(usual, lines...)...)}
	a.send(i.text)
	if len(a.inbox) > 0 && a.inbox[0].Status == 100 {
		a.gets("100")
	}
	return i
}

// invitation is an INVITE of an agent.
type invitation struct {
	*agent
	text string
}

// derived makes the CANCEL or the ACK to a refusal.
func (i *invitation) derived(method, to string) string {
	var m msg
	m.Parse([]byte(i.text))
	if to == "" {
		to = m.line("To")
	}
	return strings.Join([]string{method + " " + string(m.URI) + " SIP/2.0", "Via: " + m.line("Via"), "Max-Forwards: 70",
		"From: " + m.line("From"), "To: " + to, "Call-ID: " + m.line("Call-ID"), fmt.Sprintf("CSeq: %d %s", m.CSeq, method),
		"Content-Length: 0\r\n\r\n"}, "\r\n")
}

func (i *invitation) cancels() {
	i.Helper()
	i.send(i.derived("CANCEL", ""))
	i.gets("200")
}

// isRefused takes the refusal and sends its ACK.
func (i *invitation) isRefused(status string) *msg {
	i.Helper()
	m := i.gets(status)
	i.send(i.derived("ACK", m.line("To")))
	return m
}

// dialog is one from both ends.
type dialog struct {
	*bench
	ends   [2]*agent // caller, callee
	callID string
	party  [2]string   // From or To of each
	target [2]string   // Contact of each
	routes [2][]string // route set of each
	cseq   [2]int
}

const (
	caller = 0
	callee = 1
)

// dialog is what an INVITE as the callee got it and a response as the caller got it make.
func (b *bench) dialog(a, c *agent, invite, response *msg) *dialog {
	d := &dialog{bench: b, ends: [2]*agent{a, c}, callID: string(invite.CallID), cseq: [2]int{int(invite.CSeq), 0},
		party: [2]string{invite.line("From"), response.line("To")}}
	for v := range invite.Values(sip.HeaderRecordRoute) {
		d.routes[callee] = append(d.routes[callee], string(v))
	}
	for v := range response.Values(sip.HeaderRecordRoute) {
		d.routes[caller] = append([]string{string(v)}, d.routes[caller]...)
	}
	for i, m := range []*msg{invite, response} {
		for v := range m.Values(sip.HeaderContact) {
			at, _ := sip.ParseAddress(v)
			d.target[i] = string(at.URI)
		}
	}
	return d
}

// request writes one of a side in the dialog, with the next CSeq.
func (d *dialog) request(side int, method string, lines ...string) string {
	if method != "ACK" {
		d.cseq[side]++
	}
	usual := []string{"From: " + d.party[side], "To: " + d.party[1-side], "Call-ID: " + d.callID, fmt.Sprintf("CSeq: %d %s", d.cseq[side], method)}
	for _, u := range usual {
		name, _, _ := strings.Cut(u, ":")
		given := false
		for _, l := range lines {
			given = given || strings.HasPrefix(l, name+":")
		}
		if !given {
			lines = append(lines, u)
		}
	}
	routed := false
	for _, l := range lines {
		routed = routed || strings.HasPrefix(l, "Route:")
	}
	if !routed {
		for _, r := range d.routes[side] {
			lines = append(lines, "Route: "+r)
		}
	}
	return d.ends[side].request(method, d.target[1-side], lines...)
}

// does sends a request in the dialog and gives it as the other side gets it.
func (d *dialog) does(side int, method string, lines ...string) *msg {
	d.Helper()
	from, to := d.ends[side], d.ends[1-side]
	from.send(d.request(side, method, lines...))
	if method == "INVITE" {
		from.gets("100")
	}
	return to.gets(method)
}

// exchanges is a request in the dialog and its 200.
func (d *dialog) exchanges(side int, method string, lines ...string) {
	d.Helper()
	m := d.does(side, method, lines...)
	d.ends[1-side].respond(m, 200)
	d.settle()
	d.ends[side].gets("200")
}

// settle gives the recorder its moment.
func (b *bench) settle() { b.sleep(time.Millisecond) }

// call is one that is answered.
func (b *bench) call(a, c *agent) *dialog {
	b.Helper()
	a.invites(c.number, offer)
	return b.answer(a, c)
}

// answer lets a call that came in be answered, up to the ACK.
func (b *bench) answer(a, c *agent) *dialog {
	b.Helper()
	invite := c.gets("INVITE")
	c.respond(invite, 180)
	a.gets("180")
	c.respond(invite, 200, "User-Agent: Callee/1", answer)
	b.settle()
	d := b.dialog(a, c, invite, a.gets("200"))
	d.does(caller, "ACK")
	return d
}

// hangUp ends it from one side.
func (d *dialog) hangUp(side int) {
	d.Helper()
	d.exchanges(side, "BYE")
}

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }
