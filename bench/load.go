package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// load drives one server through one socket in a closed loop: `window`
// operations are under way at a time, and an operation that ends makes room
// for the next. It plays all agents, callers and callees.
type load struct {
	sock   *socket
	server string // host:port, the domain of every address too
	life   string // tells the Call-IDs of this load from those of an earlier one
	agents []agent
	turn   int // whose turn it is in the round of agents
	slots  []slot
	serial uint64
	now    time.Time

	work   work
	busy   int
	ending bool
	limit  int // operations to do; 0: until the time is over
	begun  int
	counts counts
}

// agent is one account and the agent that uses it.
type agent struct {
	number  string
	contact string // its URI
	ha1     [32]byte
	cseq    uint32
	nonce   []byte // of the last challenge
	nc      uint32
	slot    *slot // the registration under way
}

// slot is the room of one operation under way.
type slot struct {
	index  int
	active bool
	serial uint64 // the operation's own number: part of its Call-ID and branches
	state  state
	caller *agent
	callee *agent

	last  []byte // the message that waits for something to happen, for retransmission
	since time.Time
	tries int

	trying bool   // a 100 has come
	target []byte // URI for the requests inside the call
	routes []byte // Route lines, ready
	to     []byte // the callee's To with its tag
	answer []byte // the callee's 200 to the INVITE, ready
}

type state uint8

// work is one kind of operation.
type work interface {
	// begin sends the first request of the operation in s.
	begin(l *load, s *slot) error
	// receive takes a message of the operation in s.
	receive(l *load, s *slot, m *message) error
}

// counts is what happened in one run.
type counts struct {
	done            int
	failed          int
	retransmissions int // sent again after half a second and more
	strays          int // came twice, or too late
	pings           int // the server's own OPTIONS, answered with 200
	failures        []string
}

func (c *counts) add(d counts) {
	c.done += d.done
	c.failed += d.failed
	c.retransmissions += d.retransmissions
	c.strays += d.strays
	c.pings += d.pings
}

// failure is a wrong answer: it ends the operation and fails the run.
type failure string

func (f failure) Error() string { return string(f) }

func wrong(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }

// firstNumber is the account that the numbers start from.
const firstNumber = 20000000

// RFC 3261 17.1.1.2: T1, doubled with each try; the operation fails with
// timer B's or F's 64*T1, give or take.
const (
	timerT1  = 500 * time.Millisecond
	maxTries = 6
)

func newLoad(server netip.AddrPort, accounts, window int, nated bool) (*load, error) {
	if window >= accounts/2 {
		return nil, fmt.Errorf("a window of %d operations needs more than %d accounts", window, accounts)
	}
	sock, err := dial(server)
	if err != nil {
		return nil, err
	}
	l := &load{
		sock:   sock,
		server: server.String(),
		life:   strconv.FormatInt(time.Now().UnixNano(), 36),
		agents: make([]agent, accounts),
		slots:  make([]slot, window),
	}
	for i := range l.agents {
		number := strconv.Itoa(firstNumber + i)
		contact := "sip:" + number + "@" + sock.local.String()
		if nated {
			contact = fmt.Sprintf("sip:%s@192.168.%d.%d:5060", number, i>>8&255, i&255)
		}
		l.agents[i] = agent{number: number, contact: contact, ha1: secret(number)}
	}
	for i := range l.slots {
		l.slots[i].index = i
	}
	return l, nil
}

func (l *load) close() { l.sock.close() }

// run does limit operations, or if that is 0 as many as it can until d is
// over, and waits for the last of them.
func (l *load) run(ctx context.Context, w work, limit int, d time.Duration) (counts, error) {
	l.work, l.limit, l.begun, l.ending, l.counts = w, limit, 0, false, counts{}
	l.now = time.Now()
	deadline := l.now.Add(d)
	for i := range l.slots {
		if err := l.begin(&l.slots[i]); err != nil {
			return l.counts, err
		}
	}
	sweep := l.now
	for l.busy > 0 {
		if err := l.exchange(); err != nil {
			return l.counts, err
		}
		if limit == 0 && l.now.After(deadline) {
			l.ending = true
		}
		if l.now.Sub(sweep) < 50*time.Millisecond {
			continue
		}
		sweep = l.now
		if err := l.retransmit(); err != nil {
			return l.counts, err
		}
		if err := ctx.Err(); err != nil {
			return l.counts, err
		}
		if l.counts.failed > 20 {
			break
		}
	}
	if l.counts.failed > 0 {
		return l.counts, fmt.Errorf("%d operations failed of %d, the first so: %s",
			l.counts.failed, l.counts.failed+l.counts.done, l.counts.failures[0])
	}
	return l.counts, nil
}

