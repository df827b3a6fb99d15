package registrar

import (
	"slices"
	"unique"

	"liaison/internal/account"
	"liaison/internal/sip"
)

// step is a Change before it is written out: what the table will be told when it is saved.
type step struct {
	kind ChangeKind
	slot slot
}

// verdict is what a REGISTER does to the bindings of its account.
type verdict struct {
	next      []slot // the bindings as they will be
	steps     []step
	same      int  // bindings that this very request made before: a retransmission
	fresh     bool // a binding is new, or somewhere else than it was
	takeover  bool
	displaced slot // takeover: one of the bindings of the device that lost the account

	uri  []byte // room to compare a stored Contact
	text []byte // room to write a slot's text
}

func (v *verdict) reset() {
	clear(v.next)
	clear(v.steps)
	*v = verdict{next: v.next[:0], steps: v.steps[:0], uri: v.uri[:0], text: v.text[:0]}
}

// judge applies RFC 3261 10.3 steps 6 and 7 to v.next, the bindings that have not run out. On a refusal v is void:
// a REGISTER is done whole or not at all.
func (r *Registrar) judge(v *verdict, q *request, acc *account.Account, now int64) *sip.Error {
	if q.star {
		return v.removeAll(q)
	}
	binds := q.binds()
	if binds {
		v.displace(q)
	}
	for i := range q.contacts {
		c := &q.contacts[i]
		at := v.find(q, c)
		if at < 0 {
			if c.seconds > 0 {
				v.add(r, q, c, acc, now)
			}
			continue
		}
		if e := v.renew(q, c, at, now); e != nil {
			return e
		}
	}
	if v.same > 0 {
		if len(v.steps) > 0 {
			return outOfOrder(q)
		}
		return nil
	}
	if binds {
		v.leave(q)
	}
	if len(v.next) > r.maxContacts {
		return &sip.Error{Status: 403, Reason: "Forbidden - too many contacts"}
	}
	return nil
}

// outOfOrder refuses what an earlier REGISTER of the same Call-ID has overtaken: RFC 3261 10.3 step 7 says that it fails,
// and 12.2.2 which status an old CSeq gets.
func outOfOrder(q *request) *sip.Error {
	return sip.Errorf(500, "Server Internal Error - CSeq out of order", "CSeq %d of Call-ID %q is old", q.cseq, q.callID)
}

// removeAll is Contact: *.
func (v *verdict) removeAll(q *request) *sip.Error {
	for i := range v.next {
		b := &v.next[i]
		// RFC 3261 10.3 step 6.
		if b.callID() == string(q.callID) && q.cseq <= b.cseq {
			return outOfOrder(q)
		}
		v.steps = append(v.steps, step{Removed, *b})
	}
	v.next = v.next[:0]
	return nil
}

// displace gives the account to the device that registers: one account, one agent, and the newest has it.
func (v *verdict) displace(q *request) {
	keep := v.next[:0]
	for i := range v.next {
		b := &v.next[i]
		if q.sameDevice(b, v) {
			keep = append(keep, *b)
			continue
		}
		v.steps = append(v.steps, step{Removed, *b})
		v.takeover, v.displaced = true, *b
	}
	v.next = keep
}

// sameDevice recognises a device: by its instance, else by its Call-ID, else by Contact and user agent from the same
// source address (two studios may own the same model with the same settings).
func (q *request) sameDevice(b *slot, v *verdict) bool {
	known := false
	for i := range q.contacts {
		c := &q.contacts[i]
		if c.seconds == 0 || len(c.instance) == 0 || b.instanceLen == 0 {
			continue
		}
		if string(c.instance) == b.instance() {
			return true
		}
		known = true
	}
	if known {
		return false
	}
	if string(q.callID) == b.callID() {
		return true
	}
	if b.agent.Value() != string(q.agent) || b.remoteAddr() != q.flow.Remote.Addr() {
		return false
	}
	for i := range q.contacts {
		if v.sameContact(b, &q.contacts[i]) {
			return true
		}
	}
	return false
}

// sameContact compares by RFC 3261 19.1.4.
func (v *verdict) sameContact(b *slot, c *contact) bool {
	if string(c.uri) == b.contact() {
		return true
	}
	v.uri = append(v.uri[:0], b.contact()...)
	u, err := sip.ParseURI(v.uri)
	return err == nil && u.Equal(c.parsed)
}

