package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"liaison/internal/sip"
	"liaison/internal/sip/transaction"
)

// registration keeps the account bound to this agent (RFC 3261 10.2). The server chooses the period.
type registration struct {
	a       *Agent
	callID  string // one for the whole life: RFC 3261 10.2.4
	tag     string
	cseq    counter
	expires int // to ask for; 0: what the server likes
	timer   *transaction.Timer
	pause   time.Duration // before the next attempt after a failure
	bound   bool
	removed bool
	first   func(error) // told how the first attempt ended; then nil
}

const (
	firstPause = 2 * time.Second
	lastPause  = time.Minute
)

// Register binds the account to this agent and keeps it bound. It returns how the first attempt ended; when it
// was refused nothing more is tried.
func (a *Agent) Register(ctx context.Context) error {
	result := make(chan error, 1)
	a.shard.Post(func() {
		r := &registration{a: a, callID: newToken(), tag: newToken(), pause: firstPause}
		r.first = func(err error) {
			if err != nil {
				r.removed, a.binding = true, nil
			}
			result <- err
		}
		a.binding = r
		r.send()
	})
	select {
	case err := <-result:
		return err
	case <-a.ended:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *registration) send() {
	r.a.reach(func(err error) {
		if r.removed {
			return
		}
		if err != nil {
			r.again(err)
			return
		}
		q := r.request(-1)
		q.final = r.final
		q.failed = func(err error) {
			if errors.Is(err, transaction.ErrTimeout) {
				err = fmt.Errorf("the server %s does not answer: look at the address, the port and the firewall", r.a.remote)
			}
			r.again(err)
		}
		q.send()
	})
}

// request makes a REGISTER; expires of -1 leaves the period to the server.
func (r *registration) request(expires int) *request {
	a := r.a
	host := hostOf(a.config.Domain)
	who := "<sip:" + a.config.Number + "@" + host + ">"
	contact := a.contact(a.flow) + `;+sip.instance="` + a.instance + `";reg-id=1`
	if expires < 0 && r.expires > 0 {
		expires = r.expires
	}
	if expires >= 0 {
		contact += ";expires=" + strconv.Itoa(expires)
	}
	var head []byte
	head = sip.AppendHeader(head, "From", who+";tag="+r.tag)
	head = sip.AppendHeader(head, "To", who)
	head = sip.AppendHeader(head, "Call-ID", r.callID)
	head = sip.AppendHeader(head, "Contact", contact)
	head = sip.AppendHeader(head, "Allow", allowed)
	head = sip.AppendHeader(head, "Supported", "path, outbound")
	return &request{a: a, method: sip.REGISTER, uri: "sip:" + host, flow: a.flow, head: head, next: r.cseq.next}
}

func (r *registration) final(m *sip.Message) {
	if r.removed {
		return
	}
	switch {
	case m.Status/100 == 2:
		period := r.granted(m)
		r.pause = firstPause
		if !r.bound {
			r.bound = true
			r.a.log.Info("registered", "number", r.a.config.Number, "server", r.a.remote.String(), "for", period)
		}
		// Early enough for two more attempts before the binding ends.
		r.after(max(period*4/5, time.Second))
		r.told(nil)
	case m.Status == 423:
		if n, err := strconv.Atoi(string(m.Header(sip.HeaderMinExpires))); err == nil && n > r.expires && n <= 86400 {
			r.expires = n
			r.send()
			return
		}
		r.again(refused(m))
	case m.Status == 401 || m.Status == 407:
		r.again(fmt.Errorf("%w: the account number or the password is wrong", refused(m)))
	default:
		r.again(refused(m))
	}
}

// granted is the period that the server gives: RFC 3261 10.2.4.
func (r *registration) granted(m *sip.Message) time.Duration {
	seconds := 300
	if n, err := strconv.Atoi(string(m.Header(sip.HeaderExpires))); err == nil {
		seconds = n
	}
	own := r.a.contact(r.a.flow)
	for v := range m.Values(sip.HeaderContact) {
		a, err := sip.ParseAddress(v)
		if err != nil || "<"+string(a.URI)+">" != own {
			continue
		}
		if e, ok := a.Params.Get("expires"); ok {
			if n, err := strconv.Atoi(string(e)); err == nil {
				seconds = n
			}
		}
	}
	return time.Duration(min(max(seconds, 1), 86400)) * time.Second
}

// again tries later; the first failure is whoever called Register's to judge.
func (r *registration) again(err error) {
	if r.first != nil {
		r.told(err)
		return
	}
	r.a.log.Warn("the registration failed and will be tried again", "number", r.a.config.Number, "server", r.a.remote.String(), "in", r.pause, "error", err)
	r.bound = false
	r.after(r.pause)
	r.pause = min(2*r.pause, lastPause)
}

func (r *registration) told(err error) {
	if r.first != nil {
		r.first(err)
		r.first = nil
	}
}

func (r *registration) after(d time.Duration) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.timer = r.a.shard.After(d, r.send)
}

// lost: the connection is gone, and calls can only come through a new one.
func (r *registration) lost() {
	if !r.removed && r.first == nil {
		r.after(r.pause)
	}
}

// remove takes the binding back and runs done when the server has answered.
func (r *registration) remove(done func()) {
	if r.timer != nil {
		r.timer.Stop()
	}
	r.removed = true
	if !r.bound || r.a.flow.Proto == 0 {
		done()
		return
	}
	q := r.request(0)
	q.final = func(*sip.Message) { done() }
	q.failed = func(error) { done() }
	q.send()
}