// idle lets d pass. The server's pings go on being answered: agents that fall
// silent would be another measurement.
func (l *load) idle(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := l.exchange(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// exchange receives one batch, and sends what it leads to.
func (l *load) exchange() error {
	n, err := l.sock.receive()
	if err != nil {
		return err
	}
	l.now = time.Now()
	var m message
	for i := range n {
		b := l.sock.datagram(i)
		if len(bytes.Trim(b, "\r\n\x00")) == 0 {
			continue // keep-alive
		}
		if err := m.scan(b); err != nil {
			l.note(fmt.Sprintf("%v, in %q", err, b))
			continue
		}
		if err := l.dispatch(&m); err != nil {
			return err
		}
	}
	return l.sock.flush()
}

func (l *load) dispatch(m *message) error {
	if m.status == 0 && string(m.method) == "OPTIONS" {
		l.counts.pings++
		return l.sock.queue(append(appendResponse(l.sock.next(), m, "200 OK", ""), "Content-Length: 0\r\n\r\n"...))
	}
	s := l.find(m.callID)
	if s == nil || !s.active {
		l.counts.strays++
		return nil
	}
	err := l.work.receive(l, s, m)
	var f failure
	if errors.As(err, &f) {
		l.note(err.Error())
		return l.finish(s)
	}
	return err
}

// note counts a failure.
func (l *load) note(what string) {
	l.counts.failed++
	if len(l.counts.failures) < 3 {
		l.counts.failures = append(l.counts.failures, what)
	}
}

// Call-IDs are kind, index, serial, life: "c12-3456-life". Those of
// registrations stay the same for an agent: "r77-0-life", 77 being the agent.

func (l *load) appendCallID(dst []byte, kind byte, index int, serial uint64) []byte {
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, serial, 10)
	dst = append(dst, '-')
	return append(dst, l.life...)
}

// find gives the slot of the operation that a Call-ID belongs to, nil if
// there is none, or none any more.
func (l *load) find(callID []byte) *slot {
	if len(callID) == 0 || !bytes.HasSuffix(callID, []byte(l.life)) {
		return nil
	}
	index, rest, _ := bytes.Cut(callID[1:], []byte("-"))
	i, ok := decimal(index)
	if !ok {
		return nil
	}
	if callID[0] == 'r' {
		if int(i) >= len(l.agents) {
			return nil
		}
		return l.agents[i].slot
	}
	serial, _, _ := bytes.Cut(rest, []byte("-"))
	n, ok := decimal(serial)
	if !ok || int(i) >= len(l.slots) || l.slots[i].serial != uint64(n) {
		return nil
	}
	return &l.slots[i]
}

// nextAgent gives the agents in their round.
func (l *load) nextAgent() *agent {
	a := &l.agents[l.turn]
	l.turn = (l.turn + 1) % len(l.agents)
	return a
}

func (l *load) begin(s *slot) error {
	if l.ending || (l.limit > 0 && l.begun == l.limit) {
		return nil
	}
	l.begun++
	l.busy++
	l.serial++
	s.active, s.serial, s.state, s.trying = true, l.serial, 0, false
	return l.work.begin(l, s)
}

// finish ends the operation in s and begins the next.
func (l *load) finish(s *slot) error {
	s.active = false
	l.busy--
	return l.begin(s)
}

func (l *load) done(s *slot) error {
	l.counts.done++
	return l.finish(s)
}

// send sends b, the message that now waits for something to happen.
func (l *load) send(s *slot, b []byte) error {
	s.last = append(s.last[:0], b...)
	s.since, s.tries = l.now, 0
	return l.sock.queue(b)
}

// retransmit repeats what has waited too long.
func (l *load) retransmit() error {
	for i := range l.slots {
		s := &l.slots[i]
		if !s.active || l.now.Sub(s.since) < timerT1<<s.tries {
			continue
		}
		if s.tries++; s.tries == maxTries {
			line, _, _ := cutLine(s.last)
			l.note(fmt.Sprintf("nothing came of %q, sent %d times", line, maxTries))
			if err := l.finish(s); err != nil {
				return err
			}
			continue
		}
		l.counts.retransmissions++
		if err := l.sock.queue(append(l.sock.next(), s.last...)); err != nil {
			return err
		}
	}
	return l.sock.flush()
}