// find is the binding that a contact is about, -1 if there is none. RFC 5626 6: with reg-id it is the one of that flow
// of that instance, whatever its URI; else that of the URI.
func (v *verdict) find(q *request, c *contact) int {
	for i := range v.next {
		b := &v.next[i]
		if c.regID != 0 {
			if b.regID == c.regID && b.instance() == string(c.instance) {
				return i
			}
		} else if v.sameContact(b, c) {
			return i
		}
	}
	return -1
}

// renew refreshes, alters or removes a binding.
func (v *verdict) renew(q *request, c *contact, at int, now int64) *sip.Error {
	b := &v.next[at]
	for i := range v.steps {
		if v.steps[i].slot.id == b.id {
			return nil // named twice in one request: the first counts
		}
	}
	// RFC 3261 10.3 step 7: within one Call-ID the CSeq must rise.
	if b.callID() == string(q.callID) && q.cseq <= b.cseq {
		// The very request that made the binding, come again after its transaction has gone (a restart lies between):
		// answered as it was.
		if q.cseq == b.cseq && c.seconds > 0 && b.hasFlow(q.flow) && v.sameContact(b, c) {
			v.same++
			return nil
		}
		return outOfOrder(q)
	}
	if c.seconds == 0 {
		v.steps = append(v.steps, step{Removed, *b})
		v.next = slices.Delete(v.next, at, at+1)
		return nil
	}
	b.cseq, b.expires = q.cseq, now+int64(c.seconds)*1000
	if b.callID() == string(q.callID) && b.contact() == string(c.uri) && b.q == c.q && b.regID == c.regID &&
		b.instance() == string(c.instance) && b.path() == string(q.path) && b.agent.Value() == string(q.agent) &&
		b.hasFlow(q.flow) {
		kind := Refreshed
		if b.flags&flagUnsure != 0 {
			kind = Added
		}
		v.steps = append(v.steps, step{kind, *b})
		return nil
	}
	moved := !b.hasFlow(q.flow)
	v.write(b, q, c)
	if moved {
		b.setFlow(q.flow)
		b.flags, b.misses = flagUsed, 0 // what answered there need not answer here
		b.seen = now
	}
	v.fresh = true
	v.steps = append(v.steps, step{Added, *b})
	return nil
}

func (v *verdict) add(r *Registrar, q *request, c *contact, acc *account.Account, now int64) {
	b := slot{
		id:      r.lastID.Add(1),
		since:   now,
		seen:    now,
		cseq:    q.cseq,
		expires: now + int64(c.seconds)*1000,
		aorLen:  uint8(len(acc.Number)),
		text:    string(acc.Number),
		flags:   flagUsed,
	}
	b.setFlow(q.flow)
	v.write(&b, q, c)
	v.fresh = true
	v.next = append(v.next, b)
	v.steps = append(v.steps, step{Added, b})
}

// write gives a binding what the request says of it.
func (v *verdict) write(b *slot, q *request, c *contact) {
	v.text = append(v.text[:0], b.aor()...)
	v.text = append(v.text, c.uri...)
	v.text = append(v.text, q.callID...)
	v.text = append(v.text, c.instance...)
	v.text = append(v.text, q.path...)
	b.text = string(v.text)
	b.contactLen, b.callIDLen, b.instanceLen = uint16(len(c.uri)), uint16(len(q.callID)), uint8(len(c.instance))
	b.q, b.regID = c.q, c.regID
	b.agent = unique.Make(string(q.agent))
}

// leave drops what the device has left behind: bindings that this request does not name and that belong to an earlier
// life (another Call-ID: it was restarted) or another place (another flow: it changed network or reconnected). Further
// flows of RFC 5626 stay, and so do further Contacts that it registers one by one from one place (RFC 3261 10.2.1).
func (v *verdict) leave(q *request) {
	keep := v.next[:0]
	for i := range v.next {
		b := &v.next[i]
		if (b.callID() == string(q.callID) && b.hasFlow(q.flow)) || (b.regID != 0 && q.outbound) {
			keep = append(keep, *b)
			continue
		}
		v.steps = append(v.steps, step{Removed, *b})
	}
	clear(v.next[len(keep):])
	v.next = keep
}
