package call

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"liaison/internal/account"
	"liaison/internal/relay"
	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
	"liaison/internal/sip/transport"
)

// Config is what Calls is made of.
type Config struct {
	Recorder Recorder
	// Flow is the path to an agent now: the flow of the dialog while it is one of the account's, else the account's
	// newest. ok is false if the agent is not registered.
	Flow func(n account.Number, now transport.Flow) (f transport.Flow, ok bool)
	// Announced is what Via says for a flow.
	Announced func(transport.Flow) string
	// Relay forwards media; nil: all media goes directly. RelayAddresses are those that it serves.
	Relay          *relay.Relay
	RelayAddresses []netip.Addr
	Logger         *slog.Logger
}

// Calls are all the calls of the service, over all shards.
type Calls struct {
	Config

	mu     sync.Mutex
	byID   map[string]*Call // answered calls, by record
	number map[account.Number][]*Call
	jury   jury

	Begun, Connected, Unrecorded atomic.Uint64
	Ended                        [3]atomic.Uint64 // by caller, callee, service
}

// New makes the set of calls.
func New(c Config) *Calls {
	return &Calls{Config: c, byID: make(map[string]*Call), number: make(map[account.Number][]*Call)}
}

// Up is how many calls are answered and not ended.
func (cs *Calls) Up() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.byID)
}

// With is how many calls of a number are up.
func (cs *Calls) With(n account.Number) int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.number[n])
}

// End ends an answered call by the ID of its record; false if there is none.
func (cs *Calls) End(id, cause string) bool {
	cs.mu.Lock()
	c := cs.byID[id]
	cs.mu.Unlock()
	if c != nil {
		c.table.shard.Post(func() { c.Terminate(cause) })
	}
	return c != nil
}

// Fresh asks both sides of a number's calls whether they live: it has registered afresh, or calls again.
func (cs *Calls) Fresh(n account.Number) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.number[n] {
		c.table.shard.Post(c.probeNow)
	}
}

// know lists a call that is up.
func (cs *Calls) know(c *Call) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.byID[c.Record.ID] = c
	c.numbers = [...]account.Number{c.Record.Caller, c.Record.Callee}
	for _, n := range c.numbers {
		cs.number[n] = append(cs.number[n], c)
	}
}

func (cs *Calls) ended(c *Call) {
	switch c.Record.EndedBy {
	case ByCaller:
		cs.Ended[0].Add(1)
	case ByCallee:
		cs.Ended[1].Add(1)
	default:
		cs.Ended[2].Add(1)
	}
	cs.Logger.Info("call ended", "call", c.Record.ID, "caller", c.Record.Caller, "dialled", c.Record.Dialled,
		"callee", c.Record.Callee, "status", c.Record.Status, "cause", c.Record.Cause, "by", c.Record.EndedBy)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.byID, c.Record.ID)
	for _, n := range c.numbers {
		rest := slices.DeleteFunc(cs.number[n], func(x *Call) bool { return x == c })
		if len(rest) == 0 {
			delete(cs.number, n)
		} else {
			cs.number[n] = rest
		}
	}
}

// Load takes up the calls that were up when the service last stopped. table gives the table of a Call-ID.
func (cs *Calls) Load(ctx context.Context, table func(callID []byte) *Table) error {
	open, err := cs.Recorder.OpenCalls(ctx)
	if err != nil {
		return fmt.Errorf("load open calls: %w", err)
	}
	for _, r := range open {
		c := &Call{Record: r, up: &Leg{answered: true}}
		c.Callees = []*Leg{c.up}
		kept := ends{Caller: &c.Caller, Callee: c.up}
		if err := json.Unmarshal(r.Dialog, &kept); err != nil {
			cs.Logger.Error("a call's dialog cannot be read: it goes on without us and its record ends here", "call", r.ID, "error", err)
			r.Ended, r.Cause, r.EndedBy, r.Dialog = time.Now().UTC(), "service restarted", ByService, nil
			cs.Recorder.Save(r, func(error) {})
			continue
		}
		c.Record.Dialog = nil
		c.table = table([]byte(r.CallID))
		c.restore(kept.Media)
		cs.know(c)
		c.table.shard.Post(c.resume)
	}
	return nil
}

func (c *Call) resume() {
	now := c.table.shard.Now()
	c.Caller.alive, c.up.alive = now, now
	c.table.add(c)
	if c.Caller.Flow.Proto == transport.Link || c.up.Flow.Proto == transport.Link {
		c.Terminate("service restarted") // the test codec was part of what stopped
		return
	}
	c.startProbes()
}

// ends is what the record keeps of the dialog for the next start.
type ends struct {
	Caller *Leg       `json:"caller"`
	Callee *Leg       `json:"callee"`
	Media  *keptMedia `json:"media,omitempty"`
}

// patience is how long a message waits for its call's record to be durable. A database that takes longer keeps nobody
// off the air: the record stays with the Recorder and follows.
const patience = time.Second

// save writes the record; then, if given, runs once in the shard: when it is durable, has failed, or patience is over. A
// failure is counted and said, and the call goes on.
func (c *Call) save(then func()) {
	cs, shard := c.table.calls, c.table.shard
	r := c.Record
	r.Dialog = nil
	if c.Up() {
		r.Dialog, _ = json.Marshal(ends{&c.Caller, c.up, c.up.media.keep()})
	}
	finish := func() {}
	if then != nil {
		var late *transaction.Timer
		late = shard.After(patience, func() { late = nil; then() })
		finish = func() {
			if late != nil {
				late.Stop()
				then()
			}
		}
	}
	cs.Recorder.Save(r, func(err error) {
		if err != nil {
			cs.Unrecorded.Add(1)
			cs.Logger.Error("a call's record could not be written: look at the database's disk", "call", r.ID, "error", err)
		}
		if then != nil {
			shard.Post(finish)
		}
	})
}

// Table is the calls of one shard, by Call-ID.
type Table struct {
	calls *Calls
	shard *transaction.Shard
	byID  map[string][]*Call
}

// NewTable makes the table of a shard.
func (cs *Calls) NewTable(s *transaction.Shard) *Table {
	return &Table{calls: cs, shard: s, byID: make(map[string][]*Call)}
}

// Len is how many calls there are, those that ring too.
func (t *Table) Len() (n int) {
	for _, same := range t.byID {
		n += len(same)
	}
	return n
}

func (t *Table) add(c *Call) {
	t.byID[c.Record.CallID] = append(t.byID[c.Record.CallID], c)
}

func (t *Table) remove(c *Call) {
	rest := slices.DeleteFunc(t.byID[c.Record.CallID], func(x *Call) bool { return x == c })
	if len(rest) == 0 {
		delete(t.byID, c.Record.CallID)
	} else {
		t.byID[c.Record.CallID] = rest
	}
}

// Find is the dialog that a request with a To tag belongs to (RFC 3261 12.2.2).
func (t *Table) Find(m *sip.Message) (Dialog, bool) {
	from, to := m.From.Tag(), m.To.Tag()
	for _, c := range t.byID[string(m.CallID)] {
		for _, l := range c.Callees {
			switch {
			case equal(from, c.Caller.Tag) && equal(to, l.Tag):
				return Dialog{c, CallerSide, l}, true
			case equal(from, l.Tag) && equal(to, c.Caller.Tag):
				return Dialog{c, CalleeSide, l}, true
			}
		}
	}
	return Dialog{}, false
}

func equal(b []byte, s string) bool { return string(b) == s }
